import type { Alarm } from "./alarm.ts";

/** How long a consequence waits for its root cause to be seen: a cause may need as many periods more. */
export const waitForCauseSeconds = 300;

/**
 * How long after the root cause is gone a consequence may still be there without telling anybody: a job that runs every
 * five minutes has to run again, and its alarm looks at two periods of five minutes.
 */
export const timeToRecoverSeconds = 900;

/** Whether the alarm tells people itself, or a composite beside it does that its root causes can silence. */
export function tellsItself(alarm: Pick<Alarm, "consequenceOf">): boolean {
  return alarm.consequenceOf.length === 0;
}
