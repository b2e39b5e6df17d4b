import { z } from "zod";
import { seconds, tableName } from "./forms.ts";

export const integrity = z
  .strictObject({
    budgetSeconds: seconds({ min: 1, max: 86_400 })
      .default(600)
      .describe(
        "Time for one run; the next one goes on where it stopped, so that everything is covered over some runs",
      ),
    samplePercent: z
      .number()
      .min(1)
      .max(100)
      .default(100)
      .describe("How much of everything one run looks at, what was seen longest ago first; 100 is complete"),
    lockTimeoutSeconds: seconds({ min: 1, max: 60 })
      .default(2)
      .describe(
        "A table or index whose weak lock does not come within this time is left for the next run; nobody waits longer for one that is being read",
      ),
    skipTables: z
      .array(tableName())
      .max(1_000)
      .default([])
      .describe("Tables that are left out, with their indexes, constraints and sequences"),
  })
  .meta({ id: "integrity", description: "Looking for damage and orphaned rows" });
