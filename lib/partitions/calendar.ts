import { literal } from "../postgres/identifiers.ts";
import type { Declared, KeyKind, ParentFacts } from "./facts.ts";

/**
 * A table's intervals as SQL. Times are reckoned in the time zone that was declared, as `timestamp`, so that a day
 * or a month has the length it has there; hours of a `timestamptz` are those of UTC, because an hour in which clocks
 * are turned back would come twice. Where an interval begins is `date_trunc`, so weeks begin on Monday.
 */
export interface Calendar {
  keyType: string;
  rangeType: string;
  multirangeType: string;
  /** Where the interval begins that a value of the key lies in, as an element of intervals. */
  floor(key: string): string;
  /** That many intervals later. */
  plus(start: string, count: string): string;
  /** The key's value at the begin of an interval. */
  toKey(start: string): string;
  /** The clock as a value of the key; undefined for integers. */
  now: string | undefined;
  /** `to_char` of an interval's begin, for the name; `precise` for a range that begins in between. */
  suffix(start: string, precise: boolean): string;
  /** Type of an interval's begin. */
  startType: string;
  /** Every begin from one to another. */
  series(from: string, to: string): string;
  isFinite(key: string): string;
}

const lengths = {
  hour: "1 hour",
  day: "1 day",
  week: "7 days",
  month: "1 month",
  quarter: "3 months",
  year: "1 year",
} as const;

const suffixes = {
  hour: 'YYYYMMDD"_"HH24',
  day: "YYYYMMDD",
  week: "YYYYMMDD",
  month: "YYYYMM",
  quarter: 'YYYY"q"Q',
  year: "YYYY",
} as const;

const ranges: Readonly<Record<KeyKind, string>> = {
  date: "date",
  timestamp: "ts",
  timestamptz: "tstz",
  integer: "int8",
};

export function calendarOf(facts: Pick<ParentFacts, "keyKind">, declared: Declared): Calendar {
  const shared = {
    rangeType: `${ranges[facts.keyKind]}range`,
    multirangeType: `${ranges[facts.keyKind]}multirange`,
  };
  const { interval } = declared;
  if (typeof interval === "number") {
    // Division cuts towards zero; an interval below zero begins below.
    const floor = (key: string) => `(floor((${key})::numeric / ${interval}) * ${interval})::int8`;
    return {
      ...shared,
      keyType: "int8",
      startType: "int8",
      floor,
      plus: (start, count) => `(${start} + (${count}) * ${interval}::int8)`,
      toKey: (start) => `(${start})::int8`,
      now: undefined,
      suffix: (start) => `(case when ${start} < 0 then 'm' else '' end || abs(${start}))`,
      series: (from, to) => `generate_series(${from}, ${to}, ${interval}::int8)`,
      isFinite: () => "true",
    };
  }
  const zone = literal(
    interval === "hour" && facts.keyKind === "timestamptz" ? "UTC" : declared.timeZone,
  ).trim();
  const isZoned = facts.keyKind === "timestamptz";
  const length = `interval '${lengths[interval]}'`;
  const local = (key: string) =>
    isZoned ? `((${key})::timestamptz at time zone ${zone})` : `(${key})::timestamp`;
  const era = (start: string) => `case when ${start} < '0001-01-01' then 'BC"_"' else '' end`;
  return {
    ...shared,
    keyType: facts.keyKind,
    startType: "timestamp",
    floor: (key) => `date_trunc('${interval}', ${local(key)})`,
    plus: (start, count) => `(${start} + (${count}) * ${length})`,
    toKey: (start) =>
      facts.keyKind === "date"
        ? `(${start})::date`
        : isZoned
          ? `((${start}) at time zone ${zone})`
          : `(${start})::timestamp`,
    now:
      facts.keyKind === "timestamptz"
        ? "clock_timestamp()"
        : `(clock_timestamp() at time zone ${zone})${facts.keyKind === "date" ? "::date" : ""}`,
    suffix: (start, precise) =>
      `to_char(${start}, ${era(start)} || '${precise ? 'YYYYMMDD"_"HH24MISS' : suffixes[interval]}')`,
    series: (from, to) => `generate_series(${from}, ${to}, ${length})`,
    isFinite: (key) => `isfinite(${key})`,
  };
}
