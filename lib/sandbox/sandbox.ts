import { join } from "node:path";
import type { PlannedJob } from "../alarms/context.ts";
import { systemClock } from "../clock.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { errorMessage } from "../errors.ts";
import { applyInstall } from "../install/apply.ts";
import { type RoleNames, roleNames } from "../install/role-names.ts";
import type { PostgresMajor } from "../postgres/versions.ts";
import { sandboxAlarms, sandboxMachine } from "./alarms/alarms-of-sandbox.ts";
import { type AlarmWatchOptions, alarmsAsJson, type LiveAlarms, startAlarmWatch } from "./alarms/live.ts";
import type { AlarmView } from "./alarms/watch.ts";
import { loadApplication } from "./application/load.ts";
import { startWorkload, type Workload, type WorkloadCounters } from "./application/workload.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { type ControlServer, startControl } from "./control.ts";
import { sandboxEnvironment } from "./environment.ts";
import type { FaultReport } from "./faults/fault.ts";
import { HeldSessions } from "./faults/held-sessions.ts";
import { runFault } from "./faults/index.ts";
import { createMeasurer } from "./measures/index.ts";
import { randomPassword } from "./passwords.ts";
import { findPgbouncer, noPgbouncer, startPoolers, stopPooler } from "./pooler.ts";
import { makeDirectory } from "./replica.ts";
import type { SandboxState } from "./state.ts";
import { announceSandbox, saveState } from "./state-file.ts";

export interface SandboxOptions {
  config: DatabaseConfig;
  configFile: string | null;
  homeDirectory: string;
  /** Default: `replicas.count` of the configuration. */
  replicas?: number;
  /** Default: `database.engineVersion` of the configuration. */
  postgresMajor?: PostgresMajor;
  /** Operations per second of the sample workload. Default 20. */
  workloadRatePerSecond?: number;
  onProgress?: (line: string) => void;
  signal: AbortSignal;
}

export interface RunningSandbox {
  state: SandboxState;
  environment: Environment;
  /** From the call until servers, roles, application and poolers were there. */
  readySeconds: number;
  /** Where the poolers are, or why there are none. */
  poolerNote: string;
  workload(): WorkloadCounters;
  stopWorkload(): Promise<WorkloadCounters>;
  applyFault(name: string, repair: boolean): Promise<FaultReport>;
  activeFaults(): string[];
  /**
   * Evaluates every alarm each minute from now on, until the sandbox stops. Call it when every job has run once: a
   * job that has never succeeded counts as absent.
   */
  startAlarms(options: StartAlarmsOptions): Promise<void>;
  /** Empty before `startAlarms`. */
  alarms(): readonly AlarmView[];
  /** Ends every process of the sandbox and removes its directory. Twice is fine. */
  stop(): Promise<void>;
}

export interface StartAlarmsOptions
  extends Pick<AlarmWatchOptions, "describe" | "onTransition" | "onProblem"> {
  /** The jobs that are scheduled. */
  jobs: readonly PlannedJob[];
}

/**
 * Brings up everything: servers, what pgkeep installs, the sample application with its workload, poolers, and
 * the socket on which other processes may ask for faults.
 * @throws PgkeepError `start-failed` and others; nothing is left then
 */
export async function startSandbox(options: SandboxOptions): Promise<RunningSandbox> {
  const begun = performance.now();
  const { config, signal } = options;
  const progress = options.onProgress ?? (() => {});
  const names = roleNames(config);
  const ending = new AbortController();
  const cluster = await startCluster({
    major: options.postgresMajor ?? (Number(config.database.engineVersion) as PostgresMajor),
    database: config.database.name,
    databaseKey: config.key,
    configFile: options.configFile,
    replicas: options.replicas ?? config.replicas.count,
    roleNames: names,
    onProgress: progress,
    signal,
    ...(config.database.maxConnections === undefined
      ? {}
      : { settings: { max_connections: config.database.maxConnections } }),
  });
  const undo: (() => Promise<unknown>)[] = [() => cluster.stop()];
  const stop = async () => {
    ending.abort();
    for (const step of undo.splice(0).reverse()) {
      await step().catch((error: unknown) => progress(`while stopping: ${errorMessage(error)}`));
    }
  };
  try {
    const { state } = cluster;
    const environment = sandboxEnvironment(state, config);
    await installAndLoad(environment, state, names, progress);
    const poolerNote = await bringUpPoolers(cluster, config);
    undo.push(() => Promise.all((state.poolers ?? []).map(stopPooler)));
    progress(poolerNote);
    await saveState(state);
    const held = new HeldSessions();
    undo.push(() => held.close());
    const active = new Set<string>();
    const applyFault = async (name: string, repair: boolean): Promise<FaultReport> => {
      const report = await runFault(
        { name, repair },
        { state, held, config, clock: systemClock, signal: ending.signal },
      );
      if (repair) active.delete(report.fault);
      else active.add(report.fault);
      return report;
    };
    let alarms: LiveAlarms | undefined;
    const startAlarms = async (given: StartAlarmsOptions): Promise<void> => {
      alarms = await beginAlarms(given, state, environment, config, ending.signal);
      undo.push(alarms.stop);
    };
    const workload = beginWorkload(options, state, environment);
    undo.push(() => workload.stop());
    const control: ControlServer = await startControl(state.controlSocket, {
      fault: ({ name, repair }) => applyFault(name, repair),
      status: async () => ({
        workload: { ...workload.counters() },
        faults: [...active],
        alarms: alarmsAsJson(alarms?.view() ?? []),
      }),
    });
    undo.push(() => control.close());
    undo.push(await announceSandbox(options.homeDirectory, state));
    signal.throwIfAborted();
    return {
      state,
      environment,
      readySeconds: Math.round(performance.now() - begun) / 1000,
      poolerNote,
      workload: () => workload.counters(),
      stopWorkload: () => workload.stop(),
      applyFault,
      activeFaults: () => [...active],
      startAlarms,
      alarms: () => alarms?.view() ?? [],
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function installAndLoad(
  environment: Environment,
  state: SandboxState,
  names: RoleNames,
  progress: (line: string) => void,
): Promise<void> {
  const session = await environment.connectAsMaster({ statementTimeoutMilliseconds: 120_000 });
  try {
    await applyInstall(session, environment.config, {
      passwords: {
        [names.monitoring]: state.roles.monitoring.password,
        [names.maintenance]: state.roles.maintenance.password,
        [names.drill]: state.roles.drill.password,
        [names.app]: state.application.writer.password,
        [names.reporting]: state.application.reporting.password,
      },
    });
    progress("installed: roles, schema pgkeep");
    const loaded = await loadApplication(session, { owner: names.owner });
    progress(`sample application: ${loaded.tables} tables, ${loaded.rows} rows`);
  } finally {
    await session.close();
  }
}

async function bringUpPoolers({ state }: Cluster, config: DatabaseConfig): Promise<string> {
  if (!config.pooling.enabled) return "pooling is switched off (pooling.enabled)";
  const pgbouncer = await findPgbouncer();
  if (pgbouncer === null) return noPgbouncer;
  const directory = join(state.directory, "poolers");
  await makeDirectory(state, directory);
  state.poolers = await startPoolers([state.primary, ...state.replicas], {
    pgbouncer,
    owner: state.owner,
    directory,
    database: state.database,
    pooling: config.pooling,
    logins: [state.application.writer, state.application.reporting],
    statsLogin: { user: "pgkeep_stats", password: randomPassword() },
  });
  const ports = state.poolers.map((pooler) => `${pooler.name} ${pooler.port}`).join(", ");
  return `PgBouncer ${pgbouncer.version} in front of each server, on ports: ${ports}`;
}

function beginWorkload(options: SandboxOptions, state: SandboxState, environment: Environment): Workload {
  return startWorkload({
    database: state.database,
    primary: { host: "127.0.0.1", port: state.primary.port },
    logins: state.application,
    routing: async () => environment.ports.routing?.read(),
    ratePerSecond: options.workloadRatePerSecond ?? 20,
  });
}

async function beginAlarms(
  { jobs, ...options }: StartAlarmsOptions,
  state: SandboxState,
  environment: Environment,
  config: DatabaseConfig,
  signal: AbortSignal,
): Promise<LiveAlarms> {
  const machine = sandboxMachine();
  const session = await environment.connectAsMaster();
  const [row] = await session
    .query<{ connections: number }>("select current_setting('max_connections')::int as connections")
    .finally(() => session.close());
  const maxConnections = row?.connections ?? 100;
  const measurer = createMeasurer({ state, config, machine });
  const live = startAlarmWatch({
    ...options,
    state,
    alarms: sandboxAlarms({ state, config, jobs, maxConnections, machine }),
    measure: () => measurer.measure(),
    notifications: environment.ports.notifications,
    clock: systemClock,
    signal,
  });
  return {
    view: live.view,
    stop: async () => {
      await live.stop();
      await measurer.close();
    },
  };
}
