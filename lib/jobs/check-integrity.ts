import { describeIntegrity } from "../integrity/describe.ts";
import type { IntegrityReport } from "../integrity/report.ts";
import { checkIntegrity as lookAtEverything, type RunState } from "../integrity/run.ts";
import type { Json } from "../json.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import { countText } from "../words.ts";
import { again, defineJob, done, failed, type StepContext, step } from "./job.ts";

/**
 * Reads tables and indexes with amcheck, and looks for rows that break a promise: orphans, what a NOT VALID constraint
 * would not allow, sequences that are behind. It fails for damage; rows are findings.
 */
export const checkIntegrity = defineJob({
  name: "check-integrity",
  summary: "Look for damaged tables and indexes, orphaned rows and sequences that are behind",
  schedule: "0 4 * * 0",
  supportsDryRun: true,
  role: "monitoring",
  describe: describeIntegrity,
  steps: [
    step("look", {
      where: "database",
      needs: ["primary", "replicas"],
      // The longest that a Lambda runs.
      timeoutSeconds: 900,
      run: async (context: StepContext<Record<string, never>, "primary" | "replicas">) => {
        const settings = context.config.integrity;
        const outcome = await lookAtEverything(
          {
            primary: context.ports.primary,
            replicas: context.ports.replicas,
            budgetSeconds: settings.budgetSeconds,
            samplePercent: settings.samplePercent,
            lockTimeoutSeconds: settings.lockTimeoutSeconds,
            skip: settings.skipTables.map(parseTableName),
            dryRun: context.dryRun,
            deadline: context.deadline,
            timeLeft: context.timeLeft,
            progress: context.progress,
          },
          context.resume as unknown as RunState | undefined,
        );
        if (outcome.kind === "unfinished") return again(1, outcome.state as unknown as Json);
        const { report } = outcome;
        if (!context.dryRun) {
          context.measure("CorruptObjects", report.corruptObjects);
          context.measure("IntegrityCoveredPercent", report.coverage.sharePercent);
        }
        return report.corruptObjects > 0 && !context.dryRun
          ? failed(
              asJson(report),
              `${countText(report.corruptObjects, "object is", "objects are")} damaged: ${damaged(report)}`,
            )
          : done(asJson(report));
      },
    }),
  ],
});

function damaged({ findings }: IntegrityReport): string {
  const titles = findings.filter(({ severity }) => severity === "critical").map(({ title }) => title);
  return titles.slice(0, 3).join("; ") + (titles.length > 3 ? ` and ${titles.length - 3} more` : "");
}

/** The report has no value that JSON lacks; its interfaces only have no index signature. */
function asJson(report: IntegrityReport): Json {
  return report as unknown as Json;
}
