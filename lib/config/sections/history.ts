import { z } from "zod";
import { whole } from "./forms.ts";

export const history = z
  .strictObject({
    keepDays: whole(7, 3_660)
      .default(400)
      .describe("Days of sizes and counters that are kept; only what changed takes space"),
    keepStatementSnapshots: whole(0, 3_660)
      .default(35)
      .describe("Days of statements that are kept; 0 keeps none and does not look at them"),
    statements: whole(1, 5_000)
      .default(100)
      .describe("Statements in each of these snapshots: those that took the most time"),
  })
  .meta({ id: "history", description: "What collect-history keeps" });
