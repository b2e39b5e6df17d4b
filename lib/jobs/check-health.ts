import type { CheckOutcome } from "../checks/check.ts";
import { describeHealth } from "../checks/describe-health.ts";
import { checkHealth as askEverything, assessedAnything, type HealthReport } from "../checks/health.ts";
import { type HeartbeatWritten, heartbeatSchedule, writeHeartbeat } from "../checks/heartbeat.ts";
import { readPreviousSample } from "../checks/samples.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { countText } from "../words.ts";
import { defineJob, done, failed, type StepContext, step } from "./job.ts";
import { readSuccessAges } from "./success-age.ts";

/** What a run reports. Metrics go their own way and are left out. */
export type CheckHealthReport = Omit<HealthReport, "metrics"> & {
  heartbeat: HeartbeatWritten;
  /** Since when each job has been scheduled, ISO 8601; the next run reads it back. */
  scheduledSince: Record<string, string>;
};

/**
 * Each minute: writes the heartbeat, asks every health check, measures. Findings do not fail the job: they
 * are data, and alarms fire from the metrics. It fails when the primary cannot be reached (`Up` is 0 then)
 * or when nothing could be assessed.
 */
export const checkHealth = defineJob({
  name: "check-health",
  summary: "Ask whether the database is well, and write the heartbeat",
  schedule: heartbeatSchedule,
  // Without the primary there is no lock to take, and that is what this job has to tell.
  lock: "when-possible",
  supportsDryRun: true,
  describe: (report: CheckHealthReport) => [
    ...describeHealth(report),
    ...(report.heartbeat.written ? [] : ["", `Note: no heartbeat was written: ${report.heartbeat.because}`]),
  ],
  steps: [
    step("check", {
      where: "database",
      needs: ["primary"],
      timeoutSeconds: 50,
      run: async (context: StepContext<Record<string, never>, "primary">) => {
        const session = await connectAndMeasure(context);
        try {
          const report = await assess(context, session);
          return assessedAnything(report)
            ? done(asJson(report))
            : failed(
                asJson(report),
                `none of ${countText(report.results.length, "check")} could be assessed`,
              );
        } finally {
          await session.close();
        }
      },
    }),
  ],
});

async function connectAndMeasure(context: StepContext<Record<string, never>, "primary">): Promise<Session> {
  try {
    const session = await context.ports.primary.connect({ role: "monitoring", signal: context.deadline });
    context.measure("Up", 1);
    return session;
  } catch (error) {
    context.measure("Up", 0);
    throw error;
  }
}

async function assess(
  context: StepContext<Record<string, never>, "primary">,
  session: Session,
): Promise<CheckHealthReport> {
  const { metrics, ...report } = await askEverything({
    session,
    config: context.config,
    previous: await readPreviousSample(session),
    now: context.clock.now(),
  });
  measureAll(context, metrics);
  const ages = await readSuccessAges(session, context.config);
  for (const { job, ageSeconds } of ages) {
    context.measure("JobSuccessAge", Math.max(0, ageSeconds), { Job: job });
  }
  const scheduledSince = Object.fromEntries(ages.map((age) => [age.job, age.scheduledSince]));
  // After the checks: one of them tells how old the heartbeat before this one is.
  const heartbeat: HeartbeatWritten = context.dryRun
    ? { written: false, because: "this is a dry run" }
    : await writeHeartbeat(session, context.run.id);
  return { ...report, heartbeat, scheduledSince };
}

function measureAll(
  context: StepContext<Record<string, never>, "primary">,
  metrics: CheckOutcome["metrics"],
): void {
  for (const { name, value, dimensions } of metrics) context.measure(name, value, dimensions);
}

/** The report has no value that JSON lacks; its interfaces only have no index signature. */
function asJson(report: CheckHealthReport): Json {
  return report as unknown as Json;
}
