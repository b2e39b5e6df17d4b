import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Alarm, AlarmContext } from "../../../lib/alarms/alarm.ts";
import { alarmsFor } from "../../../lib/alarms/catalogue.ts";
import type { Page } from "../../../lib/alarms/page/page.ts";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import { alarmContextOf } from "../../../lib/constructs/alarm-context.ts";
import { explain } from "../../../lib/jobs/explain-alarm.ts";
import { jobNamed, jobs } from "../../../lib/jobs/index.ts";
import type { Job, JobResult } from "../../../lib/jobs/job.ts";
import { runJob } from "../../../lib/jobs/runner.ts";
import type { Json } from "../../../lib/json.ts";
import type { MetricDatum } from "../../../lib/ports/metrics.ts";
import { memorySeries } from "../../../lib/sandbox/alarms/series.ts";
import {
  type AlarmView,
  type AlarmWatch,
  type Transition,
  watchAlarms,
} from "../../../lib/sandbox/alarms/watch.ts";
import { isScheduleDisabled } from "../../../lib/sandbox/faults/disable-schedule.ts";
import { giveCalmPast } from "../../../lib/sandbox/faults/past-days.ts";
import { createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { type RunningSandbox, startSandbox } from "../../../lib/sandbox/sandbox.ts";
import { wholeConfig } from "../contexts.ts";
import type { StartedJob } from "./drill.ts";
import { portsOf, restamped, Timetable } from "./simulated-jobs.ts";
import { SimulatedTime } from "./simulated-time.ts";

/** Midnight of this week's Monday: what servers date themselves must not be years away from it. */
function monday(): Date {
  const now = new Date();
  const sinceMonday = (now.getUTCDay() + 6) % 7;
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() - sinceMonday));
}

export const tickSeconds = 60;

/** Its memory is what alarms assume of any machine, so that what is free does not depend on this one. */
const machine = { memoryBytes: 2 ** 30, vcpus: availableParallelism() };

/** So many ticks until every frequent job has two of its periods behind it. */
const warmUpTicks = 11;

export interface DrillSandboxOptions {
  config: DatabaseConfig;
  /** Operations per second of the workload, in real time. Default 20. */
  workloadRatePerSecond?: number;
  start?: Date;
}

/** What one watch looks at, until another is begun. */
export interface Watching {
  /** What jobs are told and thresholds are made from; the servers stay as they are. */
  config: DatabaseConfig;
  /** The catalogue's alarms as they are drilled; default: as they are. */
  adjust?(alarms: Alarm[]): Alarm[];
}

/** A message that somebody got. */
export type Told = Transition & { page: Page };

/** Servers, roles, poolers and workload of a real sandbox, its jobs and alarms in simulated minutes. */
export class DrillSandbox {
  readonly running: RunningSandbox;
  /** In which it is announced, as in that of a user. */
  readonly homeDirectory: string;
  readonly time: SimulatedTime;
  /** Every message since the watch began. */
  told: Told[] = [];
  /** How often each job has run, by outcome. */
  readonly runs = new Map<string, { succeeded: number; failed: number; skipped: number }>();
  /** Of the runs that failed. */
  readonly failures: { job: string; at: Date; reason: string }[] = [];
  /** At least so long takes each tick: for faults that need real time to build up. */
  paceMilliseconds = 0;
  ticks = 0;
  readonly #store = memorySeries();
  #atOnce: StartedJob[] = [];
  #config: DatabaseConfig;
  #timetable: Timetable;
  #measurer: Measurer;
  #watch: AlarmWatch | undefined;

  constructor(running: RunningSandbox, homeDirectory: string, options: DrillSandboxOptions) {
    this.running = running;
    this.homeDirectory = homeDirectory;
    this.#config = options.config;
    this.time = new SimulatedTime(options.start ?? monday());
    this.#timetable = new Timetable(jobs, options.config, this.time.now());
    this.#measurer = this.#measuring(options.config);
  }

  get now(): Date {
    return this.time.now();
  }

  /** The alarms that a database of this configuration has, as they are drilled. */
  alarms({ config, adjust = (alarms) => alarms }: Watching): Alarm[] {
    return adjust(alarmsFor(contextOf(config, this.running)));
  }

  /** Begins to watch anew: no alarm has told anything. */
  watch(watching: Watching): void {
    if (JSON.stringify(watching.config) !== JSON.stringify(this.#config)) {
      this.#measurer = this.#measuring(watching.config);
    }
    this.#config = watching.config;
    this.told = [];
    this.failures.length = 0;
    this.#watch = watchAlarms({
      alarms: this.alarms(watching),
      store: this.#store,
      notify: async (transition) => {
        const { ports } = this.running.environment;
        const page = await explain({ environment: { ports, config: this.#config }, transition });
        this.told.push({ ...transition, page });
      },
    });
  }

  view(): readonly AlarmView[] {
    return this.#watch?.view() ?? [];
  }

  inAlarm(): readonly AlarmView[] {
    return this.view().filter(({ state }) => state === "ALARM");
  }

  /** The next tick runs this job, whatever its schedule. */
  runAtNextTick(started: StartedJob): void {
    this.#atOnce.push(started);
  }

  /**
   * One simulated minute: at its beginning the jobs that are due run and AWS's metrics are measured, at its end the
   * alarms are evaluated.
   */
  async tick(): Promise<readonly Transition[]> {
    const pause = delay(this.paceMilliseconds);
    this.ticks += 1;
    const atOnce = this.#atOnce.splice(0);
    const due = this.#timetable
      .due(this.now)
      .filter(({ name }) => !isScheduleDisabled(this.running.state, name));
    const frequent = due.filter(({ name }) => name === "check-health" || name === "route-replicas");
    const others = due.filter((job) => !frequent.includes(job));
    await Promise.all([...frequent.map((job) => this.#run(job)), this.#oneAfterTheOther(others, atOnce)]);
    // Afterwards: on AWS the sessions of the jobs are there for a hundredth of the minute, not for each look.
    await this.#measure();
    await pause;
    this.time.advance(tickSeconds);
    return (await this.#watch?.evaluate(this.now)) ?? [];
  }

  /** Goes on to the next Monday, for a week to begin with. */
  startAtMidnight(): void {
    const now = this.now;
    const sinceMonday = ((now.getUTCDay() + 6) % 7) * 86_400_000 + (now.getTime() % 86_400_000);
    if (sinceMonday === 0) return;
    this.time.advance((7 * 86_400_000 - sinceMonday) / 1000);
    this.runAtNextTick({ job: "check-recovery" });
  }

  async tickTimes(count: number): Promise<void> {
    for (let index = 0; index < count; index++) await this.tick();
  }

  async stop(): Promise<void> {
    await this.running.stop();
    await rm(this.homeDirectory, { recursive: true, force: true });
  }

  async #oneAfterTheOther(due: readonly Job[], atOnce: readonly StartedJob[]): Promise<void> {
    for (const job of due) await this.#run(job);
    for (const started of atOnce) await this.#run(jobNamed(started.job), started.arguments);
  }

  /** Runs a job at this moment, as somebody at a terminal would. */
  runNow(name: string, given?: Json): Promise<JobResult> {
    return this.#run(jobNamed(name), given);
  }

  async #run(job: Job, given?: Json): Promise<JobResult> {
    const { ports } = this.running.environment;
    const metrics = restamped(this.time, (datum) => this.#keep(datum), ports.metrics);
    const result = await runJob(job, {
      ports: { ...portsOf(job, this.time, ports), metrics },
      config: this.#config,
      ...(given === undefined ? {} : { arguments: given }),
    });
    const counts = this.runs.get(job.name) ?? { succeeded: 0, failed: 0, skipped: 0 };
    counts[result.outcome] += 1;
    this.runs.set(job.name, counts);
    if (result.outcome === "failed") {
      this.failures.push({ job: job.name, at: this.now, reason: result.reason ?? "" });
    }
    return result;
  }

  #keep({ name, value, at, dimensions }: MetricDatum): void {
    this.#store.add({ from: "pgkeep", metric: name, dimensions }, { atMilliseconds: at.getTime(), value });
  }

  async #measure(): Promise<void> {
    const at = this.now;
    for (const { id, value } of await this.#measurer.measure()) {
      this.#store.add(id, { atMilliseconds: at.getTime(), value });
    }
  }

  #measuring(config: DatabaseConfig): Measurer {
    return createMeasurer({ state: this.running.state, config, machine });
  }
}

/** Starts everything, takes the first backup, and lets every frequent job have two of its periods. */
export async function startDrillSandbox(options: DrillSandboxOptions): Promise<DrillSandbox> {
  const homeDirectory = await mkdtemp(join(tmpdir(), "pgkeep-drill-"));
  const running = await startSandbox({
    config: options.config,
    configFile: null,
    homeDirectory,
    workloadRatePerSecond: options.workloadRatePerSecond ?? 20,
    signal: new AbortController().signal,
  });
  const sandbox = new DrillSandbox(running, homeDirectory, options);
  try {
    for (const job of ["back-up", "check-recovery", "collect-history"]) sandbox.runAtNextTick({ job });
    await sandbox.tick();
    await giveCalmPast(running.state);
    await sandbox.tickTimes(warmUpTicks - 1);
    return sandbox;
  } catch (error) {
    await sandbox.stop();
    throw error;
  }
}

/** What thresholds are made from: the sandbox's servers on this machine. */
function contextOf(config: DatabaseConfig, { state }: RunningSandbox): AlarmContext {
  const replicas = state.replicas.map(({ name }) => name);
  return {
    ...alarmContextOf(config, wholeConfig(config), {
      replicas,
      readers: replicas,
      servers: [state.primary.name, ...replicas],
      proxy: state.poolers !== null,
    }),
    machine,
  };
}
