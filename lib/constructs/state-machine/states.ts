import type { AnyStep, Job } from "../../jobs/job.ts";

/** One state of the Amazon States Language. */
export type State = { Type: string; Next?: string; End?: true; [property: string]: unknown };

export type States = Record<string, State>;

export interface DefinitionInput {
  job: Job;
  /** ARN of the function of each step, by the step's name. */
  functionArns: Record<string, string>;
  /** Time limit of the function of a step, seconds. */
  functionTimeoutSeconds: (step: AnyStep) => number;
  /** Time that a run may spend between executions of steps that ask for another one, all together. */
  waitLimitSeconds: number;
}

export const stateNames = {
  claim: "Claim the run",
  alone: "Is this the only run?",
  busy: "Its function is busy",
  skipped: "Already running",
  unguarded: "Go on unguarded",
  unclaimed: "Not claimed",
  start: "Start",
  end: "Did all steps succeed?",
  recordSuccess: "Record the success",
  unrecorded: "Succeeded, not recorded",
  recordFailure: "Record the failure",
  failed: "Failed",
};

/** The run as `StepEvent`, `ClaimEvent` and `FinishEvent` have it. */
export const runParameters = {
  run: { "id.$": "$$.Execution.Name", "startedAt.$": "$$.Execution.StartTime" },
  "trigger.$": "$$.Execution.Input",
};

/** What AWS's own troubles are called; everything else is the step's own failure and is not tried again. */
export const retryServiceErrors = [
  {
    ErrorEquals: [
      "Lambda.ServiceException",
      "Lambda.AWSLambdaException",
      "Lambda.SdkClientException",
      "Lambda.ClientExecutionTimeoutException",
      "Lambda.TooManyRequestsException",
    ],
    IntervalSeconds: 2,
    BackoffRate: 2,
    MaxAttempts: 6,
    MaxDelaySeconds: 60,
    JitterStrategy: "FULL",
  },
];

/**
 * A run's data, all of it: what has to be known further on and nothing else, so that it never grows with the
 * number of steps. A state that sets some of it drops everything else that was there, such as a step's answer.
 */
export const initialData = {
  /** What the step that is executed now has left for its next execution. */
  resume: null,
  waitedSeconds: 0,
  /** The first failure. */
  failure: null,
  /** The last output: input of the next step. */
  finished: null,
  /** The last output of a step without `always`. */
  report: null,
} as const;

/** Everything of the run's data but what is given anew. */
export function dataWith(changes: Record<string, unknown>): Record<string, unknown> {
  const kept = Object.keys(initialData).filter((name) => !(name in changes) && !(`${name}.$` in changes));
  return { ...Object.fromEntries(kept.map((name) => [`${name}.$`, `$.${name}`])), ...changes };
}

export function taskTimeoutSeconds(input: DefinitionInput, step: AnyStep): number {
  // Longer than the function's own limit, whose error says more.
  return input.functionTimeoutSeconds(step) + 30;
}

/** After this time an execution is ended, without clean-up: never before the limits inside, which leave time for that. */
export function executionTimeoutSeconds(input: DefinitionInput): number {
  const tasksSeconds = input.job.steps.reduce((sum, step) => sum + taskTimeoutSeconds(input, step), 0);
  return 2 * input.waitLimitSeconds + 2 * tasksSeconds + 900;
}
