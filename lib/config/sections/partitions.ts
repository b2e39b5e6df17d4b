import { z } from "zod";
import { seconds, tableName, whole } from "./forms.ts";

const declared = z.strictObject({
  table: tableName(),
  /** Of time, or how many ids a partition holds. */
  interval: z.union([z.enum(["hour", "day", "week", "month", "quarter", "year"]), whole(1)]),
  premake: whole(1, 1000).default(4),
  timeZone: z.string().min(1).max(100).default("UTC"),
  /** Whole intervals before the current one; left out: all. */
  keep: whole(1).optional(),
  expired: z.enum(["detach", "archive", "drop"]).default("detach"),
  archiveSchema: z.string().min(1).max(63).default("archive"),
  drainDefault: z.boolean().default(true),
});

export const partitions = z
  .strictObject({
    tables: z
      .array(declared)
      .max(1000)
      .default([])
      .describe(
        "Partitioned tables that manage-partitions looks after, each with `table`; `interval` (hour, day, week, month, quarter, year, or how many ids a partition holds); `premake` (partitions ahead of the current one, by default 4); `timeZone` (in which days and months begin, by default UTC); `keep` (intervals before the current one, by default all), and `expired`, what becomes of older partitions: detach (the default), archive (into `archiveSchema`) or drop; `drainDefault` (whether rows are moved out of the default partition, by default true)",
      ),
    budgetSeconds: seconds({ min: 1, max: 86_400 })
      .default(300)
      .describe("Time for one run; what is left is done by the next"),
    lockTimeoutSeconds: seconds({ min: 1, max: 60 })
      .default(2)
      .describe(
        "Nobody waits longer because of it: each transaction gives up its locks within this time, and is tried again",
      ),
    drainRows: whole(1, 10_000_000)
      .default(20_000)
      .describe(
        "Most rows that one transaction moves out of the default partition; a partition that needs more is not made, and that is said",
      ),
    adviseRows: whole(1)
      .default(10_000_000)
      .describe("Tables with more rows that are not partitioned are named in the report"),
  })
  .meta({ id: "partitions", description: "Partitions made ahead, and retired by age" });
