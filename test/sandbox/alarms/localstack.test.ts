import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Comparison, MissingData } from "../../../lib/alarms/alarm.ts";
import { type AlarmState, evaluateAlarm } from "../../../lib/sandbox/alarms/evaluate.ts";
import { memorySeries } from "../../../lib/sandbox/alarms/series.ts";
import { askLocalstack, type LocalstackCase, noLocalstack } from "../../helpers/localstack.ts";
import { makeAlarm, someSeries, timing } from "./make-alarm.ts";

const now = Date.parse("2026-03-02T12:00:00Z");
const count = Number(process.env.PGKEEP_ALARM_SERIES ?? 1_000);

interface Case extends LocalstackCase {
  treatment: MissingData;
  comparison: Comparison;
  previous: AlarmState;
}

/** With two more periods than are evaluated, as both retrieve for up to eight of them. */
const cases: fc.Arbitrary<Case> = fc
  .record({
    n: fc.integer({ min: 1, max: 8 }),
    m: fc.integer({ min: 1, max: 8 }),
    treatment: fc.constantFrom<MissingData>("missing", "ignore", "breaching", "notBreaching"),
    comparison: fc.constantFrom<Comparison>(">", ">=", "<", "<="),
    threshold: fc.integer({ min: 1, max: 9 }),
    previous: fc.constantFrom<AlarmState>("OK", "ALARM", "INSUFFICIENT_DATA"),
    gaps: fc.integer({ min: 0, max: 10 }),
    // Never 0, which LocalStack takes for missing in one place.
    values: fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 9 })), {
      minLength: 10,
      maxLength: 10,
    }),
  })
  .map(({ n, m, gaps, values, ...others }) => ({
    ...others,
    n,
    m: Math.min(m, n),
    values: values.slice(0, n + 2).map(([value, chance]) => (chance < gaps ? null : value)),
  }));

function ourState({ m, n, treatment, comparison, threshold, previous, values }: Case): AlarmState {
  const store = memorySeries();
  values.forEach((value, index) => {
    const atMilliseconds = now - (values.length - index) * 60_000 + 1;
    if (value !== null) store.add(someSeries, { atMilliseconds, value });
  });
  const alarm = makeAlarm({
    timing: timing(m, n),
    missingData: treatment,
    comparison,
    threshold,
    statistic: "Average",
  });
  return evaluateAlarm(alarm, store, now, previous).state;
}

/**
 * Without what is not needed: "The extra data points from farther back in the evaluation range are not needed and are
 * ignored", says AWS's page, and LocalStack counts them.
 */
function withoutExtra(one: Case): Case {
  let left = one.n;
  const newestFirst = [...one.values].reverse().map((value) => {
    if (value !== null) left -= 1;
    return left < 0 ? null : value;
  });
  return { ...one, values: newestFirst.reverse() };
}

/**
 * Where LocalStack does not follow AWS's page (Configuring how CloudWatch alarms treat missing data), and why its
 * state is not ours there; undefined where it has to be.
 */
function departure({ m, treatment, comparison, threshold, values }: Case): string | undefined {
  const real = values.filter((value) => value !== null);
  const beyond = (value: number) =>
    value === threshold ? comparison.endsWith("=") : value > threshold === comparison.startsWith(">");
  const onlyBreaching = real.length > 0 && real.every(beyond);
  if (!onlyBreaching || (treatment !== "missing" && treatment !== "ignore")) return undefined;
  const oldestAge = values.length - values.findIndex((value) => value !== null);
  // Enough datapoints are beyond the limit: nothing has to be filled in, so that `ignore` has nothing to say.
  if (real.length >= m) {
    return treatment === "ignore" && oldestAge === m && m > 1
      ? "ignores enough breaching datapoints"
      : undefined;
  }
  // "At least as old as the value of Datapoints to Alarm": it wants just as old.
  if (oldestAge > m) return "takes the oldest breaching datapoint for too old";
  // In the page's edition of 2018 `- - - - X` is insufficient data; today's does not say.
  return oldestAge < m ? "is OK with breaching datapoints that are too few and too new" : undefined;
}

describe.skipIf(noLocalstack !== undefined)(`LocalStack's evaluator ${noLocalstack ?? ""}`, () => {
  it("finds the same state on random series, and another one only where it departs from AWS's text", {
    timeout: 300_000,
  }, () => {
    const given = fc.sample(cases, { numRuns: count, seed: 6 });
    const theirs = askLocalstack(given.map(withoutExtra));
    const compared = given.map((one, index) => ({
      one,
      ours: ourState(one),
      theirs: theirs[index],
      departure: departure(withoutExtra(one)),
    }));
    const same = compared.filter(({ departure }) => departure === undefined);
    expect(same.filter(({ ours, theirs }) => ours !== theirs)).toEqual([]);
    expect(same.length).toBeGreaterThan(0.9 * count);
    if (process.env.PGKEEP_ALARM_SERIES !== undefined) report(compared);
  });
});

function report(
  compared: readonly { ours: string; theirs: string | undefined; departure: string | undefined }[],
): void {
  const kinds = new Map<string, { all: number; other: number }>();
  for (const { ours, theirs, departure = "nothing" } of compared) {
    const kind = kinds.get(departure) ?? { all: 0, other: 0 };
    kinds.set(departure, { all: kind.all + 1, other: kind.other + (ours === theirs ? 0 : 1) });
  }
  for (const [departure, { all, other }] of kinds) {
    process.stdout.write(`${departure}: ${all} series, another state in ${other}\n`);
  }
}
