import { availableParallelism, totalmem } from "node:os";
import type { Alarm, Machine } from "../../alarms/alarm.ts";
import { alarmsFor } from "../../alarms/catalogue.ts";
import { contextOf, type PlannedJob } from "../../alarms/context.ts";
import type { DatabaseConfig } from "../../config/schema.ts";
import type { SandboxState } from "../state.ts";

/** AWS's default quota of manual snapshots in a region. */
const manualSnapshotsPerRegion = 100;

/** What the sandbox takes each of its servers' machine for. */
export function sandboxMachine(): Machine {
  return { memoryBytes: totalmem(), vcpus: availableParallelism() };
}

export interface SandboxAlarmsOptions {
  state: Pick<SandboxState, "primary" | "replicas" | "poolers">;
  config: DatabaseConfig;
  jobs: readonly PlannedJob[];
  /** Of the primary, as it runs. */
  maxConnections: number;
  /** Default: the machine that this runs on. */
  machine?: Machine;
}

/**
 * The alarms that this database would have as an instance with these replicas and poolers: that is what a sandbox is,
 * whatever the topology of the configuration, and it has no cache. None when `alarms.enabled` is off.
 */
export function sandboxAlarms(options: SandboxAlarmsOptions): Alarm[] {
  const { state, jobs, maxConnections, machine = sandboxMachine() } = options;
  if (!options.config.alarms.enabled) return [];
  const config = asInstance(options.config);
  const replicas = state.replicas.map(({ name }) => name);
  const all = { databases: [config], account: { manualSnapshotsPerRegion } };
  const context = contextOf(config, all, jobs, {
    replicas,
    readers: replicas,
    servers: [state.primary.name, ...replicas],
    proxy: state.poolers !== null,
    machine,
    maxConnections,
  });
  return alarmsFor(context);
}

function asInstance(config: DatabaseConfig): DatabaseConfig {
  return {
    ...config,
    database: { ...config.database, topology: "instance" },
    cache: { ...config.cache, enabled: false },
  };
}
