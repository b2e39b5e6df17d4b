import type { MetricName } from "../alarms/metrics.ts";
import type { JobConfig } from "../config/schema.ts";
import type { Json } from "../json.ts";
import type { Clock } from "../ports/clock.ts";
import type { DatabaseRole } from "../ports/databases.ts";
import type { NeedablePorts, PortName, Ports } from "../ports/index.ts";

/** `database` steps speak SQL inside the VPC; `control-plane` steps speak AWS APIs outside it. */
export type Place = "database" | "control-plane";

export type StepResult<Output extends Json> =
  | { kind: "done"; output: Output }
  /** Run this step again after a while, with `state` as its `resume`. */
  | { kind: "again"; afterSeconds: number; state: Json }
  /** The step worked, and what it found means that the job failed; the report is kept. */
  | { kind: "failed"; output: Output; reason: string };

export const done = <Output extends Json>(output: Output): StepResult<Output> => ({ kind: "done", output });
export const again = <State extends Json>(afterSeconds: number, state: State): StepResult<never> => ({
  kind: "again",
  afterSeconds,
  state,
});
export const failed = <Output extends Json>(output: Output, reason: string): StepResult<Output> => ({
  kind: "failed",
  output,
  reason,
});

export interface Run {
  /** Unique for each run; safe as part of an instance's name. */
  id: string;
  job: string;
  startedAt: Date;
}

export interface StepContext<Input extends Json, Needs extends PortName> {
  config: JobConfig;
  ports: Pick<NeedablePorts, Needs>;
  clock: Clock;
  /**
   * Output of the step before. For an `always` step: the last output of a step that finished, or null.
   * For the first step: the arguments of the run.
   */
  input: Input;
  /** What this step gave to `again` the last time. */
  resume: Json | undefined;
  /** Aborted a safe while before the run would be killed: stop at a safe point and report what is left. */
  deadline: AbortSignal;
  /** Milliseconds until the deadline. */
  timeLeft(): number;
  /** Say what would be done, and change nothing. */
  dryRun: boolean;
  run: Run;
  /** One line about how far the step is, for people who watch. */
  progress(message: string): void;
  measure(name: MetricName, value: number, dimensions?: Record<string, string>): void;
}

export interface Step<
  Input extends Json = Json,
  Output extends Json = Json,
  Needs extends PortName = PortName,
> {
  name: string;
  where: Place;
  needs: readonly Needs[];
  /** Hard limit of one execution of this step. */
  timeoutSeconds: number;
  /** Runs even when an earlier step failed, for clean-up. */
  always: boolean;
  /** Identity that this step's sessions log in with, where it is not the job's. */
  role?: DatabaseRole;
  /** Which functions of a port it calls, where not all that jobs call: on AWS it may do no more than these need. */
  calls?: Calls<Needs>;
  /** Uses `config.suppressions`: on AWS only the functions of such steps have them. */
  readsSuppressions?: true;
  run(context: StepContext<Input, Needs>): Promise<StepResult<Output>>;
}

export type Calls<Needs extends PortName> = {
  readonly [Name in Needs]?: readonly (keyof NeedablePorts[Name])[];
};

/** A step whose types are erased, as the runner and the constructs see it. */
export type AnyStep = Omit<Step, "run"> & {
  /** `defineJob` has checked that each step takes what the one before gives; whoever runs it casts. */
  run(context: never): Promise<StepResult<Json>>;
};

export interface Job {
  /** Kebab-case; the name of the command, the Lambda, the schedule and the lock. */
  name: string;
  summary: string;
  /** Default schedule: five cron fields, in the configuration's time zone; `schedules:` overrides it. */
  schedule: string;
  /**
   * `required`: never two runs at once, guarded by an advisory lock on the primary and a lease in `pgkeep.job_run`.
   * `when-possible`: the same, but the job must also work while the primary is down, without a guard.
   * `none`: runs may overlap, because the job's writes are compare-and-swap.
   */
  lock: "required" | "when-possible" | "none";
  /** Identity under which the run is locked and recorded; its database steps log in with it unless they have their own. */
  role: DatabaseRole;
  /** True when `--dry-run` says what would be done. */
  supportsDryRun: boolean;
  /** Arguments that a person may give, parsed from JSON; a schedule gives none. */
  parseArguments(value: unknown): Json;
  /** The report as lines for people; without it they get the JSON. */
  describe?(report: Json): string[];
  steps: readonly AnyStep[];
}

export function step<Input extends Json, Output extends Json, Needs extends PortName>(
  name: string,
  definition: {
    where: Place;
    needs: readonly Needs[];
    timeoutSeconds: number;
    always?: boolean;
    role?: DatabaseRole;
    calls?: Calls<Needs>;
    readsSuppressions?: true;
    run(context: StepContext<Input, Needs>): Promise<StepResult<Output>>;
  },
): Step<Input, Output, Needs> {
  return { name, always: false, ...definition };
}

type Link<Input extends Json, Output extends Json> = Step<Input, Output, PortName>;

export interface JobDefinition<
  Arguments extends Json,
  A extends Json,
  B extends Json,
  C extends Json,
  D extends Json,
> {
  name: string;
  summary: string;
  schedule: string;
  lock?: Job["lock"];
  /** Default `monitoring`. */
  role?: DatabaseRole;
  supportsDryRun?: boolean;
  /** Default: no arguments are taken, and `{}` is what the first step gets. */
  parseArguments?: (value: unknown) => Arguments;
  /** The report of a finished run as lines for people. `report` is the output of the last step without `always`. */
  describe?: (report: never) => string[];
  /** Each step's input is the output of the one before. The last step without `always` gives the report. */
  steps:
    | readonly [Link<Arguments, A>]
    | readonly [Link<Arguments, A>, Link<A, B>]
    | readonly [Link<Arguments, A>, Link<A, B>, Link<B, C>]
    | readonly [Link<Arguments, A>, Link<A, B>, Link<B, C>, Link<C, D>];
}

export function defineJob<
  Arguments extends Json = Record<string, never>,
  A extends Json = Json,
  B extends Json = Json,
  C extends Json = Json,
  D extends Json = Json,
>(definition: JobDefinition<Arguments, A, B, C, D>): Job {
  return {
    name: definition.name,
    summary: definition.summary,
    schedule: definition.schedule,
    lock: definition.lock ?? "required",
    role: definition.role ?? "monitoring",
    supportsDryRun: definition.supportsDryRun ?? false,
    parseArguments: definition.parseArguments ?? (() => ({})),
    ...(definition.describe === undefined
      ? {}
      : { describe: definition.describe as (report: Json) => string[] }),
    steps: definition.steps as unknown as readonly AnyStep[],
  };
}

export type Outcome = "succeeded" | "failed" | "skipped";

/** What one run did, as data: recorded in `pgkeep.job_run`, printed by `--json`, logged by the Lambda. */
export interface JobResult {
  job: string;
  runId: string;
  outcome: Outcome;
  startedAt: string;
  seconds: number;
  report: Json;
  /** Why it failed or was skipped. */
  reason?: string;
  error?: { code: string; message: string; remedy?: string };
  /** False when the run could not be written to `pgkeep.job_run`; `warnings` says why. */
  recorded: boolean;
  /** What went wrong beside the job itself: not recorded, metrics not delivered. */
  warnings: string[];
}

export interface RunOptions {
  ports: Ports;
  config: JobConfig;
  arguments?: unknown;
  dryRun?: boolean;
  /** Aborts the run from outside (Ctrl-C, the end of the Lambda). */
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
  /** Milliseconds until whoever runs this is ended; without it only the steps' own limits hold. */
  timeLeft?: () => number;
}
