import type { AnyStep } from "../../jobs/job.ts";
import {
  type DefinitionInput,
  dataWith,
  retryServiceErrors,
  runParameters,
  type State,
  type States,
  stateNames,
  taskTimeoutSeconds,
} from "./states.ts";

/** A step that asks for another execution sooner waits for this long: each execution costs money and history. */
const shortestPauseSeconds = 30;

/** Events of one more execution of a step: the task 5, its answer, the pause, the limit and the wait 2 each. */
const eventsPerRepetition = 13;

/** An execution that has more events fails at once, without clean-up (Step Functions quotas: 25,000). */
const mostEvents = 20_000;

/** The states of one step: execute it, again as often as it asks for that, and hand over what it gave. */
export function stepStates(input: DefinitionInput, step: AnyStep, index: number): States {
  const name = step.name;
  const states = namesOf(step);
  const next = input.job.steps[index + 1];
  // A step without `always` only runs while nothing has failed: as the last one it makes the run a success.
  const onward = next?.name ?? (step.always ? stateNames.end : stateNames.recordSuccess);
  const asksWhether = step.always && next !== undefined && !next.always;
  return {
    [name]: {
      Type: "Task",
      Resource: input.functionArns[name] ?? "",
      Parameters: {
        ...runParameters,
        "input.$": "$.finished",
        "resume.$": "$.resume",
        "failure.$": "$.failure",
      },
      ResultPath: "$.answer",
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
            { Variable: "$.answer.kind", StringEquals: "again" },
            { Variable: "$.answer.afterSeconds", NumericLessThan: pauseSeconds(input) },
          ],
          Next: states.shortPause,
        },
        { Variable: "$.answer.kind", StringEquals: "again", Next: states.longPause },
        { Variable: "$.answer.kind", StringEquals: "failed", Next: states.failed },
      ],
      Default: states.done,
    },
    ...repetitionStates(input, step),
    ...(step.always ? alwaysFailureStates(input, step, index) : ordinaryFailureStates(input, step, index)),
    [states.done]: {
      Type: "Pass",
      Parameters: dataWith({
        resume: null,
        "finished.$": "$.answer.output",
        ...(step.always ? {} : { "report.$": "$.answer.output" }),
      }),
      Next: asksWhether ? states.goOn : onward,
    },
    // After an `always` step in the middle: on with the work, or after a failure to the next clean-up.
    ...(asksWhether
      ? {
          [states.goOn]: {
            Type: "Choice",
            Choices: [{ Variable: "$.failure", IsNull: true, Next: next.name }],
            Default: cleanUpAfter(input, index) ?? stateNames.end,
          },
        }
      : {}),
  };
}

function namesOf({ name }: AnyStep) {
  return {
    answer: `${name}: answer`,
    shortPause: `${name}: again soon`,
    longPause: `${name}: again later`,
    limit: `${name}: took too long?`,
    wait: `${name}: wait`,
    gaveUp: `${name}: gave up`,
    failed: `${name}: failed`,
    died: `${name}: died`,
    done: `${name}: done`,
    goOn: `${name}: go on?`,
  };
}

function cleanUpAfter({ job }: DefinitionInput, index: number): string | undefined {
  return job.steps.slice(index + 1).find(({ always }) => always)?.name;
}

function repetitionStates(input: DefinitionInput, step: AnyStep): States {
  const states = namesOf(step);
  const limit = input.functionTimeoutSeconds(step);
  // Work that goes on in the next execution fills each; one that polls takes moments.
  const works = limit < step.timeoutSeconds;
  const pause = (seconds: { pauseSeconds: number } | { "pauseSeconds.$": string }): State => {
    const waited = `States.MathAdd($.waitedSeconds, ${Object.values(seconds)[0]})`;
    return {
      Type: "Pass",
      Parameters: dataWith({
        "resume.$": "$.answer.state",
        "waitedSeconds.$": works ? `States.MathAdd(${waited}, ${limit})` : waited,
        ...seconds,
      }),
      Next: states.limit,
    };
  };
  return {
    [states.shortPause]: pause({ pauseSeconds: pauseSeconds(input) }),
    [states.longPause]: pause({ "pauseSeconds.$": "$.answer.afterSeconds" }),
    [states.limit]: {
      Type: "Choice",
      Choices: [
        { Variable: "$.waitedSeconds", NumericGreaterThan: input.waitLimitSeconds, Next: states.gaveUp },
      ],
      Default: states.wait,
    },
    [states.wait]: { Type: "Wait", SecondsPath: "$.pauseSeconds", Next: step.name },
  };
}

/** How long a pause is at least, so that polling until the limit fits into the history of an execution. */
function pauseSeconds({ waitLimitSeconds }: DefinitionInput): number {
  return Math.max(shortestPauseSeconds, Math.ceil((waitLimitSeconds * eventsPerRepetition) / mostEvents));
}

/** Reasons of the three ways to fail, as parameters of a Pass. */
function reasons(input: DefinitionInput) {
  return {
    gaveUp: { reason: `not finished after ${input.waitLimitSeconds} s of waiting` },
    failed: { "reason.$": "$.answer.reason" },
    // Not every error has a cause: all of it, as JSON.
    died: { "reason.$": "States.JsonToString($.error)" },
  } as const;
}

const ways = ["gaveUp", "failed", "died"] as const;

/** The first failure of the run: kept as its reason, then on to the clean-up. */
function ordinaryFailureStates(input: DefinitionInput, step: AnyStep, index: number): States {
  const names = namesOf(step);
  return Object.fromEntries(
    ways.map((way): [string, State] => [
      names[way],
      {
        Type: "Pass",
        Parameters: dataWith({
          resume: null,
          failure: { step: step.name, ...reasons(input)[way] },
          ...(way === "failed" ? { "finished.$": "$.answer.output", "report.$": "$.answer.output" } : {}),
        }),
        Next: cleanUpAfter(input, index) ?? stateNames.end,
      },
    ]),
  );
}

/** A failure of clean-up is the run's only when nothing failed before. */
function alwaysFailureStates(input: DefinitionInput, step: AnyStep, index: number): States {
  const names = namesOf(step);
  const next = cleanUpAfter(input, index) ?? stateNames.end;
  return Object.fromEntries(
    ways.flatMap((way): [string, State][] => [
      [
        names[way],
        {
          Type: "Choice",
          Choices: [{ Variable: "$.failure", IsNull: true, Next: `${names[way]} first` }],
          Default: `${names[way]} too`,
        },
      ],
      [
        `${names[way]} first`,
        {
          Type: "Pass",
          Parameters: dataWith({ resume: null, failure: { step: step.name, ...reasons(input)[way] } }),
          Next: next,
        },
      ],
      [`${names[way]} too`, { Type: "Pass", Parameters: dataWith({ resume: null }), Next: next }],
    ]),
  );
}
