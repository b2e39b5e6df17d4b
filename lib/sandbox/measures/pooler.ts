import { countOf } from "../../pooling/console-rows.ts";
import { type Pool, readPooler } from "../../pooling/pools.ts";
import { consoleDatabase, openPoolerConsole } from "../../postgres/pooler-console.ts";
import { answersLogin } from "../../postgres/probe.ts";
import type { PoolerState } from "../state.ts";
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
 *   one pool that all clients share. Ours: of the fullest pool, as PgBouncer has one for each user; while its reserve
 *   is in use it counts as allowed.
 * - `DatabaseConnectionsBorrowLatency`. AWS: mean time to get a database connection. Ours: time that clients waited
 *   over the connections that they got since the previous sample, or the time that one waits now if that is longer. Absent
 *   without a previous sample, and when nothing was borrowed.
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
    return async ({ state }) => {
      const { primary } = state;
      const place = state.poolers?.find(({ name }) => name === primary.name);
      if (place === undefined) return [];
      const [available, console] = await Promise.all([
        bothAnswer(place, primary),
        readConsole(place).catch(() => undefined),
      ]);
      const measured = console === undefined ? [] : measurements(place, console, previous);
      previous = console?.sample;
      return [ofProxy("AvailabilityPercentage", primary.name, available ? 100 : 0), ...measured];
    };
  },
};

async function bothAnswer(...places: readonly { port: number }[]): Promise<boolean> {
  const answers = places.map(({ port }) => answersLogin({ host: "127.0.0.1", port }, answerMilliseconds));
  return (await Promise.all(answers)).every(Boolean);
}

interface Console {
  pools: readonly Pool[];
  sample: WaitSample;
}

async function readConsole({ port, pid, statsLogin }: PoolerState): Promise<Console | undefined> {
  if (statsLogin === undefined) return undefined;
  const target = { host: "127.0.0.1", port, database: consoleDatabase, ...statsLogin };
  const console = await openPoolerConsole(
    { ...target, connectTimeoutMilliseconds: answerMilliseconds },
    { queryTimeoutMilliseconds: answerMilliseconds },
  );
  try {
    const { pools } = await readPooler(console);
    const all = (await console.show("STATS")) ?? [];
    const rows = all.filter(({ database }) => database !== consoleDatabase);
    const total = (column: string) => rows.reduce((sum, row) => sum + countOf(row, column), 0);
    const sample = {
      pid,
      waitMicroseconds: total("total_wait_time"),
      // Until 1.23, connections that were given to a client are counted by transactions.
      borrows: total("total_server_assignment_count") || total("total_xact_count"),
    };
    return { pools, sample };
  } finally {
    await console.close();
  }
}

function measurements(
  { name, pid }: PoolerState,
  { pools, sample }: Console,
  previous: WaitSample | undefined,
): Measurement[] {
  const clients = pools.reduce((sum, pool) => sum + pool.clients.active + pool.clients.waiting, 0);
  const latency = borrowLatency(previous?.pid === pid ? previous : undefined, sample, pools);
  return [
    ofProxy("ClientConnections", name, clients),
    ...fullest(name, pools),
    ...(latency === undefined ? [] : [ofProxy("DatabaseConnectionsBorrowLatency", name, latency)]),
  ];
}

function fullest(name: string, pools: readonly Pool[]): Measurement[] {
  const filled = pools.flatMap(({ size, servers: { total } }) =>
    size === null || size === 0 ? [] : [{ used: total, allowed: Math.max(size, total), share: total / size }],
  );
  const [first] = filled.sort((a, b) => b.share - a.share);
  if (first === undefined) return [];
  return [
    ofProxy("ProxyDatabaseConnections", name, first.used),
    ofProxy("MaxDatabaseConnectionsAllowed", name, first.allowed),
  ];
}

/** In microseconds. */
function borrowLatency(
  before: WaitSample | undefined,
  now: WaitSample,
  pools: readonly Pool[],
): number | undefined {
  const longest = Math.max(0, ...pools.map(({ maxWaitSeconds }) => maxWaitSeconds * 1e6));
  if (before === undefined) return longest > 0 ? longest : undefined;
  const borrows = now.borrows - before.borrows;
  const waited = now.waitMicroseconds - before.waitMicroseconds;
  if (borrows <= 0 && waited <= 0) return longest > 0 ? longest : undefined;
  // A transaction counts when its connection is given back, a wait before.
  return Math.max(longest, waited / Math.max(1, borrows));
}
