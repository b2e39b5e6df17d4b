import { type PartitionArguments, parsePartitionArguments } from "../partitions/arguments.ts";
import { describePartitions } from "../partitions/describe.ts";
import type { PartitionsReport } from "../partitions/report.ts";
import { managePartitions as manage } from "../partitions/run.ts";
import { defineJob, done, failed, step } from "./job.ts";

/** Makes partitions ahead, retires old ones, and moves rows out of default partitions, while clients go on. */
export const managePartitions = defineJob({
  name: "manage-partitions",
  summary: "Make partitions ahead, and detach, archive or drop old ones",
  schedule: "15 5 * * *",
  supportsDryRun: true,
  role: "maintenance",
  parseArguments: parsePartitionArguments,
  describe: describePartitions,
  steps: [
    step<PartitionArguments, PartitionsReport, "primary">("manage-partitions", {
      where: "database",
      needs: ["primary"],
      // The longest that a Lambda runs.
      timeoutSeconds: 900,
      async run(context) {
        const settings = context.config.partitions;
        const { report, problem } = await manage({
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
          tables: settings.tables,
          budgetSeconds: context.input.budgetSeconds ?? settings.budgetSeconds,
          lockTimeoutSeconds: settings.lockTimeoutSeconds,
          drainRows: settings.drainRows,
          adviseRows: settings.adviseRows,
          progress: context.progress,
        });
        context.measure("PartitionsCreated", report.created.total);
        context.measure("PartitionsMissing", report.missing);
        return problem === undefined ? done(report) : failed(report, problem);
      },
    }),
  ],
});
