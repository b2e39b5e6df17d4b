import type { Json } from "../json.ts";

/** Starts the deployed jobs of one database. Not a port of jobs: people's commands use it. */
export interface DeployedRuns {
  /**
   * Calls the function of a job of one step and waits for its answer.
   * `busy`: as many executions as are allowed at once go on already.
   * @throws PgkeepError `not-found` when it is not deployed; `deadline` when `signal` ends the waiting, which does
   * not end the function
   */
  call(
    job: string,
    event: Json,
    options: { signal: AbortSignal; onProgress(message: string): void },
  ): Promise<{ kind: "answered"; answer: Json } | { kind: "busy" }>;
  /**
   * Starts the state machine of a job. `name` is unique for each execution.
   * @throws PgkeepError `not-found` when it is not deployed
   */
  start(job: string, firstStep: string, name: string, input: Json): Promise<Execution>;
}

export interface Execution {
  /** Under which people find it: its ARN. */
  readonly id: string;
  look(): Promise<ExecutionState>;
}

export interface ExecutionState {
  status: "running" | "succeeded" | "failed" | "timed-out" | "aborted";
  startedAt: Date;
  /** Absent while it runs. */
  stoppedAt?: Date;
  /** Names of the states that were entered since the last look, oldest first. */
  entered: string[];
  /** Of an execution that succeeded. */
  output: Json;
  /** Of one that did not: what it failed with, as far as it is told. */
  failure?: {
    error: string;
    cause: string;
    /** What its functions answered, newest first. */
    answers: Json[];
    /** The data with which it came to its end; null when that was not a state `Failed`. */
    data: Json;
  };
}
