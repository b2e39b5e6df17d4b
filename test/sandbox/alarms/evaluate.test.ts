import { describe, expect, it } from "vitest";
import type { Alarm, MetricReference, Statistic } from "../../../lib/alarms/alarm.ts";
import { type AlarmState, evaluateAlarm } from "../../../lib/sandbox/alarms/evaluate.ts";
import { memorySeries, seriesOf } from "../../../lib/sandbox/alarms/series.ts";
import { addPattern, makeAlarm, someSeries, timing, treatments } from "./make-alarm.ts";

const now = Date.parse("2026-03-02T12:00:00Z");
const minute = 60_000;

function stateAfter(pattern: string, alarm: Alarm, previous: AlarmState = "OK"): AlarmState {
  const store = memorySeries();
  addPattern(store, pattern, { endMilliseconds: now, periodSeconds: alarm.timing.periodSeconds });
  return evaluateAlarm(alarm, store, now, previous).state;
}

const kept = "kept" as const;
type Expected = AlarmState | typeof kept;
const noData: Expected = "INSUFFICIENT_DATA";

/** Treatments in the order of AWS's columns: missing, ignore, breaching, notBreaching. */
type Row = readonly [pattern: string, ...states: [Expected, Expected, Expected, Expected]];

/** CloudWatch User Guide, Configuring how CloudWatch alarms treat missing data: both tables, every row. */
const threeOfThree: readonly Row[] = [
  ["0 - X - X", "OK", "OK", "OK", "OK"],
  ["0 - - - -", "OK", "OK", "OK", "OK"],
  ["- - - - -", noData, kept, "ALARM", "OK"],
  ["0 X X - X", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["- - X - -", "ALARM", kept, "ALARM", "OK"],
];
const twoOfThree: readonly Row[] = [
  ["0 - X - X", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["0 0 X 0 X", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["0 - X - -", "OK", "OK", "ALARM", "OK"],
  ["- - - - 0", "OK", "OK", "ALARM", "OK"],
  ["- - - X -", "ALARM", kept, "ALARM", "OK"],
];
/** The last row of both tables in the page's edition of 2018, which today's text agrees with. */
const earlierEdition: Row = ["- - - - X", noData, kept, "ALARM", "OK"];
/** From the text under "Avoiding premature transitions to alarm state", and what follows from it. */
const premature: readonly Row[] = [
  ["- - - X -", noData, kept, "ALARM", "OK"],
  ["- - - X 0", "OK", "OK", "OK", "OK"],
  ["- - X - 0", "OK", "OK", "OK", "OK"],
];
/** The rules of the page for one datapoint of one; three are retrieved. */
const oneOfOne: readonly Row[] = [
  ["- - X", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["X - 0", "OK", "OK", "OK", "OK"],
  ["X - -", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["0 - -", "OK", "OK", "OK", "OK"],
  ["X - - -", noData, kept, "ALARM", "OK"],
];
/** The same for M of N with N of 5; seven are retrieved. */
const threeOfFive: readonly Row[] = [
  ["X X X 0 0 0 0", "OK", "OK", "OK", "OK"],
  ["0 0 X X 0 X 0", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["X X 0 - 0 - X", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["X X X - 0 - -", "ALARM", "ALARM", "ALARM", "ALARM"],
  ["X - X - 0 - -", "OK", "OK", "ALARM", "OK"],
  ["- - - - X - X", "ALARM", kept, "ALARM", "OK"],
  ["- - - - - X X", noData, kept, "ALARM", "OK"],
];

const tables: readonly { of: string; m: number; n: number; rows: readonly Row[] }[] = [
  { of: "1 of 1", m: 1, n: 1, rows: oneOfOne },
  { of: "3 of 3", m: 3, n: 3, rows: [...threeOfThree, earlierEdition, ...premature] },
  { of: "2 of 3", m: 2, n: 3, rows: [...twoOfThree, earlierEdition] },
  { of: "3 of 5", m: 3, n: 5, rows: threeOfFive },
];

const rows = tables.flatMap(({ of, m, n, rows }) =>
  rows.map(([pattern, ...states]) => ({ of, m, n, pattern, states })),
);

describe("missing data, as AWS documents it", () => {
  it.each(rows)("$of: $pattern", ({ m, n, pattern, states }) => {
    for (const periodSeconds of [60, 300]) {
      treatments.forEach((missingData, column) => {
        const alarm = makeAlarm({ timing: timing(m, n, periodSeconds), missingData });
        for (const previous of ["OK", "ALARM", "INSUFFICIENT_DATA"] as const) {
          const expected = states[column] === kept ? previous : states[column];
          expect(stateAfter(pattern, alarm, previous), `${missingData}, before ${previous}`).toBe(expected);
        }
      });
    }
  });
});

describe("a period", () => {
  const alarm = makeAlarm({ timing: timing(1, 1, 300) });

  it("begins at any minute and ends with the last whole one", () => {
    const store = memorySeries();
    store.add(someSeries, { atMilliseconds: Date.parse("2026-03-02T12:03:30Z"), value: 100 });
    const at = (time: string) =>
      evaluateAlarm(alarm, store, Date.parse(`2026-03-02T${time}Z`), "INSUFFICIENT_DATA");
    expect(at("12:03:59").state).toBe("INSUFFICIENT_DATA");
    expect(at("12:04:00")).toMatchObject({
      state: "ALARM",
      value: 100,
      datapoints: [{ atMilliseconds: Date.parse("2026-03-02T11:59:00Z") }],
    });
    expect(at("12:06:59").datapoints).toMatchObject([{ atMilliseconds: Date.parse("2026-03-02T12:01:00Z") }]);
  });

  it("holds its first moment and not the one after its last", () => {
    const store = memorySeries();
    store.add(someSeries, { atMilliseconds: now - minute, value: 11 });
    store.add(someSeries, { atMilliseconds: now, value: 99 });
    expect(evaluateAlarm(makeAlarm({ timing: timing(1, 1) }), store, now, "OK").value).toBe(11);
  });

  it("is taken up to the last full hour when the alarm looks back more than a day", () => {
    const slow = makeAlarm({ timing: timing(2, 2, 86_400), statistic: "Sum", comparison: "<", threshold: 1 });
    const store = memorySeries();
    store.add(someSeries, { atMilliseconds: now + 10 * minute, value: 1 });
    expect(evaluateAlarm(slow, store, now + 59 * minute, "OK").datapoints).toEqual([]);
    expect(evaluateAlarm(slow, store, now + 60 * minute, "OK").datapoints).toMatchObject([
      { atMilliseconds: now + 60 * minute - 86_400_000, value: 1 },
    ]);
  });
});

describe("a statistic", () => {
  const values = [5, 1, 4, 2, 3, 10, 6, 9, 7, 8];
  it.each<[Statistic, number]>([
    ["Average", 5.5],
    ["Minimum", 1],
    ["Maximum", 10],
    ["Sum", 55],
    ["p90", 9],
  ])("%s is of all values of the period", (statistic, expected) => {
    const store = memorySeries();
    values.forEach((value, index) => {
      store.add(someSeries, { atMilliseconds: now - minute + index, value });
    });
    store.add(someSeries, { atMilliseconds: now - minute - 1, value: 1000 });
    const alarm = makeAlarm({ statistic, timing: timing(1, 1) });
    expect(evaluateAlarm(alarm, store, now, "OK").value).toBe(expected);
  });

  it("p90 of few values is one of them", () => {
    const p90 = makeAlarm({ statistic: "p90", timing: timing(1, 1) });
    const ofValues = (...given: number[]) => {
      const store = memorySeries();
      given.forEach((value) => {
        store.add(someSeries, { atMilliseconds: now - 1, value });
      });
      return evaluateAlarm(p90, store, now, "OK").value;
    };
    expect(ofValues(7)).toBe(7);
    expect(ofValues(1, 7)).toBe(7);
    expect(ofValues(...Array.from({ length: 100 }, (_, index) => index + 1))).toBe(90);
  });
});

describe("a comparison", () => {
  it.each([
    [">", 10, false],
    [">", 10.1, true],
    [">=", 10, true],
    [">=", 9.9, false],
    ["<", 10, false],
    ["<", 9.9, true],
    ["<=", 10, true],
    ["<=", 10.1, false],
  ] as const)("%s 10 of %d is %s", (comparison, value, breaching) => {
    const store = memorySeries();
    store.add(someSeries, { atMilliseconds: now - 1, value });
    const alarm = makeAlarm({ comparison, timing: timing(1, 1) });
    expect(evaluateAlarm(alarm, store, now, "INSUFFICIENT_DATA").state).toBe(breaching ? "ALARM" : "OK");
  });
});

describe("several metrics", () => {
  const hits: MetricReference = { from: "pgkeep", metric: "BlockedSessions", dimensions: {} };
  const reads: MetricReference = { from: "pgkeep", metric: "ConnectionsUsed", dimensions: {} };
  const share = makeAlarm({
    timing: timing(1, 1),
    source: { kind: "share", part: hits, whole: [hits, reads], atLeast: 100 },
    statistic: "Sum",
    comparison: "<",
    threshold: 90,
  });
  const evaluated = (part: number | undefined, rest: number | undefined) => {
    const store = memorySeries();
    const [ofPart, ofRest] = seriesOf(share);
    if (ofPart === undefined || ofRest === undefined) throw new Error("a share has two series");
    if (part !== undefined) store.add(ofPart, { atMilliseconds: now - 1, value: part });
    if (rest !== undefined) store.add(ofRest, { atMilliseconds: now - 1, value: rest });
    return evaluateAlarm(share, store, now, "INSUFFICIENT_DATA");
  };

  it("make a share in percent", () => {
    expect(seriesOf(share)).toHaveLength(2);
    expect(evaluated(80, 20)).toMatchObject({ state: "ALARM", value: 80 });
    expect(evaluated(95, 5)).toMatchObject({ state: "OK", value: 95 });
  });

  it("make a share of 0 while the whole is too small", () => {
    expect(evaluated(49, 50).value).toBe(0);
    expect(evaluated(0, 0).value).toBe(0);
  });

  it("make no share when one of them is missing", () => {
    expect(evaluated(80, undefined)).toMatchObject({ state: "INSUFFICIENT_DATA", value: undefined });
    expect(evaluated(undefined, 20).state).toBe("INSUFFICIENT_DATA");
  });

  it("count by the server that is worst, of those that sent something", () => {
    const writers = ["instance-1", "instance-2", "instance-3"];
    const full = (comparison: "<" | ">") =>
      makeAlarm({
        timing: timing(1, 1),
        comparison,
        threshold: 10,
        source: { kind: "metric", metric: { from: "aws", metric: "FreeStorageSpace" } },
      });
    const store = memorySeries();
    seriesOf(full("<"), writers).forEach((id, index) => {
      if (index < 2) store.add(id, { atMilliseconds: now - 1, value: index === 0 ? 5 : 50 });
    });
    const value = (comparison: "<" | ">") =>
      evaluateAlarm(full(comparison), store, now, "OK", { writers }).value;
    expect(value("<")).toBe(5);
    expect(value(">")).toBe(50);
  });
});

describe("the reason", () => {
  it("says how many periods were beyond which limit, and what was missing", () => {
    const store = memorySeries();
    addPattern(store, "X X X", { endMilliseconds: now });
    const alarm = makeAlarm();
    expect(evaluateAlarm(alarm, store, now, "OK").reason).toBe(
      "3 of 3 periods of 60 s were above 10 (100, 100, 100)",
    );
    expect(evaluateAlarm(alarm, store, now + 3 * minute, "OK").reason).toBe(
      "2 of 2 periods of 60 s were above 10 (100, 100); nothing was measured in 1 period, which says nothing",
    );
    expect(evaluateAlarm(alarm, store, now + 9 * minute, "OK").reason).toBe(
      "3 periods of 60 s; nothing was measured in 3 periods, which says nothing",
    );
  });
});
