import type { Alarm } from "../../alarms/alarm.ts";
import type { AlarmState, Evaluation } from "./evaluate.ts";
import type { SeriesStore, Writers } from "./series.ts";

/** Something to tell somebody: an alarm that began, or the end of one that was told. */
export interface Transition {
  alarm: Alarm;
  to: "ALARM" | "OK";
  /** When it is told. */
  at: Date;
  /** When the metric alarm itself changed; before `at` when the page waited for a root cause. */
  since: Date;
  /** Why the metric alarm is in this state now. */
  evaluation: Evaluation;
}

/** Why an alarm tells nobody at the moment. */
export interface Suppression {
  by: "alarm" | "wait-period" | "extension-period";
  /** The root causes in alarm now. */
  causes: readonly string[];
  /** End of the wait or extension period. */
  until?: Date;
}

export interface AlarmView {
  alarm: Alarm;
  state: AlarmState;
  /** When it came into this state; undefined before the first evaluation. */
  since: Date | undefined;
  value: number | undefined;
  reason: string;
  /** Undefined when it told what it had to tell. */
  suppressedBy: Suppression | undefined;
}

export interface AlarmWatch {
  /**
   * Evaluates every alarm as of this moment, which may be of any clock but must not go back. The last period ends
   * with the last whole minute: what was measured at 12:00:30 counts from 12:01:00 on.
   * @returns what `notify` was called with, in that order
   */
  evaluate(at: Date): Promise<readonly Transition[]>;
  view(): readonly AlarmView[];
}

export interface WatchOptions {
  alarms: readonly Alarm[];
  store: SeriesStore;
  /** Called once for each transition that tells somebody: ALARM, and OK after an ALARM that was told. */
  notify(transition: Transition): Promise<void>;
  /** Default: the primary alone. */
  writers?: Writers;
}

export function watchAlarms(_options: WatchOptions): AlarmWatch {
  return { evaluate: async () => [], view: () => [] };
}
