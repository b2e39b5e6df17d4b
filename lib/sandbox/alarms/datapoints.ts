import type { Alarm, AlarmSource, Comparison, MetricReference, Statistic } from "../../alarms/alarm.ts";
import { type Datum, type SeriesId, type SeriesStore, seriesOfReference, type Writers } from "./series.ts";

/** The metric of one period, with its statistic. */
export interface Datapoint {
  /** Start of the period. */
  atMilliseconds: number;
  /** Undefined when nothing was measured in the period. */
  value: number | undefined;
  breaching: boolean;
}

const minute = 60_000;
const hour = 60 * minute;
const daySeconds = 86_400;

/**
 * How many periods more than `evaluationPeriods` are retrieved, for the case that some are missing. AWS gives one
 * example, 5 for an alarm of 3 (CloudWatch User Guide, Configuring how CloudWatch alarms treat missing data).
 */
const periodsBeyond = 2;

/**
 * The evaluation range of an alarm, oldest first. The periods slide: the last one ends with the last whole minute,
 * whatever its length, since CloudWatch evaluates each minute and its default is a sliding window (User Guide, Alarm
 * evaluation window; Limits, alarms based on connected data sources: timestamps begin at any minute). A minute that
 * is not over is left out: a lower count of it would only look like a gap. An alarm that looks back more than a day
 * is evaluated once an hour, up to the last full hour (User Guide, Alarm evaluation, multi-day alarms).
 */
export function datapointsOf(
  alarm: Alarm,
  store: SeriesStore,
  nowMilliseconds: number,
  writers?: Writers,
): Datapoint[] {
  const { periodSeconds, evaluationPeriods } = alarm.timing;
  const step = periodSeconds * evaluationPeriods > daySeconds ? hour : minute;
  const window: Window = {
    end: Math.floor(nowMilliseconds / step) * step,
    period: periodSeconds * 1000,
    periods: evaluationPeriods + periodsBeyond,
  };
  const valuesOf = (reference: MetricReference) => {
    const series = knownSeries(reference, alarm, writers).map((id) =>
      statisticsOf(store.between(id, startOf(window), window.end), alarm.statistic, window),
    );
    return worstOf(series, alarm.comparison);
  };
  return combined(alarm.source, valuesOf).map((value, index) => ({
    atMilliseconds: startOf(window) + index * window.period,
    value,
    breaching: value !== undefined && isBeyond(value, alarm.comparison, alarm.threshold),
  }));
}

interface KnownSeries {
  writers: Writers | undefined;
  ids: readonly SeriesId[];
}

/** By alarm and reference: the same are asked for each minute, and the writers are almost always the same. */
const known = new WeakMap<Alarm, Map<MetricReference, KnownSeries>>();

function knownSeries(reference: MetricReference, alarm: Alarm, writers?: Writers): readonly SeriesId[] {
  const ofAlarm = known.get(alarm) ?? new Map<MetricReference, KnownSeries>();
  known.set(alarm, ofAlarm);
  const found = ofAlarm.get(reference);
  if (found !== undefined && found.writers === writers) return found.ids;
  const ids = seriesOfReference(reference, alarm, writers);
  ofAlarm.set(reference, { writers, ids });
  return ids;
}

interface Window {
  end: number;
  period: number;
  periods: number;
}

type Values = readonly (number | undefined)[];

function startOf({ end, period, periods }: Window): number {
  return end - periods * period;
}

export function isBeyond(value: number, comparison: Comparison, threshold: number): boolean {
  switch (comparison) {
    case ">":
      return value > threshold;
    case ">=":
      return value >= threshold;
    case "<":
      return value < threshold;
    case "<=":
      return value <= threshold;
  }
}

function statisticsOf(data: readonly Datum[], statistic: Statistic, window: Window): Values {
  const byPeriod: number[][] = Array.from({ length: window.periods }, () => []);
  for (const { atMilliseconds, value } of data) {
    byPeriod[Math.floor((atMilliseconds - startOf(window)) / window.period)]?.push(value);
  }
  return byPeriod.map((values) => statisticOf(values, statistic));
}

/** Undefined of nothing: CloudWatch has no datapoint then, not a sum of 0. */
export function statisticOf(values: readonly number[], statistic: Statistic): number | undefined {
  if (values.length === 0) return undefined;
  switch (statistic) {
    case "Minimum":
      return values.reduce((one, other) => Math.min(one, other));
    case "Maximum":
      return values.reduce((one, other) => Math.max(one, other));
    case "Sum":
      return values.reduce((one, other) => one + other);
    case "Average":
      return values.reduce((one, other) => one + other) / values.length;
    default:
      return percentileOf(values, Number(statistic.slice(1)));
  }
}

/**
 * The smallest value that at least so much of the values is not above (nearest rank): with few values one of them,
 * never one that nobody measured. AWS does not say how it interpolates (User Guide, CloudWatch statistics
 * definitions). Few values are evaluated like many, as `evaluateLowSampleCountPercentile: evaluate` asks.
 */
function percentileOf(values: readonly number[], percent: number): number | undefined {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

/**
 * MAX([m1,m2…]) or MIN, of what was measured in the period: a server that sent nothing does not hide the others
 * (User Guide, Using math expressions with CloudWatch metrics: functions on an array of time series).
 */
function worstOf(series: readonly Values[], comparison: Comparison): Values {
  const [first = [], ...others] = series;
  if (others.length === 0) return first;
  const worst: Statistic = comparison.startsWith(">") ? "Maximum" : "Minimum";
  return first.map((_, index) =>
    statisticOf(
      series.flatMap((values) => values[index] ?? []),
      worst,
    ),
  );
}

/** One metric, or `IF((whole)>=atLeast, 100*part/(whole), 0)`, which has no value where an operand has none. */
function combined(source: AlarmSource, valuesOf: (reference: MetricReference) => Values): Values {
  if (source.kind === "metric") return valuesOf(source.metric);
  const parts = valuesOf(source.part);
  const wholes = source.whole.map(valuesOf);
  return parts.map((part, index) => {
    const summands = wholes.flatMap((values) => values[index] ?? []);
    if (part === undefined || summands.length < wholes.length) return undefined;
    const whole = summands.reduce((one, other) => one + other, 0);
    if (whole < source.atLeast) return 0;
    return whole === 0 ? undefined : (100 * part) / whole;
  });
}
