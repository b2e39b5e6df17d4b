import { errorMessage, PgkeepError } from "../errors.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import { deliverMetrics, requireRunnable, runMetrics, secondsSince } from "./ending.ts";
import { executeStep } from "./execute-step.ts";
import { type Guard, takeGuard } from "./guard.ts";
import type { FinishEvent, StepAnswer, StepEvent } from "./invocation.ts";
import { type AnyStep, again, type Job, type JobResult, type RunOptions } from "./job.ts";
import { runOfExecution } from "./run-identity.ts";

export type StepOptions = Pick<RunOptions, "ports" | "config" | "signal" | "onProgress">;

/** A step's answer and what went wrong beside it. */
export interface StepExecution {
  answer: StepAnswer;
  warnings: string[];
}

/** How long to leave the lock to whoever holds it. */
const busySeconds = 10;

/**
 * Executes one step of a run whose steps are executed in different processes, one after the other.
 *
 * The job's lock cannot outlive a process, so it is held by each `database` step while that executes: two of them
 * never overlap, and the later one waits. What the runs do between is made to be repeated or overtaken: backups
 * have the day in their name, the routing document is compared before it is replaced. The first `database` step
 * also notes that the run began; `finishRun` notes the end.
 * @throws what the step throws; UsageError for wrong arguments; PgkeepError `not-found` for a step the job lacks
 */
export async function runOneStep(
  job: Job,
  stepName: string,
  event: StepEvent,
  given: StepOptions,
): Promise<StepExecution> {
  const step = stepOf(job, stepName);
  const dryRun = event.trigger.dryRun === true;
  const options: RunOptions = { ...given, dryRun };
  const run = runOfExecution(job.name, event.run);
  const resume = event.resume ?? undefined;
  const warnings: string[] = [];
  const measured: MetricDatum[] = [];
  requireRunnable(job, [step], options);
  const input = step === job.steps[0] ? job.parseArguments(event.trigger.arguments ?? {}) : event.input;
  let guard: Guard | undefined;
  try {
    if (step.where === "database") guard = await takeGuard(job, options, run, "one-step", warnings);
    if (guard?.busy === true) return { answer: again(busySeconds, resume ?? null), warnings };
    const answer = await executeStep(step, options, run, { input, resume, signal: given.signal, measured });
    return { answer, warnings };
  } finally {
    if (!dryRun) await deliverMetrics(options, measured, warnings);
    await guard?.close();
  }
}

function stepOf(job: Job, name: string): AnyStep {
  const step = job.steps.find((candidate) => candidate.name === name);
  if (step === undefined) throw new PgkeepError("not-found", `${job.name} has no step ${name}`);
  return step;
}

/**
 * Ends a run of several steps: emits how it went and records it. Never throws: what could not be done is in the
 * result's warnings.
 */
export async function finishRun(job: Job, event: FinishEvent, options: StepOptions): Promise<JobResult> {
  const { clock } = options.ports;
  const run = runOfExecution(job.name, event.run);
  const { failure, report } = event.finish;
  const result: JobResult = {
    job: job.name,
    runId: run.id,
    outcome: failure === null ? "succeeded" : "failed",
    startedAt: run.startedAt.toISOString(),
    seconds: secondsSince(run.startedAt, clock.now()),
    report,
    ...(failure === null ? {} : { reason: `${failure.step}: ${failure.reason}` }),
    recorded: false,
    warnings: [],
  };
  if (event.trigger.dryRun === true) return result;
  await deliverMetrics(options, runMetrics(result, clock.now()), result.warnings);
  try {
    const guard = await takeGuard(job, options, run, "one-step", result.warnings, { lock: false });
    result.recorded = guard.recorded;
    await guard.record(result);
    await guard.close();
  } catch (error) {
    result.warnings.push(`the end of the run was not recorded: ${errorMessage(error)}`);
  }
  return result;
}
