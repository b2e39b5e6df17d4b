import { randomBytes } from "node:crypto";
import { PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Clock } from "../ports/clock.ts";
import type { DeployedRuns, Execution, ExecutionState } from "../ports/deployed-runs.ts";
import { requireRunnable, secondsSince } from "./ending.ts";
import type { RunTrigger } from "./invocation.ts";
import type { Job, JobResult, Outcome } from "./job.ts";
import { runIdentity, runOfExecution } from "./run-identity.ts";

export interface DeployedRunOptions {
  runs: DeployedRuns;
  clock: Clock;
  arguments?: unknown;
  dryRun?: boolean;
  /** Ends the waiting; what has been started goes on. */
  signal: AbortSignal;
  onProgress(message: string): void;
  /** Longest pause between two looks at an execution; the first ones are shorter. Default 10,000. */
  pollMilliseconds?: number;
}

/**
 * Runs a deployed job once and waits for its end: calls the function of a job of one step, starts the state machine
 * of a job of several. The result is the one that the run in the cloud ended with.
 * @throws UsageError when the arguments do not fit the job; PgkeepError when it could not be started or watched, or
 * its function died without a result
 */
export async function runDeployed(job: Job, options: DeployedRunOptions): Promise<JobResult> {
  const dryRun = options.dryRun === true;
  const given = options.arguments ?? {};
  job.parseArguments(given);
  requireRunnable(job, [], { ports: noPorts(options.clock), dryRun });
  const trigger: RunTrigger = {
    // As they were given: the function parses them itself, and its version decides.
    arguments: given as Json,
    ...(dryRun ? { dryRun } : {}),
  };
  const [first, ...others] = job.steps;
  if (first === undefined) throw new RangeError(`${job.name} has no steps`);
  options.signal.throwIfAborted();
  return others.length === 0
    ? await callFunction(job, trigger, options)
    : await runStateMachine(job, first.name, trigger, options);
}

function noPorts(clock: Clock) {
  return { clock, metrics: { put: async () => {} }, notifications: { send: async () => {} } };
}

async function callFunction(
  job: Job,
  trigger: RunTrigger,
  { runs, clock, signal, onProgress }: DeployedRunOptions,
): Promise<JobResult> {
  const startedAt = clock.now();
  const event: RunTrigger = { ...trigger, answerFailures: true };
  const called = await runs.call(job.name, event as Json, { signal, onProgress });
  if (called.kind === "answered") return resultIn(job, called.answer) ?? strangeAnswer(job, called.answer);
  return {
    ...alreadyRunning(job),
    runId: runIdentity(startedAt, randomBytes(3).toString("hex")),
    startedAt: startedAt.toISOString(),
    seconds: secondsSince(startedAt, clock.now()),
  };
}

function alreadyRunning(job: Job) {
  return {
    job: job.name,
    outcome: "skipped" as const,
    report: { alreadyRunning: true },
    reason: `${job.name} is already running`,
    recorded: false,
    warnings: [],
  };
}

/** @throws PgkeepError always */
function strangeAnswer(job: Job, answer: Json): never {
  throw new PgkeepError(
    "internal",
    `the deployed ${job.name} answered what is no result of it: ${JSON.stringify(answer).slice(0, 200)}`,
    { remedy: "deploy this version of pgkeep: `npx cdk deploy --all`" },
  );
}

async function runStateMachine(
  job: Job,
  firstStep: string,
  trigger: RunTrigger,
  options: DeployedRunOptions,
): Promise<JobResult> {
  const { runs, clock, signal, onProgress, pollMilliseconds = 10_000 } = options;
  const name = `by-hand-${runIdentity(clock.now(), randomBytes(6).toString("hex"))}`;
  const execution = await runs.start(job.name, firstStep, name, trigger as Json);
  onProgress(`started ${execution.id}`);
  const steps = new Set(job.steps.map((step) => step.name));
  let shown: string | undefined;
  for (let pause = 500; ; pause *= 1.5) {
    const state = await lookAt(execution, signal);
    for (const entered of state.entered) {
      // A step that asks for another execution enters its state each time.
      if (!steps.has(entered) || entered === shown) continue;
      shown = entered;
      onProgress(`${job.name}: ${entered}`);
    }
    if (state.status !== "running") return resultOf(job, name, state);
    await clock.sleep(Math.min(pause, pollMilliseconds), signal).catch(() => {});
  }
}

async function lookAt(execution: Execution, signal: AbortSignal): Promise<ExecutionState> {
  const state = await execution.look();
  if (state.status !== "running" || !signal.aborted) return state;
  throw new PgkeepError("deadline", `stopped watching, and ${execution.id} goes on`, {
    remedy: `look at it: \`aws stepfunctions describe-execution --execution-arn ${execution.id}\``,
  });
}

function resultOf(job: Job, name: string, state: ExecutionState): JobResult {
  const run = runOfExecution(job.name, { id: name, startedAt: state.startedAt.toISOString() });
  const frame = {
    job: job.name,
    runId: run.id,
    startedAt: run.startedAt.toISOString(),
    seconds: secondsSince(run.startedAt, state.stoppedAt ?? state.startedAt),
  };
  if (state.status !== "succeeded") return failedResult(job, frame, state);
  const recorded = resultIn(job, state.output);
  if (recorded !== undefined) return recorded;
  const { outcome, report = null, reason } = fieldsOf(state.output);
  if (outcome === "skipped") {
    return { ...alreadyRunning(job), ...frame, ...(typeof reason === "string" ? { reason } : {}) };
  }
  if (outcome !== "succeeded") return strangeAnswer(job, state.output);
  return { ...frame, outcome, report, recorded: false, warnings: [notRecorded] };
}

const notRecorded = "the end of the run was not recorded: its function failed";

type Frame = Pick<JobResult, "job" | "runId" | "startedAt" | "seconds">;

/** The recorder's result where it answered, else what the execution itself tells. */
function failedResult(job: Job, frame: Frame, state: ExecutionState): JobResult {
  const { failure } = state;
  const cause = failure?.cause || failure?.error || `its execution ${endings[state.status] ?? "failed"}`;
  const data = fieldsOf(failure?.data ?? null);
  const step = fieldsOf(data.failure ?? null).step;
  const where = typeof step === "string" ? `${step}: ` : "";
  const answered = failure?.answers
    .map((answer) => resultIn(job, answer))
    .find((found) => found !== undefined);
  const { thrown, late } = readable(cause);
  const error = {
    code: late || state.status === "timed-out" ? "timeout" : "internal",
    message: `${where}${thrown}`,
  };
  return {
    ...(answered ?? {
      ...frame,
      report: data.report ?? null,
      recorded: false,
      warnings: [notRecorded],
    }),
    outcome: "failed",
    reason: error.message,
    // The last step itself said that the job failed: then the report is whole, and nothing was thrown.
    ...(saysItself(job, state, step) ? {} : { error }),
  };
}

const endings: Partial<Record<ExecutionState["status"], string>> = {
  "timed-out": "took too long",
  aborted: "was stopped by somebody",
};

function saysItself(job: Job, { failure }: ExecutionState, step: Json | undefined): boolean {
  const last = job.steps.findLast(({ always }) => !always);
  return (
    last?.name === step && failure?.answers.some((answer) => fieldsOf(answer).kind === "failed") === true
  );
}

/** What a step threw, out of what Step Functions makes of it: JSON in JSON. */
function readable(cause: string): { thrown: string; late: boolean } {
  const { Error: name, Cause: inner } = fieldsOf(parsed(cause));
  if (typeof name !== "string") return { thrown: cause, late: false };
  const { errorMessage } = fieldsOf(parsed(typeof inner === "string" ? inner : ""));
  const what = typeof errorMessage === "string" ? errorMessage : inner;
  return {
    thrown: typeof what === "string" && what !== "" ? what : name,
    late: name === "States.Timeout" || /timed out/i.test(String(what)),
  };
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}

type Fields = { [name: string]: Json | undefined };

function fieldsOf(value: Json): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

const outcomes: readonly Outcome[] = ["succeeded", "failed", "skipped"];

function resultIn(job: Job, value: Json): JobResult | undefined {
  const { job: name, runId, outcome, startedAt, seconds, warnings } = fieldsOf(value);
  const isResult =
    name === job.name &&
    typeof runId === "string" &&
    outcomes.includes(outcome as Outcome) &&
    typeof startedAt === "string" &&
    typeof seconds === "number" &&
    Array.isArray(warnings);
  return isResult ? (value as unknown as JobResult) : undefined;
}
