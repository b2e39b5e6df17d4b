import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Alarm, Comparison, MissingData, Statistic } from "../../../lib/alarms/alarm.ts";
import { type AlarmState, evaluateAlarm } from "../../../lib/sandbox/alarms/evaluate.ts";
import { type Datum, memorySeries } from "../../../lib/sandbox/alarms/series.ts";
import { makeAlarm, someSeries } from "./make-alarm.ts";

const states: readonly AlarmState[] = ["OK", "ALARM", "INSUFFICIENT_DATA"];
const origin = Date.parse("2026-03-02T00:00:00Z");

interface Case {
  alarm: Alarm;
  data: readonly Datum[];
  at: number;
  previous: AlarmState;
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    n: fc.integer({ min: 1, max: 6 }),
    m: fc.integer({ min: 1, max: 6 }),
    periodSeconds: fc.constantFrom(60, 120, 300),
    missingData: fc.constantFrom<MissingData>("missing", "ignore", "breaching", "notBreaching"),
    statistic: fc.constantFrom<Statistic>("Average", "Minimum", "Maximum", "Sum", "p90"),
    comparison: fc.constantFrom<Comparison>(">", ">=", "<", "<="),
    threshold: fc.integer({ min: 0, max: 6 }),
    previous: fc.constantFrom(...states),
    // Seconds from the origin: mostly a datum now and then, so that many periods have none.
    data: fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 6 })), {
      maxLength: 30,
    }),
    atSecond: fc.integer({ min: 0, max: 3_600 }),
  })
  .map(({ n, m, data, atSecond, previous, periodSeconds, ...alarm }) => ({
    alarm: makeAlarm({
      ...alarm,
      timing: { periodSeconds, evaluationPeriods: n, datapointsToAlarm: Math.min(m, n) },
    }),
    data: data.map(([second, value]) => ({ atMilliseconds: origin + second * 1000, value })),
    at: origin + atSecond * 1000,
    previous,
  }));

/** Everything said again from AWS's text, as plainly as can be: period by period, and rule by rule. */
function naiveState({ alarm, data, at, previous }: Case): AlarmState {
  const { periodSeconds, evaluationPeriods: n, datapointsToAlarm: m } = alarm.timing;
  const lastWholeMinute = at - (at % 60_000);
  // Newest first: undefined is missing, else whether it is beyond the limit.
  const range = Array.from({ length: n + 2 }, (_, age) => {
    const to = lastWholeMinute - age * periodSeconds * 1000;
    const from = to - periodSeconds * 1000;
    const values = data
      .filter(({ atMilliseconds }) => atMilliseconds >= from && atMilliseconds < to)
      .map(({ value }) => value);
    return values.length === 0 ? undefined : beyond(naiveStatistic(values, alarm.statistic), alarm);
  });
  const recent = range.filter((one) => one !== undefined).slice(0, n);
  const alarming = (points: readonly boolean[]) => points.filter(Boolean).length >= m;
  if (recent.length === n) return alarming(recent) ? "ALARM" : "OK";
  const missing: boolean[] = Array.from({ length: n - recent.length }, () => true);
  if (alarm.missingData === "breaching") return alarming([...recent, ...missing]) ? "ALARM" : "OK";
  if (alarming(recent)) return "ALARM";
  if (alarm.missingData === "notBreaching" || recent.includes(false)) return "OK";
  if (alarm.missingData === "ignore") return previous;
  const oldEnough = range.slice(m - 1).includes(true);
  return oldEnough ? "ALARM" : "INSUFFICIENT_DATA";
}

function naiveStatistic(values: readonly number[], statistic: Statistic): number {
  const ascending = [...values].sort((one, other) => one - other);
  const sum = ascending.reduce((total, value) => total + value, 0);
  switch (statistic) {
    case "Sum":
      return sum;
    case "Average":
      return sum / values.length;
    case "Minimum":
      return ascending[0] ?? Number.NaN;
    case "Maximum":
      return ascending.at(-1) ?? Number.NaN;
    default:
      // The first that at least nine tenths of the values do not exceed.
      return (
        ascending.find(
          (limit) => values.filter((value) => value <= limit).length * 10 >= values.length * 9,
        ) ?? Number.NaN
      );
  }
}

function beyond(value: number, { comparison, threshold }: Alarm): boolean {
  return (
    (comparison.startsWith(">") && value > threshold) ||
    (comparison.startsWith("<") && value < threshold) ||
    (comparison.endsWith("=") && value === threshold)
  );
}

function evaluated({ alarm, data, at, previous }: Case): AlarmState {
  const store = memorySeries();
  for (const datum of data) store.add(someSeries, datum);
  return evaluateAlarm(alarm, store, at, previous).state;
}

describe("the state of any alarm on any series", () => {
  it("is what a second reading of the rules finds", () => {
    const seen = new Map<AlarmState, number>();
    fc.assert(
      fc.property(cases, (one) => {
        const state = evaluated(one);
        seen.set(state, (seen.get(state) ?? 0) + 1);
        expect(state).toBe(naiveState(one));
      }),
      { numRuns: 3_000 },
    );
    // Each state is found often enough for the comparison to mean something.
    for (const state of states) expect(seen.get(state) ?? 0, state).toBeGreaterThan(100);
  });

  it("does not depend on the order in which data come, nor on those of other times", () => {
    fc.assert(
      fc.property(cases, (one) => {
        const state = evaluated(one);
        expect(evaluated({ ...one, data: [...one.data].reverse() })).toBe(state);
        const { periodSeconds, evaluationPeriods } = one.alarm.timing;
        const before = one.at - (one.at % 60_000) - (evaluationPeriods + 2) * periodSeconds * 1000;
        const elsewhere = [before - 1, one.at - (one.at % 60_000), one.at + 60_000].map((atMilliseconds) => ({
          atMilliseconds,
          value: 6,
        }));
        expect(evaluated({ ...one, data: [...one.data, ...elsewhere] })).toBe(state);
      }),
      { numRuns: 1_000 },
    );
  });

  it("stays the same when nothing new is known and the minute is the same", () => {
    fc.assert(
      fc.property(cases, (one) => {
        const state = evaluated(one);
        expect(evaluated({ ...one, previous: state })).toBe(state);
      }),
      { numRuns: 500 },
    );
  });
});

describe("series in memory", () => {
  const second = 1000;
  it("give what lies in a time, in order, whatever order it came in", () => {
    const data = fc.array(
      fc.record({ atMilliseconds: fc.integer({ min: 0, max: 100 }), value: fc.integer() }),
    );
    fc.assert(
      fc.property(
        data,
        fc.integer({ min: 0, max: 100 }),
        fc.integer({ min: 0, max: 100 }),
        (given, from, to) => {
          const store = memorySeries();
          for (const datum of given) store.add(someSeries, datum);
          const expected = given
            .filter(({ atMilliseconds }) => atMilliseconds >= from && atMilliseconds < to)
            .sort((one, other) => one.atMilliseconds - other.atMilliseconds);
          expect(store.between(someSeries, from, to)).toEqual(expected);
          expect(store.last(someSeries)?.atMilliseconds).toBe(
            given.length === 0 ? undefined : Math.max(...given.map(({ atMilliseconds }) => atMilliseconds)),
          );
        },
      ),
    );
  });

  it("keep series apart by metric and by dimensions, whose order does not matter", () => {
    const store = memorySeries();
    const id = (dimensions: Record<string, string>, metric = "Up") => ({
      from: "pgkeep" as const,
      metric,
      dimensions,
    });
    store.add(id({ Job: "vacuum", State: "x" }), { atMilliseconds: 1, value: 7 });
    expect(store.last(id({ State: "x", Job: "vacuum" }))?.value).toBe(7);
    expect(store.last(id({ Job: "vacuum" }))).toBeUndefined();
    expect(store.last(id({ Job: "vacuum", State: "x" }, "Down"))).toBeUndefined();
  });

  it("let go of what is too old", () => {
    const store = memorySeries({ keepMilliseconds: 10 * second });
    for (let at = 0; at < 10_000; at += 1) store.add(someSeries, { atMilliseconds: at * second, value: at });
    expect(store.between(someSeries, 0, Number.POSITIVE_INFINITY).length).toBeLessThan(1_100);
    expect(store.between(someSeries, 9_989 * second, 10_000 * second)).toHaveLength(11);
  });
});
