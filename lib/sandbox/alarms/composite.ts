/** A composite alarm `ALARM(x)` with an actions suppressor, between two evaluations. */
export interface Composite {
  /** In alarm, or not. */
  inAlarm: boolean;
  suppressorInAlarm: boolean;
  /** It has changed, and has not taken its actions for that yet. */
  pending: boolean;
  /** What it waits for while its suppressor is not in alarm. */
  waiting: { by: "wait-period" | "extension-period"; untilMilliseconds: number } | undefined;
}

export interface Periods {
  waitMilliseconds: number;
  extensionMilliseconds: number;
}

export const quiet: Composite = {
  inAlarm: false,
  suppressorInAlarm: false,
  pending: false,
  waiting: undefined,
};

/**
 * One evaluation, by "Suppressing composite alarm actions" (CloudWatch User Guide): each change of the composite
 * starts a wait period and discards what it waited for; a suppressor in alarm discards it too and holds the actions;
 * when the suppressor is gone and a change was held back, an extension period starts. Actions are for the state at
 * the end of the period. A suppressor that comes at the very moment a period ends still suppresses.
 */
export function evaluateComposite(
  before: Composite,
  now: { inAlarm: boolean; suppressorInAlarm: boolean; atMilliseconds: number },
  periods: Periods,
): { composite: Composite; acts: boolean } {
  const { inAlarm, suppressorInAlarm, atMilliseconds } = now;
  const changed = inAlarm !== before.inAlarm;
  const pending = before.pending || changed;
  const state = { inAlarm, suppressorInAlarm };
  if (suppressorInAlarm || !pending) {
    return { composite: { ...state, pending, waiting: undefined }, acts: false };
  }
  const waiting = waitingOf();
  if (waiting !== undefined && atMilliseconds < waiting.untilMilliseconds) {
    return { composite: { ...state, pending, waiting }, acts: false };
  }
  return { composite: { ...state, pending: false, waiting: undefined }, acts: true };

  function waitingOf(): Composite["waiting"] {
    if (changed) return { by: "wait-period", untilMilliseconds: atMilliseconds + periods.waitMilliseconds };
    if (before.suppressorInAlarm)
      return { by: "extension-period", untilMilliseconds: atMilliseconds + periods.extensionMilliseconds };
    return before.waiting;
  }
}
