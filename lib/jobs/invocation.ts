import type { Json } from "../json.ts";
import type { AnyStep, Job, StepResult } from "./job.ts";

/**
 * What starts a run on AWS: the input of a job's state machine and, for a job of one step, the event of its
 * Lambda. Everything may be missing: a person's `{}` starts a run with the defaults.
 */
export interface RunTrigger {
  /** Given to `parseArguments`. */
  arguments?: Json;
  dryRun?: boolean;
  /**
   * Of a job of one step: answer the result of a run that failed, too, for whoever waits for it. Without it the
   * function throws, so that Lambda counts an error.
   */
  answerFailures?: boolean;
  /** The moment that the schedule meant (ISO 8601, UTC); absent when a person starts the run. */
  scheduledFor?: string;
}

/** What a state machine gives to the Lambda of one step. `run` tells it from a `RunTrigger`. */
export interface StepEvent {
  /** `id` is the name of the execution, `startedAt` its begin (ISO 8601): the same in each step of a run. */
  run: { id: string; startedAt: string };
  /** What the run was started with. */
  trigger: RunTrigger;
  /** As `StepContext.input`; null for the first step, which takes the trigger's arguments. */
  input: Json;
  /** What this step gave to `again` the last time; null at first. */
  resume: Json | null;
  /** What failed before; null for every step without `always`. */
  failure: { step: string; reason: string } | null;
}

/**
 * The first call of an execution of a job that must not overlap with itself, to the Lambda of the job's recorder:
 * it takes a lease for the run, so that of several executions one goes on, however close together they began.
 */
export interface ClaimEvent {
  run: { id: string; startedAt: string };
  /** What the run was started with. */
  trigger: RunTrigger;
  /** The execution has ended by itself after this time. */
  claim: { leaseSeconds: number };
}

export type ClaimAnswer = { kind: "claimed" } | { kind: "skipped"; reason: string };

/** What the Lambda of a step answers to its state machine. It throws what the step throws. */
export type StepAnswer = StepResult<Json>;

/**
 * The last call of an execution, however it went: to the Lambda of the job's recorder (`recorderOf`), with how
 * the run ended. It writes `pgkeep.job_run`, emits JobSucceeded, JobFailed and JobDuration once, and answers with
 * the JobResult. It does not throw because the run failed: the state machine fails the execution by itself.
 */
export interface FinishEvent {
  run: { id: string; startedAt: string };
  /** What the run was started with. */
  trigger: RunTrigger;
  finish: {
    /** Output of the last step without `always` that answered; null when none did. */
    report: Json;
    /** The first failure, or null when the run succeeded. */
    failure: { step: string; reason: string } | null;
  };
}

/** The most data of one state of Step Functions, and of the answer of an asynchronous invocation, in bytes. */
export const maximumStateBytes = 262_144;

/**
 * The most that a step may answer, bytes. A run's data holds four answers at once in the worst case (what the
 * last step left, the report, what this step left for its next execution, and its answer), the first failure, and
 * what the state machine adds: together less than `maximumStateBytes`.
 */
export const maximumAnswerBytes = 49_152;

/** The most that a run may be started with, bytes: each step is given it besides. */
export const maximumTriggerBytes = 16_384;

/** The most characters of an error that a step throws: escaped several times over, it becomes the run's failure. */
export const maximumReasonCharacters = 2_000;

/** The step whose Lambda also records the runs: the first one that reaches the database. */
export function recorderOf(job: Job): AnyStep | undefined {
  return job.steps.find(({ where }) => where === "database") ?? job.steps[0];
}
