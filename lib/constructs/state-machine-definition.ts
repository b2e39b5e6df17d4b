import { recorderOf } from "../jobs/invocation.ts";
import type { AnyStep, Job } from "../jobs/job.ts";

/** One state of the Amazon States Language. */
export type State = { Type: string; Next?: string; End?: true; [property: string]: unknown };

export interface StateMachineDefinition {
  Comment: string;
  StartAt: string;
  TimeoutSeconds: number;
  States: Record<string, State>;
}

export interface DefinitionInput {
  job: Job;
  /** ARN of the function of each step, by the step's name. */
  functionArns: Record<string, string>;
  /** Time limit of the function of a step, seconds. */
  functionTimeoutSeconds: (step: AnyStep) => number;
  /** Time that a run may spend between executions of steps that ask for another one, all together. */
  waitLimitSeconds: number;
  partition: string;
}

/** A step that asks for another execution sooner waits for this long: each execution costs money and history. */
const shortestPauseSeconds = 30;

/** Events of one more execution of a step: the task 5, its answer, the pause, the limit and the wait 2 each. */
const eventsPerRepetition = 13;

/** An execution that has more events fails at once, without clean-up (Step Functions quotas: 25,000). */
const mostEvents = 20_000;

/** What AWS's own troubles are called; everything else is the step's own failure and is not tried again. */
const serviceErrors = [
  "Lambda.ServiceException",
  "Lambda.AWSLambdaException",
  "Lambda.SdkClientException",
  "Lambda.ClientExecutionTimeoutException",
  "Lambda.TooManyRequestsException",
];

const retryServiceErrors = [
  {
    ErrorEquals: serviceErrors,
    IntervalSeconds: 2,
    BackoffRate: 2,
    MaxAttempts: 6,
    MaxDelaySeconds: 60,
    JitterStrategy: "FULL",
  },
];

/** The run as `StepEvent` and `FinishEvent` have it. */
const runParameters = {
  run: { "id.$": "$$.Execution.Name", "startedAt.$": "$$.Execution.StartTime" },
  "trigger.$": "$$.Execution.Input",
};

/**
 * The state machine of a job of several steps. Its data holds what each step answered (`results.s0`, …), what a
 * step left for its next execution (`resume.s0`, …), the seconds waited, the first failure, and for steps marked
 * `always` the last output and for the record the last report:
 *
 * - only the oldest running execution goes on; a trigger that came twice ends as skipped;
 * - `again` waits and executes the same step, until the time for waiting is used up;
 * - after a failure, whether answered, thrown or timed out, the steps marked `always` run, and only they;
 * - at the end the recorder is told how the run went; a run that failed fails the execution.
 */
export function stateMachineDefinition(input: DefinitionInput): StateMachineDefinition {
  const { job } = input;
  const first = job.steps[0];
  if (first === undefined) throw new RangeError(`${job.name} has no steps`);
  const tasksSeconds = job.steps.reduce((sum, step) => sum + taskTimeoutSeconds(input, step), 0);
  return {
    Comment: job.summary,
    StartAt: stateNames.guard,
    // Never before the limits inside, which leave the time to clean up.
    TimeoutSeconds: 2 * input.waitLimitSeconds + 2 * tasksSeconds + 900,
    States: {
      ...guardStates(input, first),
      ...Object.assign({}, ...job.steps.map((step, index) => stepStates(input, step, index))),
      ...endStates(input),
    },
  };
}

const stateNames = {
  guard: "Look for other runs",
  alone: "Is this the only run?",
  oldest: "Find the oldest run",
  isOldest: "Is this the oldest run?",
  skipped: "Already running",
  unguarded: "Go on unguarded",
  end: "Did all steps succeed?",
  recordSuccess: "Record the success",
  unrecorded: "Succeeded, not recorded",
  recordFailure: "Record the failure",
  failed: "Failed",
};

const slot = (index: number) => `s${index}`;
const answerOf = (index: number) => `$.results.${slot(index)}`;

/** What the run's data is at first. */
function initialData({ job }: DefinitionInput): Record<string, unknown> {
  return {
    results: {},
    resume: Object.fromEntries(job.steps.map((_, index) => [slot(index), null])),
    waitedSeconds: 0,
    failure: null,
    finished: null,
    report: null,
  };
}

/** Everything of the run's data but what is given anew. */
function dataWith(changes: Record<string, unknown>): Record<string, unknown> {
  const kept = ["results", "resume", "waitedSeconds", "failure", "finished", "report"].filter(
    (name) => !(name in changes) && !(`${name}.$` in changes),
  );
  return { ...Object.fromEntries(kept.map((name) => [`${name}.$`, `$.${name}`])), ...changes };
}

function guardStates(input: DefinitionInput, first: AnyStep): Record<string, State> {
  const own = "$.own";
  // What must not overlap fails when nobody can tell; what must work in any case goes on.
  const unknown =
    input.job.lock === "required"
      ? { Type: "Fail", Error: "GuardFailed", Cause: "Step Functions did not list the running executions" }
      : { Type: "Pass", Result: initialData(input), Next: first.name };
  return {
    [stateNames.guard]: {
      Type: "Task",
      Resource: `arn:${input.partition}:states:::aws-sdk:sfn:listExecutions`,
      Parameters: { "StateMachineArn.$": "$$.StateMachine.Id", StatusFilter: "RUNNING", MaxResults: 100 },
      // The newest comes first.
      ResultSelector: {
        "own.$": "$$.Execution.Id",
        "running.$": "$.Executions[*].ExecutionArn",
        ...initialData(input),
      },
      ResultPath: "$",
      TimeoutSeconds: 30,
      Retry: [{ ErrorEquals: ["States.TaskFailed"], IntervalSeconds: 1, BackoffRate: 2, MaxAttempts: 3 }],
      Catch: [{ ErrorEquals: ["States.ALL"], Next: stateNames.unguarded }],
      Next: stateNames.alone,
    },
    [stateNames.unguarded]: unknown,
    [stateNames.alone]: {
      Type: "Choice",
      Choices: [
        { Variable: "$.running[1]", IsPresent: true, Next: stateNames.oldest },
        {
          // The list may not have this execution yet, and one that is there began earlier.
          And: [
            { Variable: "$.running[0]", IsPresent: true },
            { Not: { Variable: "$.running[0]", StringEqualsPath: own } },
          ],
          Next: stateNames.skipped,
        },
      ],
      Default: first.name,
    },
    [stateNames.oldest]: {
      Type: "Pass",
      Parameters: dataWith({
        "own.$": own,
        "oldest.$": "States.ArrayGetItem($.running, States.MathAdd(States.ArrayLength($.running), -1))",
      }),
      Next: stateNames.isOldest,
    },
    [stateNames.isOldest]: {
      Type: "Choice",
      Choices: [{ Variable: "$.oldest", StringEqualsPath: own, Next: first.name }],
      Default: stateNames.skipped,
    },
    [stateNames.skipped]: {
      Type: "Pass",
      Result: { outcome: "skipped", reason: `${input.job.name} is already running` },
      End: true,
    },
  };
}

function taskTimeoutSeconds(input: DefinitionInput, step: AnyStep): number {
  // Longer than the function's own limit, whose error says more.
  return input.functionTimeoutSeconds(step) + 30;
}

function stepStates(input: DefinitionInput, step: AnyStep, index: number): Record<string, State> {
  const { steps } = input.job;
  const name = step.name;
  const states = {
    answer: `${name}: answer`,
    shortPause: `${name}: again soon`,
    longPause: `${name}: again later`,
    limit: `${name}: waited too long?`,
    wait: `${name}: wait`,
    gaveUp: `${name}: gave up`,
    failed: `${name}: failed`,
    died: `${name}: died`,
    handOver: `${name}: done`,
  };
  const next = steps[index + 1];
  // A step without `always` only runs while nothing has failed: as the last one it makes the run a success.
  const onward = next?.name ?? (step.always ? stateNames.end : stateNames.recordSuccess);
  const needsHandOver = next !== undefined && (step.always || next.always);
  const output = `${answerOf(index)}.output`;
  const failureStates = step.always
    ? alwaysFailureStates(input, step, index, states)
    : ordinaryFailureStates(input, step, index, states);
  return {
    [name]: {
      Type: "Task",
      Resource: input.functionArns[name] ?? "",
      Parameters: {
        ...runParameters,
        ...inputOf(step, index),
        "resume.$": `$.resume.${slot(index)}`,
        "failure.$": "$.failure",
      },
      ResultPath: answerOf(index),
      TimeoutSeconds: taskTimeoutSeconds(input, step),
      Retry: retryServiceErrors,
      Catch: [{ ErrorEquals: ["States.ALL"], ResultPath: "$.error", Next: states.died }],
      Next: states.answer,
    },
    [states.answer]: {
      Type: "Choice",
      Choices: [
        {
          And: [
            { Variable: `${answerOf(index)}.kind`, StringEquals: "again" },
            { Variable: `${answerOf(index)}.afterSeconds`, NumericLessThan: pauseSeconds(input) },
          ],
          Next: states.shortPause,
        },
        { Variable: `${answerOf(index)}.kind`, StringEquals: "again", Next: states.longPause },
        { Variable: `${answerOf(index)}.kind`, StringEquals: "failed", Next: states.failed },
      ],
      Default: needsHandOver ? states.handOver : onward,
    },
    [states.shortPause]: pause(input, index, { pauseSeconds: pauseSeconds(input) }, states.limit),
    [states.longPause]: pause(
      input,
      index,
      { "pauseSeconds.$": `${answerOf(index)}.afterSeconds` },
      states.limit,
    ),
    [states.limit]: {
      Type: "Choice",
      Choices: [
        { Variable: "$.waitedSeconds", NumericGreaterThan: input.waitLimitSeconds, Next: states.gaveUp },
      ],
      Default: states.wait,
    },
    [states.wait]: { Type: "Wait", SecondsPath: "$.pauseSeconds", Next: name },
    ...failureStates,
    ...(needsHandOver
      ? {
          [states.handOver]: {
            Type: "Pass",
            Parameters: dataWith({
              "finished.$": output,
              ...(step.always ? {} : { "report.$": output }),
            }),
            Next: step.always && !next.always ? `${name}: go on?` : onward,
          },
        }
      : {}),
    ...goOnStates(input, step, index),
  };
}

/** The input of a step: the arguments are in the trigger; `always` steps get the last output there was. */
function inputOf(step: AnyStep, index: number): Record<string, unknown> {
  if (step.always) return { "input.$": "$.finished" };
  return index === 0 ? { input: null } : { "input.$": `${answerOf(index - 1)}.output` };
}

/** How long a pause is at least, so that polling until the limit fits into the history of an execution. */
function pauseSeconds({ waitLimitSeconds }: DefinitionInput): number {
  return Math.max(shortestPauseSeconds, Math.ceil((waitLimitSeconds * eventsPerRepetition) / mostEvents));
}

function pause(
  { job }: DefinitionInput,
  index: number,
  seconds: { pauseSeconds: number } | { "pauseSeconds.$": string },
  next: string,
): State {
  const [amount] = Object.values(seconds);
  const others = job.steps.map((_, other) => slot(other)).filter((other) => other !== slot(index));
  return {
    Type: "Pass",
    Parameters: dataWith({
      resume: {
        ...Object.fromEntries(others.map((other) => [`${other}.$`, `$.resume.${other}`])),
        [`${slot(index)}.$`]: `${answerOf(index)}.state`,
      },
      "waitedSeconds.$": `States.MathAdd($.waitedSeconds, ${amount})`,
      ...seconds,
    }),
    Next: next,
  };
}

interface FailureStates {
  gaveUp: string;
  failed: string;
  died: string;
}

/** Reasons of the three ways to fail, as parameters of a Pass. */
function reasons(input: DefinitionInput, index: number) {
  return {
    gaveUp: { reason: `not finished after ${input.waitLimitSeconds} s of waiting` },
    failed: { "reason.$": `${answerOf(index)}.reason` },
    // Not every error has a cause: all of it, as JSON.
    died: { "reason.$": "States.JsonToString($.error)" },
  } as const;
}

/** The first failure of the run: kept as its reason, then on to the clean-up. */
function ordinaryFailureStates(
  input: DefinitionInput,
  step: AnyStep,
  index: number,
  names: FailureStates,
): Record<string, State> {
  const { steps } = input.job;
  const cleanUp = steps.slice(index + 1).find(({ always }) => always);
  const next = cleanUp === undefined ? stateNames.end : cleanUp.name;
  const before = index === 0 ? undefined : `${answerOf(index - 1)}.output`;
  const lastReport = steps.slice(0, index).findLastIndex(({ always }) => !always);
  const given = (name: string, path: string | undefined) =>
    path === undefined ? { [name]: null } : { [`${name}.$`]: path };
  const without = {
    ...given("finished", before),
    ...given("report", lastReport < 0 ? undefined : `${answerOf(lastReport)}.output`),
  };
  const answered = given("finished", `${answerOf(index)}.output`);
  const reported = given("report", `${answerOf(index)}.output`);
  return Object.fromEntries(
    (["gaveUp", "failed", "died"] as const).map((way): [string, State] => [
      names[way],
      {
        Type: "Pass",
        Parameters: dataWith({
          failure: { step: step.name, ...reasons(input, index)[way] },
          ...(way === "failed" ? { ...answered, ...reported } : without),
        }),
        Next: next,
      },
    ]),
  );
}

/** A failure of clean-up is the run's only when nothing failed before. */
function alwaysFailureStates(
  input: DefinitionInput,
  step: AnyStep,
  index: number,
  names: FailureStates,
): Record<string, State> {
  const next = input.job.steps.slice(index + 1).find(({ always }) => always)?.name ?? stateNames.end;
  return Object.fromEntries(
    (["gaveUp", "failed", "died"] as const).flatMap((way): [string, State][] => [
      [
        names[way],
        {
          Type: "Choice",
          Choices: [{ Variable: "$.failure", IsNull: true, Next: `${names[way]} first` }],
          Default: next,
        },
      ],
      [
        `${names[way]} first`,
        {
          Type: "Pass",
          Parameters: dataWith({ failure: { step: step.name, ...reasons(input, index)[way] } }),
          Next: next,
        },
      ],
    ]),
  );
}

/** After an `always` step in the middle: on with the work, or after a failure to the next clean-up. */
function goOnStates({ job }: DefinitionInput, step: AnyStep, index: number): Record<string, State> {
  const next = job.steps[index + 1];
  if (!step.always || next === undefined || next.always) return {};
  const cleanUp = job.steps.slice(index + 1).find(({ always }) => always);
  return {
    [`${step.name}: go on?`]: {
      Type: "Choice",
      Choices: [{ Variable: "$.failure", IsNull: true, Next: next.name }],
      Default: cleanUp?.name ?? stateNames.end,
    },
  };
}

function endStates(input: DefinitionInput): Record<string, State> {
  const recorder = recorderOf(input.job);
  const last = input.job.steps.findLastIndex(({ always }) => !always);
  // A run succeeds when each step did, so its report is where the last one put it.
  const report = { "report.$": last < 0 ? "$.report" : `${answerOf(last)}.output` };
  const record = (finish: Record<string, unknown>, onward: Partial<State>, unrecorded: string): State => ({
    Type: "Task",
    Resource: input.functionArns[recorder?.name ?? ""] ?? "",
    Parameters: { ...runParameters, finish },
    TimeoutSeconds: recorder === undefined ? 60 : taskTimeoutSeconds(input, recorder),
    Retry: retryServiceErrors,
    // A run is what it was, recorded or not.
    Catch: [{ ErrorEquals: ["States.ALL"], ResultPath: "$.error", Next: unrecorded }],
    ...onward,
  });
  return {
    [stateNames.end]: {
      Type: "Choice",
      Choices: [{ Variable: "$.failure", IsNull: true, Next: stateNames.recordSuccess }],
      Default: stateNames.recordFailure,
    },
    [stateNames.recordSuccess]: record({ ...report, failure: null }, { End: true }, stateNames.unrecorded),
    [stateNames.unrecorded]: {
      Type: "Pass",
      Parameters: { outcome: "succeeded", ...report, recorded: false },
      End: true,
    },
    [stateNames.recordFailure]: record(
      { "report.$": "$.report", "failure.$": "$.failure" },
      { ResultPath: null, Next: stateNames.failed },
      stateNames.failed,
    ),
    [stateNames.failed]: { Type: "Fail", Error: "JobFailed", CausePath: "$.failure.reason" },
  };
}
