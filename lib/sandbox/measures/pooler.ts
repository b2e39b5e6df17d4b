import { countOf, numberOf } from "../../pooling/console-rows.ts";
import type { ConsoleRow } from "../../ports/pooler-console.ts";
import { answersLogin } from "../../postgres/probe.ts";
import { type Measure, type Measurement, ofProxy } from "./measure.ts";

/** Totals of all databases since PgBouncer began. */
interface WaitSample {
  pid: number;
  waitMicroseconds: number;
  borrows: number;
}

const answerMilliseconds = 1_000;

/**
 * PgBouncer stands for RDS Proxy: the one before the primary, as RDS Proxy serves the writer only.
 * - `AvailabilityPercentage`. AWS: share of the time in which the target group could be used in its role. Ours: 100
 *   when PgBouncer and the server behind it answer at this moment, else 0, also when PgBouncer itself is gone; AWS
 *   replaces a lost node of a proxy by itself.
 * - `ClientConnections`. AWS and ours: clients that are connected, the console's own left out.
 * - `ProxyDatabaseConnections` (`DatabaseConnections` of the proxy) and `MaxDatabaseConnectionsAllowed`. AWS: of the
 *   one pool that all clients share. Ours: of the fullest pool, as PgBouncer has one of `pooling.poolSize` for each
 *   user; while its reserve is in use it counts as allowed.
 * - `DatabaseConnectionsBorrowLatency`. AWS: mean time to get a database connection. Ours: time that clients waited
 *   over the connections that they got since the previous sample, or the time that one waits now if that is longer.
 *   Absent without a previous sample, and when nothing was borrowed.
 *
 * All but the first are absent while PgBouncer does not answer; all are on a machine without it.
 */
export const pooler: Measure = {
  metrics: [
    "AvailabilityPercentage",
    "ClientConnections",
    "ProxyDatabaseConnections",
    "MaxDatabaseConnectionsAllowed",
    "DatabaseConnectionsBorrowLatency",
  ],
  start() {
    let previous: WaitSample | undefined;
    return async ({ state, config, askPooler }) => {
      const { primary } = state;
      const place = state.poolers?.find(({ name }) => name === primary.name);
      if (place === undefined) return [];
      const [available, views] = await Promise.all([
        bothAnswer(place, primary),
        askPooler(place, ["POOLS", "STATS"]),
      ]);
      const [pools = [], stats = []] = views ?? [];
      const sample = views === undefined ? undefined : sampleOf(place.pid, stats);
      const latency =
        sample && borrowLatency(previous?.pid === place.pid ? previous : undefined, sample, pools);
      previous = sample;
      return [
        ofProxy("AvailabilityPercentage", primary.name, available ? 100 : 0),
        ...(views === undefined ? [] : counts(primary.name, pools, config.pooling.poolSize)),
        ...(latency === undefined
          ? []
          : [ofProxy("DatabaseConnectionsBorrowLatency", primary.name, latency)]),
      ];
    };
  },
};

async function bothAnswer(...places: readonly { port: number }[]): Promise<boolean> {
  const answers = places.map(({ port }) => answersLogin({ host: "127.0.0.1", port }, answerMilliseconds));
  return (await Promise.all(answers)).every(Boolean);
}

function sampleOf(pid: number, stats: readonly ConsoleRow[]): WaitSample {
  const total = (column: string) => stats.reduce((sum, row) => sum + countOf(row, column), 0);
  return {
    pid,
    waitMicroseconds: total("total_wait_time"),
    // Until 1.23, connections that were given to a client are counted by transactions.
    borrows: total("total_server_assignment_count") || total("total_xact_count"),
  };
}

const serverColumns = ["sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login"];

function counts(name: string, pools: readonly ConsoleRow[], poolSize: number): Measurement[] {
  const sum = (row: ConsoleRow, columns: readonly string[]) =>
    columns.reduce((total, column) => total + numberOf("POOLS", row, column), 0);
  const clients = pools.reduce((total, row) => total + sum(row, ["cl_active", "cl_waiting"]), 0);
  const fullest = Math.max(0, ...pools.map((row) => sum(row, serverColumns)));
  return [
    ofProxy("ClientConnections", name, clients),
    ofProxy("ProxyDatabaseConnections", name, fullest),
    ofProxy("MaxDatabaseConnectionsAllowed", name, Math.max(poolSize, fullest)),
  ];
}

/** In microseconds. */
function borrowLatency(
  before: WaitSample | undefined,
  now: WaitSample,
  pools: readonly ConsoleRow[],
): number | undefined {
  const longest = Math.max(
    0,
    ...pools.map((row) => countOf(row, "maxwait") * 1e6 + countOf(row, "maxwait_us")),
  );
  const borrows = now.borrows - (before?.borrows ?? now.borrows);
  const waited = now.waitMicroseconds - (before?.waitMicroseconds ?? now.waitMicroseconds);
  if (borrows <= 0 && waited <= 0) return longest > 0 ? longest : undefined;
  // A transaction counts when its connection is given back, a wait before.
  return Math.max(longest, waited / Math.max(1, borrows));
}
