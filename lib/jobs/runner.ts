import { randomBytes } from "node:crypto";
import { errorMessage } from "../errors.ts";
import type { Json } from "../json.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import { deliverMetrics, type Ending, failure, requireRunnable, runMetrics, secondsSince } from "./ending.ts";
import { executeStep } from "./execute-step.ts";
import { type Guard, takeGuard } from "./guard.ts";
import type { AnyStep, Job, JobResult, Run, RunOptions, StepResult } from "./job.ts";
import { runIdentity } from "./run-identity.ts";

/**
 * Runs a job to its end in this process: takes its lock, records the run, executes the steps with their
 * waits, cleans up, and emits what was measured. Whatever happens is in the result; nothing is thrown but
 * wrong arguments.
 * @throws UsageError when the arguments do not fit the job
 */
export async function runJob(job: Job, options: RunOptions): Promise<JobResult> {
  const { clock } = options.ports;
  const startedAt = clock.now();
  const run: Run = {
    id: runIdentity(startedAt, randomBytes(3).toString("hex")),
    job: job.name,
    startedAt,
  };
  const argumentsOfRun = job.parseArguments(options.arguments ?? {});
  const warnings: string[] = [];
  const measured: MetricDatum[] = [];
  let guard: Guard | undefined;
  let ending: Ending;
  try {
    requireRunnable(job, job.steps, options);
    guard = await takeGuard(job, options, run, warnings);
    ending =
      guard.busy !== undefined
        ? { outcome: "skipped", report: { alreadyRunning: true }, reason: guard.busy }
        : await runSteps(job, options, run, argumentsOfRun, measured);
  } catch (error) {
    ending = failure(error, null);
  }
  const result: JobResult = {
    job: job.name,
    runId: run.id,
    startedAt: startedAt.toISOString(),
    seconds: secondsSince(startedAt, clock.now()),
    recorded: guard?.recorded ?? false,
    warnings,
    ...ending,
  };
  if (options.dryRun !== true && ending.outcome !== "skipped") {
    await deliverMetrics(options, [...measured, ...runMetrics(result, clock.now())], warnings);
  }
  await guard?.record(result);
  await guard?.close();
  return result;
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
  // Clean-up goes on when the run was interrupted; everything else stops.
  const signal = step.always ? undefined : options.signal;
  let resume: Json | undefined;
  for (;;) {
    const result = await executeStep(step, options, run, { input, resume, signal, measured });
    if (result.kind !== "again") return result;
    resume = result.state;
    await options.ports.clock.sleep(result.afterSeconds * 1000, signal);
  }
}
