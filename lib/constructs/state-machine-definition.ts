import { claimStates } from "./state-machine/claim.ts";
import { endStates } from "./state-machine/end.ts";
import {
  type DefinitionInput,
  executionTimeoutSeconds,
  type States,
  stateNames,
} from "./state-machine/states.ts";
import { stepStates } from "./state-machine/step.ts";

export type { State } from "./state-machine/states.ts";

export interface StateMachineDefinition {
  Comment: string;
  StartAt: string;
  TimeoutSeconds: number;
  States: States;
}

/**
 * The state machine of a job of several steps:
 *
 * - of several executions at once one goes on; the others, a trigger that came twice, end as skipped;
 * - `again` waits and executes the same step, until the time for that is used up;
 * - after a failure, whether answered, thrown or timed out, the steps marked `always` run, and only they;
 * - at the end the recorder is told how the run went; a run that failed fails the execution;
 * - its data is what `initialData` lists, and so never more than Step Functions carries, as long as each step
 *   answers with at most `maximumAnswerBytes`.
 */
export function stateMachineDefinition(input: DefinitionInput): StateMachineDefinition {
  const { job } = input;
  const first = job.steps[0];
  if (first === undefined) throw new RangeError(`${job.name} has no steps`);
  const claim = claimStates(input, first.name);
  return {
    Comment: job.summary,
    StartAt: stateNames.claim in claim ? stateNames.claim : stateNames.start,
    TimeoutSeconds: executionTimeoutSeconds(input),
    States: {
      ...claim,
      ...Object.assign({}, ...job.steps.map((step, index) => stepStates(input, step, index))),
      ...endStates(input),
    },
  };
}
