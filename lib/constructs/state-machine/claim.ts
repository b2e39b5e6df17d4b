import { recorderOf } from "../../jobs/invocation.ts";
import {
  type DefinitionInput,
  executionTimeoutSeconds,
  initialData,
  retryServiceErrors,
  runParameters,
  type States,
  stateNames,
  taskTimeoutSeconds,
} from "./states.ts";

/**
 * The beginning of a run: it takes the job's lease, or ends as skipped. Listing the executions would not do: the
 * list lags behind, so that two that begin together would not see each other, or each would yield to the other.
 * A job that may overlap goes on at once.
 */
export function claimStates(input: DefinitionInput, firstState: string): States {
  const { job } = input;
  const recorder = recorderOf(job);
  const start = { Type: "Pass", Result: initialData, Next: firstState };
  if (job.lock === "none" || recorder === undefined) return { [stateNames.start]: start };
  const required = job.lock === "required";
  return {
    [stateNames.claim]: {
      Type: "Task",
      Resource: input.functionArns[recorder.name] ?? "",
      Parameters: { ...runParameters, claim: { leaseSeconds: executionTimeoutSeconds(input) } },
      ResultPath: "$",
      TimeoutSeconds: taskTimeoutSeconds(input, recorder),
      Retry: retryServiceErrors,
      Catch: required
        ? [
            // It has one place, which a step of the run that is under way has taken.
            { ErrorEquals: ["Lambda.TooManyRequestsException"], Next: stateNames.busy },
            { ErrorEquals: ["States.ALL"], ResultPath: "$.error", Next: stateNames.unclaimed },
          ]
        : [{ ErrorEquals: ["States.ALL"], Next: stateNames.unguarded }],
      Next: stateNames.alone,
    },
    [stateNames.alone]: {
      Type: "Choice",
      Choices: [{ Variable: "$.kind", StringEquals: "skipped", Next: stateNames.skipped }],
      Default: stateNames.start,
    },
    [stateNames.start]: start,
    [stateNames.skipped]: {
      Type: "Pass",
      Parameters: { outcome: "skipped", "reason.$": "$.reason" },
      End: true,
    },
    ...(required
      ? {
          [stateNames.busy]: {
            Type: "Pass",
            Result: { outcome: "skipped", reason: `${job.name} is already running: its function is busy` },
            End: true,
          },
          // What must not overlap fails when nobody can tell.
          [stateNames.unclaimed]: {
            Type: "Pass",
            Parameters: {
              ...initialData,
              failure: { step: "claim", "reason.$": "States.JsonToString($.error)" },
            },
            Next: stateNames.recordFailure,
          },
        }
      : // What must work in any case goes on.
        { [stateNames.unguarded]: { Type: "Pass", Next: stateNames.start } }),
  };
}
