import { setTimeout as delay } from "node:timers/promises";
import { type InvocationResponse, InvokeCommand } from "@aws-sdk/client-lambda";
import {
  DescribeExecutionCommand,
  type DescribeExecutionOutput,
  GetExecutionHistoryCommand,
  type HistoryEvent,
  StartExecutionCommand,
} from "@aws-sdk/client-sfn";
import { PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { DeployedRuns, Execution, ExecutionState } from "../ports/deployed-runs.ts";
import { type Caller, deployedFunction, notDeployed } from "./caller.ts";
import { calling, isNamed } from "./errors.ts";
import { jobResourceName } from "./job-names.ts";

export interface DeployedRunsOptions {
  /** Pauses before a throttled call is made again, milliseconds. Default: about 30 s in all. */
  pauses?: readonly number[];
}

const usualPauses = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Events that are looked at: enough for what happens between two looks, and for how an execution came to its end. */
const lastEvents = 200;

/** The jobs of the database `key`, started with the caller's credentials. */
export function deployedRuns(
  caller: Caller,
  key: string,
  { pauses = usualPauses }: DeployedRunsOptions = {},
): DeployedRuns {
  return {
    async call(job, event, { signal, onProgress }) {
      const name = jobResourceName(key, job);
      const command = new InvokeCommand({
        FunctionName: name,
        InvocationType: "RequestResponse",
        Payload: Buffer.from(JSON.stringify(event)),
      });
      return calling(`call the function ${name} in ${caller.region}`, async () => {
        for (let attempt = 0; ; attempt += 1) {
          signal.throwIfAborted();
          let response: InvocationResponse;
          try {
            response = await caller.invoking.send(command, { abortSignal: signal });
          } catch (error) {
            if (signal.aborted) throw leftAlone(`the function ${name}`, logHint(name));
            if (isNamed(error, "ResourceNotFound")) throw notDeployed(key, job, caller.region, error);
            if (!isNamed(error, "TooManyRequests")) throw error;
            const pause = pauses[attempt];
            // Only one execution at a time is allowed, and it did not end.
            if (pause === undefined && isReserved(error)) return { kind: "busy" };
            if (pause === undefined) throw error;
            onProgress(`${name} is busy; trying again in ${Math.ceil(pause / 1000)} s`);
            await delay(pause, undefined, { signal }).catch(() => {});
            continue;
          }
          return { kind: "answered", answer: answerOf(name, response) };
        }
      });
    },

    async start(job, firstStep, name, input) {
      const { partition, region, account } = await deployedFunction(caller, key, job, firstStep);
      const stateMachineArn = `arn:${partition}:states:${region}:${account}:stateMachine:${jobResourceName(key, job)}`;
      return calling(`start ${stateMachineArn}`, async () => {
        try {
          const { executionArn = "" } = await caller.states.send(
            new StartExecutionCommand({ stateMachineArn, name, input: JSON.stringify(input) }),
          );
          return new StateMachineExecution(caller, executionArn);
        } catch (error) {
          if (isNamed(error, "StateMachineDoesNotExist")) throw notDeployed(key, job, region, error);
          throw error;
        }
      });
    },
  };
}

/** @throws PgkeepError for a function that failed instead of answering */
function answerOf(name: string, { FunctionError, Payload }: InvocationResponse): Json {
  const text = Buffer.from(Payload ?? new Uint8Array()).toString("utf8");
  if (FunctionError === undefined) return parsed(text);
  const { errorType, errorMessage } = (parsed(text) ?? {}) as Record<string, Json | undefined>;
  const what = [errorType, errorMessage].filter((part) => typeof part === "string" && part !== "").join(": ");
  const late = /timed ?out/i.test(what);
  throw new PgkeepError(late ? "timeout" : "internal", `the function ${name} failed: ${what || text}`, {
    remedy: `read its log: ${logHint(name)}`,
  });
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

function logHint(name: string): string {
  return `\`aws logs tail /aws/lambda/${name} --since 15m\``;
}

/** True when the limit of this function itself was reached, not that of the account. */
function isReserved(error: unknown): boolean {
  return /^ReservedFunction/.test(String((error as { Reason?: unknown }).Reason ?? ""));
}

/** Whoever stops waiting does not stop what was started. */
function leftAlone(what: string, look: string): PgkeepError {
  return new PgkeepError("deadline", `stopped waiting, and ${what} goes on`, {
    remedy: `look at it: ${look}`,
  });
}

class StateMachineExecution implements Execution {
  readonly id: string;
  private readonly caller: Caller;
  /** The newest event that has been shown. */
  private seen = 0;

  constructor(caller: Caller, id: string) {
    this.caller = caller;
    this.id = id;
  }

  look(): Promise<ExecutionState> {
    return calling(`look at the execution ${this.id}`, async () => {
      const found = await this.caller.states.send(new DescribeExecutionCommand({ executionArn: this.id }));
      const events = await this.events(found.status !== "RUNNING");
      const state: ExecutionState = {
        status: statusOf(found),
        startedAt: found.startDate ?? new Date(),
        ...(found.stopDate === undefined ? {} : { stoppedAt: found.stopDate }),
        entered: events
          .filter(({ id = 0 }) => id > this.seen)
          .map(({ stateEnteredEventDetails }) => stateEnteredEventDetails?.name)
          .filter((name) => name !== undefined)
          .reverse(),
        output: found.output === undefined ? null : parsed(found.output),
      };
      this.seen = Math.max(this.seen, events[0]?.id ?? 0);
      if (state.status === "running" || state.status === "succeeded") return state;
      return { ...state, failure: failureOf(found, events) };
    });
  }

  /** The newest events, newest first; none for whoever may not read them, who then only sees the end. */
  private async events(withData: boolean): Promise<HistoryEvent[]> {
    try {
      const { events = [] } = await this.caller.states.send(
        new GetExecutionHistoryCommand({
          executionArn: this.id,
          reverseOrder: true,
          maxResults: lastEvents,
          includeExecutionData: withData,
        }),
      );
      return events;
    } catch (error) {
      if (isNamed(error, "AccessDenied")) return [];
      throw error;
    }
  }
}

function statusOf({ status }: DescribeExecutionOutput): ExecutionState["status"] {
  if (status === "SUCCEEDED") return "succeeded";
  if (status === "FAILED") return "failed";
  if (status === "TIMED_OUT") return "timed-out";
  return status === "ABORTED" ? "aborted" : "running";
}

function failureOf(found: DescribeExecutionOutput, events: readonly HistoryEvent[]) {
  const entered = events.find(({ type }) => type === "FailStateEntered")?.stateEnteredEventDetails?.input;
  return {
    error: found.error ?? "",
    cause: found.cause ?? "",
    answers: events
      .map(({ lambdaFunctionSucceededEventDetails }) => lambdaFunctionSucceededEventDetails?.output)
      .filter((output) => output !== undefined)
      .map(parsed),
    data: entered === undefined ? null : parsed(entered),
  };
}
