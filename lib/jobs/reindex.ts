import { parseReindexArguments, type ReindexArguments } from "../reindex/arguments.ts";
import { describeReindex } from "../reindex/describe.ts";
import type { ReindexReport } from "../reindex/report.ts";
import { reindexByNeed } from "../reindex/run.ts";
import { defineJob, done, failed, step } from "./job.ts";

const megabyte = 1024 ** 2;

/** Rebuilds bloated and invalid indexes while reads and writes go on, and removes what a killed rebuild has left. */
export const reindex = defineJob({
  name: "reindex",
  summary: "Rebuild bloated and invalid indexes concurrently, one at a time",
  schedule: "30 3 15 * *",
  supportsDryRun: true,
  role: "maintenance",
  parseArguments: parseReindexArguments,
  describe: describeReindex,
  steps: [
    step<ReindexArguments, ReindexReport, "primary">("reindex", {
      where: "database",
      needs: ["primary"],
      // The longest that a Lambda runs.
      timeoutSeconds: 900,
      async run(context) {
        const { database, health, maintenance } = context.config;
        const settings = maintenance.reindex;
        const { report, problem } = await reindexByNeed({
          connect: (options) =>
            context.ports.primary.connect({
              role: "maintenance",
              lockTimeoutMilliseconds: settings.lockTimeoutSeconds * 1000,
              ...options,
            }),
          clock: context.clock,
          deadline: context.deadline,
          dryRun: context.dryRun,
          wanted: context.input,
          budgetSeconds: context.input.budgetSeconds ?? settings.budgetSeconds,
          measureSeconds: settings.measureSeconds,
          minimumBloatPercent: settings.minimumBloatPercent,
          minimumBytes: settings.minimumSizeMegabytes * megabyte,
          lockTimeoutSeconds: settings.lockTimeoutSeconds,
          limits: {
            oldTransactionSeconds: settings.oldTransactionSeconds,
            maximumReplicaLagBytes: settings.maxReplicaLagMegabytes * megabyte,
          },
          storage: {
            topology: database.topology,
            maxStorageGigabytes: database.maxStorageGigabytes,
            freeStoragePercent: health.freeStoragePercent,
          },
          progress: context.progress,
        });
        context.measure("IndexesRebuilt", report.rebuilt.total);
        context.measure("IndexesLeft", report.left.total + report.blocked.total);
        return problem === undefined ? done(report) : failed(report, problem);
      },
    }),
  ],
});
