import type { Machine } from "../../alarms/alarm.ts";
import type { AwsMetricName } from "../../alarms/aws-metrics.ts";
import type { LogMetricName } from "../../alarms/log-metrics.ts";
import type { DatabaseConfig } from "../../config/schema.ts";
import type { ConsoleRow, ConsoleView } from "../../ports/pooler-console.ts";
import type { SeriesId } from "../alarms/series.ts";
import type { PoolerState, SandboxState, ServerState } from "../state.ts";
import type { ServerProcess } from "./process-table.ts";

export interface Measurement {
  id: SeriesId;
  /** In the unit that the metric has on AWS. */
  value: number;
}

/** A server whose postmaster runs; whether it answers is another question. */
export interface LiveServer extends ServerState {
  /** The postmaster's process id. */
  postmaster: number;
  processes: readonly ServerProcess[];
}

/** What one call of the measurer has found already. */
export interface MeasureContext {
  state: SandboxState;
  config: DatabaseConfig;
  /** What the alarms take each server's machine for. */
  machine: Machine;
  /** The servers that run, the primary first. One that does not run sends nothing, as an instance that is stopped. */
  servers: readonly LiveServer[];
  /**
   * Asks one server as superuser, in the database `postgres`; undefined when it does not answer in time or not at all.
   * Views that look up names in catalogs are better asked by the functions below them, which wait for no lock.
   */
  ask<Row>(server: ServerState, sql: string, values?: readonly unknown[]): Promise<Row[] | undefined>;
  /** The rows of views of PgBouncer's console; undefined when it does not answer. */
  askPooler(pooler: PoolerState, views: readonly ConsoleView[]): Promise<ConsoleRow[][] | undefined>;
}

/** One idea of measuring: some metrics from one source. One file each; `index.ts` lists them. */
export interface Measure {
  metrics: readonly (AwsMetricName | LogMetricName)[];
  /** Begins; what it returns keeps the previous sample of its rates and never rejects because something is down. */
  start(): (context: MeasureContext) => Promise<readonly Measurement[]>;
}

export function ofServer(
  metric: AwsMetricName,
  { name }: Pick<ServerState, "name">,
  value: number,
): Measurement {
  return { id: { from: "aws", metric, dimensions: { Server: name } }, value };
}

/** `server`: the one behind the proxy. */
export function ofProxy(metric: AwsMetricName, server: string, value: number): Measurement {
  return { id: { from: "aws", metric, dimensions: { Proxy: server } }, value };
}

/** Of each server that runs, all at once; those of which nothing can be said are left out. */
export async function ofEachServer(
  { servers }: Pick<MeasureContext, "servers">,
  measure: (server: LiveServer) => Promise<readonly Measurement[]>,
): Promise<Measurement[]> {
  return (await Promise.all(servers.map(measure))).flat();
}
