import { z } from "zod";
import { form, percent, seconds, timeOfDay, weekday, whole } from "./forms.ts";

export const maintenance = z
  .strictObject({
    window: form(
      new RegExp(`^${weekday}:${timeOfDay}-${weekday}:${timeOfDay}$`),
      "a UTC window such as sun:04:00-sun:05:00",
    )
      .default("sat:22:30-sat:23:30")
      .describe("AWS's maintenance window, UTC"),
    vacuum: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 86_400 })
          .default(600)
          .describe("Time for one run; no table is started that would not fit"),
        lockTimeoutSeconds: seconds({ min: 1, max: 60 })
          .default(2)
          .describe("A table whose lock does not come within this time is skipped, and said so"),
        threshold: z
          .number()
          .min(0.05)
          .max(10)
          .default(0.8)
          .describe("A table is due when a counter reaches this share of its own autovacuum trigger"),
        parallelWorkers: whole(0, 32)
          .default(2)
          .describe(
            "Worker processes that may vacuum the indexes of a large table at once, within max_parallel_maintenance_workers",
          ),
        bufferUsageMegabytes: whole(1, 16_384)
          .default(16)
          .describe(
            "Shared buffers that a VACUUM of a large table may use, from PostgreSQL 16 on; the server takes at most an eighth of all",
          ),
        handOverDays: whole(1, 90)
          .default(3)
          .describe(
            "A table too large for one run is left to pg_cron or autovacuum for so long at most; then its settings are put back",
          ),
      })
      .prefault({}),
    reindex: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 86_400 })
          .default(600)
          .describe("Time for one run; no index is started that would not fit"),
        measureSeconds: seconds({ min: 1, max: 86_400 })
          .default(120)
          .describe("Part of it for reading indexes with pgstatindex, which confirms what the estimate says"),
        minimumBloatPercent: percent
          .default(30)
          .describe("An index is rebuilt when a rebuild would free this share of it"),
        minimumSizeMegabytes: whole(0)
          .default(10)
          .describe("Smaller indexes are left alone, unless they are invalid or named"),
        lockTimeoutSeconds: seconds({ min: 1, max: 60 })
          .default(2)
          .describe(
            "Nobody waits longer because of a rebuild: it is given up, cleaned up, and tried once more at the end of the run",
          ),
        oldTransactionSeconds: seconds({ min: 1, max: 3600 })
          .default(30)
          .describe(
            "A rebuild has to wait for the transactions that began before it: none is started while one has been open for longer, and none waits longer",
          ),
        maxReplicaLagMegabytes: whole(1)
          .default(1024)
          .describe("No rebuild is started while a standby has more WAL than this to replay"),
      })
      .prefault({}),
  })
  .meta({
    id: "maintenance",
    description: "Vacuuming, rebuilding indexes, and when AWS may work on the database",
  });
