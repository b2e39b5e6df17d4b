import type { Alarm } from "../../alarms/alarm.ts";
import type { SeriesStore, Writers } from "./series.ts";

export type AlarmState = "OK" | "ALARM" | "INSUFFICIENT_DATA";

/** The metric of one period, with its statistic. */
export interface Datapoint {
  /** Start of the period. */
  atMilliseconds: number;
  /** Undefined when nothing was measured in the period. */
  value: number | undefined;
  breaching: boolean;
}

export interface Evaluation {
  state: AlarmState;
  /** In words: which values against which threshold, and what was missing. */
  reason: string;
  /** Those that the state was found from, oldest first; the missing ones that were filled in are not among them. */
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
  _alarm: Alarm,
  _store: SeriesStore,
  _nowMilliseconds: number,
  previous: AlarmState,
  _options: EvaluateOptions = {},
): Evaluation {
  return { state: previous, reason: "", datapoints: [], value: undefined };
}
