import type { Alarm } from "../../alarms/alarm.ts";
import { tellsItself, timeToRecoverSeconds, waitForCauseSeconds } from "../../alarms/suppression.ts";
import { type Composite, evaluateComposite, type Periods, quiet } from "./composite.ts";
import { type AlarmState, type Evaluation, evaluateAlarm } from "./evaluate.ts";
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
   * @throws AggregateError with what `notify` threw, after every transition was tried once
   */
  evaluate(at: Date): Promise<readonly Transition[]>;
  view(): readonly AlarmView[];
}

export interface WatchOptions {
  alarms: readonly Alarm[];
  store: SeriesStore;
  /**
   * Called once for each transition that tells somebody: ALARM, and OK after an ALARM that was told. (CloudWatch
   * also sends OK to an alarm that has just been made and found nothing; no person needs that one.)
   */
  notify(transition: Transition): void | Promise<void>;
  /** Default: the primary alone. */
  writers?: Writers;
}

/** What is remembered of one alarm between two evaluations. */
interface Watched {
  alarm: Alarm;
  state: AlarmState;
  since: Date | undefined;
  evaluation: Evaluation | undefined;
  /** The `-unexplained` alarm beside it; for one that tells people itself nothing. */
  composite: Composite;
  /** Somebody was told of the alarm, and not yet of its end. */
  told: boolean;
}

const periods: Periods = {
  waitMilliseconds: waitForCauseSeconds * 1000,
  extensionMilliseconds: timeToRecoverSeconds * 1000,
};

/** Every alarm as CloudWatch would have it, with its composite alarm where root causes can silence it. */
export function watchAlarms(options: WatchOptions): AlarmWatch {
  const { store, writers } = options;
  const watched = new Map(
    options.alarms.map((alarm): [string, Watched] => [
      alarm.name,
      {
        alarm,
        state: "INSUFFICIENT_DATA",
        since: undefined,
        evaluation: undefined,
        composite: quiet,
        told: false,
      },
    ]),
  );
  const causesInAlarm = ({ consequenceOf }: Alarm) =>
    consequenceOf.filter((name) => watched.get(name)?.state === "ALARM");

  /** Whether the metric alarm changed. */
  const evaluateOne = (one: Watched, at: Date): boolean => {
    const evaluation = evaluateAlarm(
      one.alarm,
      store,
      at.getTime(),
      one.state,
      writers === undefined ? {} : { writers },
    );
    const changed = evaluation.state !== one.state;
    if (changed || one.since === undefined) one.since = at;
    one.state = evaluation.state;
    one.evaluation = evaluation;
    return changed;
  };

  /** Whether actions are taken for the state that the alarm is in. */
  const acts = (one: Watched, changed: boolean, at: Date): boolean => {
    if (tellsItself(one.alarm)) return changed;
    const now = {
      inAlarm: one.state === "ALARM",
      suppressorInAlarm: causesInAlarm(one.alarm).length > 0,
      atMilliseconds: at.getTime(),
    };
    const result = evaluateComposite(one.composite, now, periods);
    one.composite = result.composite;
    return result.acts;
  };

  const transitionOf = (one: Watched, at: Date): Transition | undefined => {
    const { alarm, state, since = at, evaluation } = one;
    if (evaluation === undefined) return undefined;
    // A composite is OK as soon as its alarm is not in ALARM; a metric alarm without data tells nothing.
    const to = state === "INSUFFICIENT_DATA" && !tellsItself(alarm) ? "OK" : state;
    if (to === "INSUFFICIENT_DATA" || (to === "OK" && !one.told)) return undefined;
    one.told = to === "ALARM";
    return { alarm, to, at, since, evaluation };
  };

  return {
    async evaluate(at) {
      const all = [...watched.values()];
      // First every metric alarm: whether a root cause is in alarm must not depend on the order.
      const changes = all.map((one) => ({ one, changed: evaluateOne(one, at) }));
      const acting = changes.filter(({ one, changed }) => acts(one, changed, at));
      const transitions = acting.flatMap(({ one }) => transitionOf(one, at) ?? []);
      const failures: unknown[] = [];
      for (const transition of transitions) {
        try {
          await options.notify(transition);
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, "somebody could not be told of an alarm");
      return transitions;
    },
    view: () =>
      [...watched.values()].map((one) => ({
        alarm: one.alarm,
        state: one.state,
        since: one.since,
        value: one.evaluation?.value,
        reason: one.evaluation?.reason ?? "not evaluated yet",
        suppressedBy: suppressionOf(one.composite, causesInAlarm(one.alarm)),
      })),
  };
}

function suppressionOf(
  { pending, suppressorInAlarm, waiting }: Composite,
  causes: readonly string[],
): Suppression | undefined {
  if (!pending) return undefined;
  if (suppressorInAlarm) return { by: "alarm", causes };
  return waiting === undefined
    ? undefined
    : { by: waiting.by, causes, until: new Date(waiting.untilMilliseconds) };
}
