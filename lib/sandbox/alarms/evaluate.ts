import type { Alarm, Comparison } from "../../alarms/alarm.ts";
import { countText, durationText } from "../../words.ts";
import { type Datapoint, datapointsOf } from "./datapoints.ts";
import type { SeriesStore, Writers } from "./series.ts";

export type { Datapoint } from "./datapoints.ts";

export type AlarmState = "OK" | "ALARM" | "INSUFFICIENT_DATA";

export interface Evaluation {
  state: AlarmState;
  /** In words: which values against which threshold, and what was missing. */
  reason: string;
  /** The measured ones that the state was found from, oldest first. */
  datapoints: readonly Datapoint[];
  /** Value of the newest of them. */
  value: number | undefined;
}

export interface EvaluateOptions {
  /** Default: the primary alone. */
  writers?: Writers;
}

/** What CloudWatch would make of an alarm at this moment. Pure. */
export function evaluateAlarm(
  alarm: Alarm,
  store: SeriesStore,
  nowMilliseconds: number,
  previous: AlarmState,
  options: EvaluateOptions = {},
): Evaluation {
  const range = datapointsOf(alarm, store, nowMilliseconds, options.writers);
  const state = stateOf(range, alarm, previous);
  const datapoints = range.filter(({ value }) => value !== undefined).slice(-alarm.timing.evaluationPeriods);
  return { state, reason: reasonOf(alarm, state, datapoints), datapoints, value: datapoints.at(-1)?.value };
}

/**
 * The rules of "Configuring how CloudWatch alarms treat missing data" (CloudWatch User Guide) on the evaluation range,
 * oldest first. Real datapoints come first, however old they are in the range; what is missing is filled in only
 * where there are fewer of them than evaluation periods.
 */
export function stateOf(
  range: readonly Pick<Datapoint, "value" | "breaching">[],
  { timing: { evaluationPeriods, datapointsToAlarm }, missingData }: Pick<Alarm, "timing" | "missingData">,
  previous: AlarmState,
): AlarmState {
  const real = range.filter(({ value }) => value !== undefined).slice(-evaluationPeriods);
  const filled = evaluationPeriods - real.length;
  const breaching = real.filter((point) => point.breaching).length;
  const reached = (count: number): AlarmState => (count >= datapointsToAlarm ? "ALARM" : "OK");
  if (filled === 0 || missingData === "notBreaching") return reached(breaching);
  if (missingData === "breaching") return reached(breaching + filled);
  if (breaching >= datapointsToAlarm || breaching < real.length) return reached(breaching);
  if (missingData === "ignore") return previous;
  // "Avoiding premature transitions to alarm state": only breaching datapoints, too few of them, and the oldest of
  // them at least as old as datapointsToAlarm. A younger one may be followed by one that is not breaching; the page's
  // earlier edition has `- - - - X` as insufficient data, and nothing in today's says otherwise.
  const [oldest] = real;
  const age = oldest === undefined ? 0 : range.length - range.indexOf(oldest);
  return age >= datapointsToAlarm ? "ALARM" : "INSUFFICIENT_DATA";
}

const beyond: Record<Comparison, string> = {
  ">": "above",
  ">=": "at or above",
  "<": "below",
  "<=": "at or below",
};

function reasonOf(alarm: Alarm, state: AlarmState, datapoints: readonly Datapoint[]): string {
  const { periodSeconds, evaluationPeriods } = alarm.timing;
  const period = durationText(periodSeconds);
  const missing = evaluationPeriods - datapoints.length;
  const gap =
    missing === 0
      ? ""
      : `; nothing was measured in ${countText(missing, "period")}, ${treatments[alarm.missingData]}`;
  if (datapoints.length === 0) return `${countText(evaluationPeriods, "period")} of ${period}${gap}`;
  const breaching = datapoints.filter((point) => point.breaching).length;
  const values = datapoints.map(({ value = 0 }) => numberText(value));
  const listed = values.length > 5 ? `… ${values.slice(-5).join(", ")}` : values.join(", ");
  const limit = `${beyond[alarm.comparison]} ${numberText(alarm.threshold)}`;
  return `${state === "ALARM" ? "" : "only "}${breaching} of ${countText(datapoints.length, "period")} of ${period} ${breaching === 1 ? "was" : "were"} ${limit} (${listed})${gap}`;
}

const treatments: Record<Alarm["missingData"], string> = {
  breaching: "which counts as beyond the limit",
  notBreaching: "which counts as within the limit",
  ignore: "which leaves the alarm as it was",
  missing: "which says nothing",
};

function numberText(value: number): string {
  return String(Math.abs(value) >= 100 ? Math.round(value) : Math.round(value * 100) / 100);
}
