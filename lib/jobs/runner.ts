import { randomBytes } from "node:crypto";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import type { NeedablePorts, PortName } from "../ports/index.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { AnyStep, Job, JobResult, Run, RunOptions, StepContext, StepResult } from "./job.ts";
import { recordEnd, recordStart, whyNotRecordable } from "./run-record.ts";

/** How long recording the end of a run may take before a server that has stopped answering is given up. */
const recordingMilliseconds = 15_000;

/** How long a step may take to wind down after its deadline before it is given up. */
const graceMilliseconds = 10_000;

/**
 * Runs a job to its end in this process: takes its lock, records the run, executes the steps with their
 * waits, cleans up, and emits what was measured. Whatever happens is in the result; nothing is thrown but
 * wrong arguments.
 * @throws UsageError when the arguments do not fit the job
 */
export async function runJob(job: Job, options: RunOptions): Promise<JobResult> {
  const started = options.ports.clock.now();
  const run: Run = { id: runId(started), job: job.name, startedAt: started };
  const argumentsOfRun = job.parseArguments(options.arguments ?? {});
  const dryRun = options.dryRun === true;
  const warnings: string[] = [];
  const measured: MetricDatum[] = [];
  let guard: Session | undefined;
  const givingUp = new AbortController();
  let recorded = false;
  let ending: Ending;
  try {
    requireRunnable(job, options, dryRun);
    const guarded = await takeGuard(job, options, run, dryRun, warnings, givingUp.signal);
    guard = guarded.session;
    recorded = guarded.recorded;
    ending = guarded.busy
      ? { outcome: "skipped", report: { alreadyRunning: true }, reason: `${job.name} is already running` }
      : await runSteps(job, options, run, argumentsOfRun, measured);
  } catch (error) {
    ending = failure(error, null);
  }
  const result: JobResult = {
    job: job.name,
    runId: run.id,
    startedAt: started.toISOString(),
    seconds: round((options.ports.clock.now().getTime() - started.getTime()) / 1000),
    recorded,
    warnings,
    ...ending,
  };
  if (!dryRun && ending.outcome !== "skipped") {
    await deliverMetrics(options, result, measured, warnings);
  }
  if (recorded && guard !== undefined) {
    const timer = setTimeout(
      () => givingUp.abort(new PgkeepError("timeout", "the server did not answer in time")),
      recordingMilliseconds,
    );
    try {
      await recordEnd(guard, result);
    } catch (error) {
      result.recorded = false;
      warnings.push(`the end of the run was not recorded: ${errorMessage(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }
  await guard?.close();
  return result;
}

type Ending = Pick<JobResult, "outcome" | "report" | "reason" | "error">;

function failure(error: unknown, report: Json): Ending {
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

function requireRunnable(job: Job, options: RunOptions, dryRun: boolean): void {
  if (dryRun && !job.supportsDryRun) {
    throw new PgkeepError("refused", `${job.name} has no dry run`, {
      remedy: `run \`pgkeep run ${job.name}\` without --dry-run`,
    });
  }
  const missing = [...new Set(job.steps.flatMap((step) => step.needs))].filter(
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

interface Guarded {
  session: Session | undefined;
  busy: boolean;
  recorded: boolean;
}

/** Opens the session that holds the lock and writes the record, for as long as the job may go without. */
async function takeGuard(
  job: Job,
  options: RunOptions,
  run: Run,
  dryRun: boolean,
  warnings: string[],
  signal: AbortSignal,
): Promise<Guarded> {
  const none: Guarded = { session: undefined, busy: false, recorded: false };
  if (dryRun || options.ports.primary === undefined) return none;
  let session: Session;
  try {
    session = await options.ports.primary.connect({ role: job.role, signal });
  } catch (error) {
    if (job.lock === "required") throw error;
    warnings.push(`neither locked nor recorded: ${errorMessage(error)}`);
    return none;
  }
  try {
    const locked = session.isStandby || (await tryAdvisoryLock(session, job.name));
    if (!locked) return { session, busy: true, recorded: false };
    const obstacle = await whyNotRecordable(session);
    if (obstacle !== undefined) {
      warnings.push(`not recorded: ${obstacle}`);
      return { session, busy: false, recorded: false };
    }
    await recordStart(session, job, run, !session.isStandby);
    return { session, busy: false, recorded: true };
  } catch (error) {
    await session.close();
    if (job.lock === "required") throw error;
    warnings.push(`neither locked nor recorded: ${errorMessage(error)}`);
    return none;
  }
}

async function runSteps(
  job: Job,
  options: RunOptions,
  run: Run,
  input: Json,
  measured: MetricDatum[],
): Promise<Ending> {
  let ending: Ending | undefined;
  let output: Json = input;
  let finished: Json = null;
  let report: Json = null;
  for (const step of job.steps) {
    if (ending !== undefined && !step.always) continue;
    try {
      const result = await runStep(step, options, run, step.always ? finished : output, measured);
      output = finished = result.output;
      if (!step.always) report = result.output;
      if (result.kind === "failed" && ending === undefined) {
        ending = { outcome: "failed", report: result.output, reason: result.reason };
      }
    } catch (error) {
      const problem = failure(error, report);
      // The first failure is the cause; one of the clean-up after it is added, never put in its place.
      ending =
        ending === undefined
          ? problem
          : { ...ending, reason: `${ending.reason ?? "failed"}; then ${step.name}: ${errorMessage(error)}` };
    }
  }
  return ending ?? { outcome: "succeeded", report };
}

type Finished = Exclude<StepResult<Json>, { kind: "again" }>;

/** One step to its end, through as many executions as it asks for. */
async function runStep(
  step: AnyStep,
  options: RunOptions,
  run: Run,
  input: Json,
  measured: MetricDatum[],
): Promise<Finished> {
  const { clock } = options.ports;
  // Clean-up goes on when the run was interrupted; everything else stops.
  const outer = step.always ? undefined : options.signal;
  let resume: Json | undefined;
  for (;;) {
    outer?.throwIfAborted();
    const deadline = new AbortController();
    const forward = () => deadline.abort(interrupted(step));
    outer?.addEventListener("abort", forward, { once: true });
    const timer = setTimeout(
      () =>
        deadline.abort(
          new PgkeepError("deadline", `${run.job}/${step.name} ran out of its ${step.timeoutSeconds} s`),
        ),
      step.timeoutSeconds * 1000,
    );
    try {
      const context: StepContext<Json, PortName> = {
        config: options.config,
        // requireRunnable has seen that whatever the step needs is there.
        ports: options.ports as NeedablePorts,
        clock,
        input,
        resume,
        deadline: deadline.signal,
        dryRun: options.dryRun === true,
        run,
        progress: (message) => options.onProgress?.(message),
        measure: (name, value, dimensions = {}) => {
          measured.push({ name, value, dimensions, at: clock.now() });
        },
      };
      const result = await withGrace(step.run(context as never), deadline.signal);
      if (result.kind !== "again") return result;
      resume = result.state;
      await clock.sleep(result.afterSeconds * 1000, outer);
    } finally {
      clearTimeout(timer);
      outer?.removeEventListener("abort", forward);
    }
  }
}

function interrupted(step: AnyStep): PgkeepError {
  return new PgkeepError("deadline", `${step.name} was interrupted`);
}

/** Gives a step some time to stop by itself once its deadline is there, then gives up on it. */
async function withGrace<T>(work: Promise<T>, deadline: AbortSignal): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<never>((_, reject) => {
    deadline.addEventListener(
      "abort",
      () => {
        timer = setTimeout(() => reject(deadline.reason), graceMilliseconds);
      },
      { once: true },
    );
  });
  try {
    return await Promise.race([work, overdue]);
  } finally {
    clearTimeout(timer);
  }
}

async function deliverMetrics(
  options: RunOptions,
  result: JobResult,
  measured: readonly MetricDatum[],
  warnings: string[],
): Promise<void> {
  const at = options.ports.clock.now();
  const dimensions = { Job: result.job };
  const ok = result.outcome === "succeeded";
  try {
    await options.ports.metrics.put([
      ...measured,
      { name: "JobSucceeded", value: ok ? 1 : 0, at, dimensions },
      { name: "JobFailed", value: ok ? 0 : 1, at, dimensions },
      { name: "JobDuration", value: result.seconds, at, dimensions },
    ]);
  } catch (error) {
    warnings.push(`metrics were not delivered: ${errorMessage(error)}`);
  }
}

/** Sortable, unique, and safe as a part of an instance's name: `20260102t030405z-1a2b3c`. */
function runId(at: Date): string {
  const stamp = at
    .toISOString()
    .replace(/[-:]|\.\d+/g, "")
    .toLowerCase();
  return `${stamp}-${randomBytes(3).toString("hex")}`;
}

function round(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
