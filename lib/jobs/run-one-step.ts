import { errorMessage, PgkeepError } from "../errors.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import { deliverMetrics, requireRunnable, runMetrics, secondsSince } from "./ending.ts";
import { executeStep } from "./execute-step.ts";
import { openRecord, takeGuard } from "./guard.ts";
import type { ClaimAnswer, ClaimEvent, FinishEvent, StepAnswer, StepEvent } from "./invocation.ts";
import type { AnyStep, Job, JobResult, Run, RunOptions } from "./job.ts";
import { runOfExecution } from "./run-identity.ts";

export type StepOptions = Pick<RunOptions, "ports" | "config" | "signal" | "onProgress" | "timeLeft">;

/** A step's answer and what went wrong beside it. */
export interface StepExecution {
  answer: StepAnswer;
  warnings: string[];
}

/** How long to wait for a lock that another run may hold for a moment only. */
const lockPatienceMilliseconds = 5_000;

/**
 * Executes one step of a run whose steps are executed in different processes, one after the other.
 *
 * A lock cannot outlive a process, so a run holds a lease (`claimRun`). Each `database` step looks whether the run
 * still has it: one that was given up, because its lease ended, goes no further. The first `database` step of a job
 * that may overlap notes that the run began; `finishRun` notes the end.
 * @throws what the step throws; UsageError for wrong arguments; PgkeepError `not-found` for a step the job lacks,
 * `refused` when the run was given up
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
  if (step.where === "database" && !step.always) await requireUnderWay(job, options, run, warnings);
  try {
    const answer = await executeStep(step, options, run, { input, resume, signal: given.signal, measured });
    return { answer, warnings };
  } finally {
    if (!dryRun) await deliverMetrics(options, measured, warnings);
  }
}

/** @throws PgkeepError `refused` when another run has closed this one */
async function requireUnderWay(job: Job, options: RunOptions, run: Run, warnings: string[]): Promise<void> {
  const guard = await openRecord(job, options, run, warnings);
  try {
    if (await guard.underWay()) return;
  } finally {
    await guard.close();
  }
  throw new PgkeepError(
    "refused",
    `the run ${run.id} was given up: its lease ended, and another run has begun`,
    {
      remedy: `find out why it took so long, then start ${job.name} again`,
    },
  );
}

/**
 * Takes the lease of a run, or says which other run is under way. Of two that ask at once exactly one gets it.
 * Asking again for the same run changes nothing.
 * @throws PgkeepError when the job must not overlap and the database cannot be asked
 */
export async function claimRun(
  job: Job,
  event: ClaimEvent,
  given: StepOptions,
): Promise<{ answer: ClaimAnswer; warnings: string[] }> {
  const warnings: string[] = [];
  const guard = await takeGuard(
    job,
    { ...given, dryRun: event.trigger.dryRun === true },
    runOfExecution(job.name, event.run),
    warnings,
    { leaseSeconds: event.claim.leaseSeconds, patienceMilliseconds: lockPatienceMilliseconds },
  );
  await guard.close();
  const answer: ClaimAnswer =
    guard.busy === undefined ? { kind: "claimed" } : { kind: "skipped", reason: guard.busy };
  return { answer, warnings };
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
    const guard = await openRecord(job, options, run, result.warnings);
    result.recorded = guard.recorded;
    await guard.record(result);
    await guard.close();
  } catch (error) {
    result.warnings.push(`the end of the run was not recorded: ${errorMessage(error)}`);
  }
  return result;
}
