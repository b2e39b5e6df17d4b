import { rm, writeFile } from "node:fs/promises";
import { clockSkewFile } from "../clock.ts";
import { exists } from "../owner.ts";
import type { Fault } from "./fault.ts";

/** Beyond `health.clockSkewSeconds`, and less than a minute, so that what is measured still comes in time. */
const skewSeconds = 30;
const details = { seconds: skewSeconds };

export const skewClock: Fault = {
  name: "skew-clock",
  alarms: ["clock-skew"],
  summary: `put the clock of whoever measures and runs jobs ${skewSeconds} s ahead, as a machine without a time server: the servers keep the right time`,
  apply: async ({ state }) => {
    const file = clockSkewFile(state);
    if (await exists(file)) {
      return { outcome: "already-applied", message: `pgkeep's clock is ${skewSeconds} s ahead`, details };
    }
    await writeFile(file, String(skewSeconds), { mode: 0o600 });
    return { outcome: "applied", message: `pgkeep's clock was put ${skewSeconds} s ahead`, details };
  },
  repair: async ({ state }) => {
    const file = clockSkewFile(state);
    if (!(await exists(file))) {
      return { outcome: "not-applied", message: "pgkeep's clock is right", details };
    }
    await rm(file, { force: true });
    return { outcome: "repaired", message: "pgkeep's clock is right again", details };
  },
};
