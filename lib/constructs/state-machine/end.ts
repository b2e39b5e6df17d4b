import { recorderOf } from "../../jobs/invocation.ts";
import {
  type DefinitionInput,
  retryServiceErrors,
  runParameters,
  type State,
  type States,
  stateNames,
  taskTimeoutSeconds,
} from "./states.ts";

/** The end of a run: the recorder is told how it went; a run that failed fails the execution. */
export function endStates(input: DefinitionInput): States {
  const recorder = recorderOf(input.job);
  const record = (failure: Record<string, unknown>, onward: Partial<State>, unrecorded: string): State => ({
    Type: "Task",
    Resource: input.functionArns[recorder?.name ?? ""] ?? "",
    Parameters: { ...runParameters, finish: { "report.$": "$.report", ...failure } },
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
    [stateNames.recordSuccess]: record({ failure: null }, { End: true }, stateNames.unrecorded),
    [stateNames.unrecorded]: {
      Type: "Pass",
      Parameters: { outcome: "succeeded", "report.$": "$.report", recorded: false },
      End: true,
    },
    [stateNames.recordFailure]: record(
      { "failure.$": "$.failure" },
      { ResultPath: null, Next: stateNames.failed },
      stateNames.failed,
    ),
    [stateNames.failed]: { Type: "Fail", Error: "JobFailed", CausePath: "$.failure.reason" },
  };
}
