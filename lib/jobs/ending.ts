import { errorMessage, PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import type { AnyStep, Job, JobResult, RunOptions } from "./job.ts";

export type Ending = Pick<JobResult, "outcome" | "report" | "reason" | "error">;

/** How a run ends that something was thrown in. */
export function failure(error: unknown, report: Json): Ending {
  const known = error instanceof PgkeepError ? error : undefined;
  return {
    outcome: "failed",
    report,
    reason: errorMessage(error),
    error: {
      code: known?.code ?? (error instanceof Error && error.name === "AbortError" ? "deadline" : "internal"),
      message: errorMessage(error),
      ...(known?.remedy === undefined ? {} : { remedy: known.remedy }),
    },
  };
}

/** @throws PgkeepError `refused` when these steps cannot run here, or the job not dry */
export function requireRunnable(
  job: Job,
  steps: readonly AnyStep[],
  options: Pick<RunOptions, "ports" | "dryRun">,
): void {
  if (options.dryRun === true && !job.supportsDryRun) {
    throw new PgkeepError("refused", `${job.name} has no dry run`, {
      remedy: `run \`pgkeep run ${job.name}\` without --dry-run`,
    });
  }
  const missing = [...new Set(steps.flatMap((step) => step.needs))].filter(
    (need) => options.ports[need] === undefined,
  );
  if (missing.length > 0) {
    throw new PgkeepError(
      "refused",
      `${job.name} needs ${missing.join(" and ")}, which this target does not have`,
      {
        remedy: "run it against the sandbox or AWS; a plain URL has only the database itself",
      },
    );
  }
}

/** What is measured of each run, whatever it does. */
export function runMetrics(result: JobResult, at: Date): MetricDatum[] {
  const dimensions = { Job: result.job };
  const ok = result.outcome === "succeeded";
  return [
    { name: "JobSucceeded", value: ok ? 1 : 0, at, dimensions },
    { name: "JobFailed", value: ok ? 0 : 1, at, dimensions },
    { name: "JobDuration", value: result.seconds, at, dimensions },
  ];
}

/** Delivers what was measured; when that is impossible, says so in `warnings`. */
export async function deliverMetrics(
  { ports }: Pick<RunOptions, "ports">,
  data: readonly MetricDatum[],
  warnings: string[],
): Promise<void> {
  if (data.length === 0) return;
  try {
    await ports.metrics.put(data);
  } catch (error) {
    warnings.push(`metrics were not delivered: ${errorMessage(error)}`);
  }
}

/** Seconds since then, to the millisecond. */
export function secondsSince(then: Date, now: Date): number {
  return (now.getTime() - then.getTime()) / 1000;
}
