import type { Severity } from "../checks/check.ts";
import { type HealthReport, hasFindingAtLeast } from "../checks/health.ts";
import type { Clock } from "../ports/clock.ts";
import { checkHealth } from "./check-health.ts";
import { secondsSince } from "./ending.ts";
import type { Job, JobResult } from "./job.ts";

/** What several jobs as one command did. */
export interface RunListReport {
  run: string;
  /** `failed`: a job failed. `findings`: none did, and a health check found something that counts. */
  outcome: "succeeded" | "findings" | "failed";
  startedAt: string;
  seconds: number;
  jobs: JobResult[];
  /** Jobs of the list that did not run, and why. */
  notRun: { job: string; reason: string }[];
}

export interface RunListOptions {
  name: string;
  jobs: readonly Job[];
  stopOnFailure: boolean;
  failOn: Severity | "never";
  clock: Clock;
  signal: AbortSignal;
  /** One run of one job. What it throws ends the list as a wrong command line would. */
  runOne(job: Job): Promise<JobResult>;
  onFinished?(job: Job, result: JobResult): void;
}

/** Runs jobs one after the other. An interrupted list says which of its jobs did not run. */
export async function runList(options: RunListOptions): Promise<RunListReport> {
  const startedAt = options.clock.now();
  const jobs: JobResult[] = [];
  const notRun: RunListReport["notRun"] = [];
  let stopped: string | undefined;
  for (const job of options.jobs) {
    if (options.signal.aborted) stopped ??= "the run was interrupted";
    if (stopped !== undefined) {
      notRun.push({ job: job.name, reason: stopped });
      continue;
    }
    const result = await options.runOne(job);
    jobs.push(result);
    options.onFinished?.(job, result);
    if (options.stopOnFailure) stopped = whyStop(result, options.failOn);
  }
  return {
    run: options.name,
    outcome: outcomeOf(jobs, notRun, options.failOn),
    startedAt: startedAt.toISOString(),
    seconds: secondsSince(startedAt, options.clock.now()),
    jobs,
    notRun,
  };
}

function outcomeOf(
  jobs: readonly JobResult[],
  notRun: RunListReport["notRun"],
  failOn: RunListOptions["failOn"],
): RunListReport["outcome"] {
  const found = jobs.some((result) => countingFindings(result, failOn));
  const interrupted = notRun.length > 0 && !found;
  if (interrupted || jobs.some((result) => result.outcome !== "succeeded")) return "failed";
  return found ? "findings" : "succeeded";
}

function whyStop(result: JobResult, failOn: RunListOptions["failOn"]): string | undefined {
  if (result.outcome === "failed") return `${result.job} failed`;
  if (result.outcome === "skipped") return `${result.job} was skipped`;
  return countingFindings(result, failOn) ? `${result.job} has findings` : undefined;
}

function countingFindings(result: JobResult, failOn: RunListOptions["failOn"]): boolean {
  if (failOn === "never" || result.job !== checkHealth.name || result.outcome !== "succeeded") return false;
  const report = result.report as unknown as Partial<HealthReport> | null;
  // On AWS a report that is too large to pass on is left out.
  return report?.summary !== undefined && hasFindingAtLeast({ summary: report.summary }, failOn);
}
