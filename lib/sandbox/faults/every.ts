import { setTimeout as delay } from "node:timers/promises";

/**
 * Does `step` again and again with a pause after each, until the signal ends it. In the machine's own time,
 * whatever the sandbox's clock says: what it loads is the machine.
 */
export async function every(
  milliseconds: number,
  signal: AbortSignal,
  step: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    await step();
    await delay(milliseconds, undefined, { signal });
  }
}
