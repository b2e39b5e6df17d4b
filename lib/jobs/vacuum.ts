import { parseVacuumArguments, type VacuumArguments } from "../vacuum/arguments.ts";
import { describeVacuum } from "../vacuum/describe.ts";
import type { VacuumReport } from "../vacuum/report.ts";
import { vacuumByNeed } from "../vacuum/run.ts";
import { defineJob, done, failed, step } from "./job.ts";

/** Between two lines about a table that takes long. */
const progressEverySeconds = 5;

/** Vacuums and analyses, most urgent first, the tables that need it, before autovacuum would have to. */
export const vacuum = defineJob({
  name: "vacuum",
  summary: "Vacuum and analyse the tables that need it, most urgent first",
  schedule: "30 2 * * *",
  supportsDryRun: true,
  role: "maintenance",
  parseArguments: parseVacuumArguments,
  describe: describeVacuum,
  steps: [
    step<VacuumArguments, VacuumReport, "primary">("vacuum", {
      where: "database",
      needs: ["primary"],
      // The longest that a Lambda runs.
      timeoutSeconds: 900,
      async run(context) {
        const settings = context.config.maintenance.vacuum;
        const { report, problem } = await vacuumByNeed({
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
          threshold: settings.threshold,
          // What would be cut off by the deadline does not fit either.
          budgetSeconds: Math.min(
            context.input.budgetSeconds ?? settings.budgetSeconds,
            Math.max(1, Math.floor(context.timeLeft() / 1000)),
          ),
          lockTimeoutSeconds: settings.lockTimeoutSeconds,
          progressEverySeconds,
          effort: {
            parallelWorkers: settings.parallelWorkers,
            bufferUsageMegabytes: settings.bufferUsageMegabytes,
          },
          handOverDays: settings.handOverDays,
          progress: context.progress,
        });
        context.measure("TablesVacuumed", report.vacuumed.total);
        context.measure("TablesLeft", report.left.total);
        return problem === undefined ? done(report) : failed(report, problem);
      },
    }),
  ],
});
