import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import type { Clock } from "../ports/clock.ts";
import type { SandboxState } from "./state.ts";

/** Holds by how many seconds the sandbox's own clock is ahead; absent while it is right. */
export function clockSkewFile(state: Pick<SandboxState, "directory">): string {
  return join(state.directory, "clock-skew");
}

/** The clock of whoever works on the sandbox, in each of its processes: the machine's, unless a fault has put it wrong. */
export function sandboxClock(state: Pick<SandboxState, "directory">): Clock {
  return {
    now: () => new Date(Date.now() + 1000 * readSkewSeconds(state)),
    sleep: (milliseconds, signal) => systemClock.sleep(milliseconds, signal),
  };
}

function readSkewSeconds(state: Pick<SandboxState, "directory">): number {
  try {
    return Number(readFileSync(clockSkewFile(state), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
