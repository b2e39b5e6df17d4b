import type { Json } from "../json.ts";
import type { AnyStep, Job, JobResult } from "./job.ts";

/**
 * How the Lambdas of a job of several steps are called, one after the other, by its state machine.
 *
 * Each task passes `{ execution: { name: $$.Execution.Name, startedAt: $$.Execution.StartTime }, state: $ }`
 * and takes the answer (`$.Payload`) as the whole new `$`, so an answer is the next task's `state`.
 * After each step, by `$.kind`:
 * - `again`: wait for `$.afterSeconds`, then call the same step.
 * - `done`: on to the next step; after the last one to the end.
 * - anything else: on to the next step marked `always`, or to the end.
 * A step that dies is caught with `ResultPath: $.error` and goes the way of `failed`.
 * The end is one more call of the job's recorder (`recorderOf`) with `finish: true`: it records the run, emits
 * JobSucceeded, JobFailed and JobDuration once, and throws when the run failed, which fails the execution.
 */
export interface StepEvent {
  execution: { name: string; startedAt: string };
  state: RunArguments | RunState;
  finish?: boolean;
}

/** The input of the state machine, and the event of a job with one step. A schedule gives `{}`. */
export interface RunArguments {
  arguments?: Json;
  dryRun?: boolean;
}

/** Where a run stands between two of its steps. */
export interface RunState {
  kind: "done" | "again" | "failed" | "skipped";
  /** 0 unless `kind` is `again`. */
  afterSeconds: number;
  dryRun: boolean;
  /** What `again` left for the same step. */
  resume?: Json;
  /** The arguments until a step has finished, then the output of the last that did. */
  value: Json;
  /** Whether `value` is a step's output. */
  finished: boolean;
  /** Output of the last step without `always`, once one with `always` has put its own into `value`. */
  report?: Json;
  /** Why the run did not succeed; the first failure is the cause. */
  ending?: Pick<JobResult, "reason" | "error">;
  warnings: string[];
  /** Put here by the state machine when a Lambda died. */
  error?: { Error?: string; Cause?: string };
}

/** The most that Step Functions passes from one state to the next, in bytes of UTF-8. */
export const maximumStateBytes = 262_144;

/** The step whose Lambda records a run of several steps: the first that can reach the database. */
export function recorderOf(job: Job): AnyStep | undefined {
  return job.steps.find(({ where }) => where === "database") ?? job.steps[0];
}
