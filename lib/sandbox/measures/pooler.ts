import { type Pool, readPooler } from "../../pooling/pools.ts";
import { consoleDatabase, openPoolerConsole } from "../../postgres/pooler-console.ts";
import { answersLogin } from "../../postgres/probe.ts";
import type { PoolerState, SandboxState } from "../state.ts";
import { type Measure, type Measurement, ofProxy } from "./measure.ts";

interface WaitSample {
  /** Of all databases since PgBouncer began. */
  waitMicroseconds: number;
  transactions: number;
}

const answerMilliseconds = 1_000;

/**
 * PgBouncer stands for RDS Proxy; there is one before each server, while RDS Proxy stands before the writer only.
 * - `AvailabilityPercentage`. AWS: share of the time in which the target group could be used in its role. Ours: 100
 *   when PgBouncer and the server behind it answer at this moment, else 0, also when PgBouncer itself is gone; AWS
 *   replaces a lost node of a proxy by itself.
 * - `ClientConnections`. AWS and ours: clients that are connected, the console's own left out.
 * - `ProxyDatabaseConnections` (`DatabaseConnections` of the proxy) and `MaxDatabaseConnectionsAllowed`. AWS: of the
 *   one pool that all clients share. Ours: of the fullest pool, as PgBouncer has one for each user; while its reserve
 *   is in use it counts as allowed.
 * - `DatabaseConnectionsBorrowLatency`. AWS: mean time to get a database connection. Ours: time that clients waited
 *   over their transactions since the previous sample, or the time that one waits now if that is longer. Absent
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
    const samples = new Map<string, WaitSample & { pid: number }>();
    return async ({ state }) => {
      const measured = (state.poolers ?? []).map(async (one) => [
        ofProxy("AvailabilityPercentage", one.name, (await isAvailable(state, one)) ? 100 : 0),
        ...(await consoleMeasurements(one, samples).catch(() => [])),
      ]);
      return (await Promise.all(measured)).flat();
    };
  },
};

async function isAvailable(state: SandboxState, { name, port }: PoolerState): Promise<boolean> {
  const server = [state.primary, ...state.replicas].find((one) => one.name === name);
  if (server === undefined) return false;
  const answers = [port, server.port].map((one) =>
    answersLogin({ host: "127.0.0.1", port: one }, answerMilliseconds),
  );
  return (await Promise.all(answers)).every(Boolean);
}

async function consoleMeasurements(
  { name, port, pid, statsLogin }: PoolerState,
  samples: Map<string, WaitSample & { pid: number }>,
): Promise<Measurement[]> {
  if (statsLogin === undefined) return [];
  const console = await openPoolerConsole(
    {
      host: "127.0.0.1",
      port,
      database: consoleDatabase,
      ...statsLogin,
      connectTimeoutMilliseconds: answerMilliseconds,
    },
    { queryTimeoutMilliseconds: answerMilliseconds },
  );
  try {
    const { pools } = await readPooler(console);
    const rows = (await console.show("STATS")) ?? [];
    const total = (column: string) => rows.reduce((sum, row) => sum + Number(row[column] ?? 0), 0);
    const now = { waitMicroseconds: total("total_wait_time"), transactions: total("total_xact_count"), pid };
    const before = samples.get(name);
    samples.set(name, now);
    const latency = borrowLatency(before?.pid === pid ? before : undefined, now, pools);
    return [
      ofProxy(
        "ClientConnections",
        name,
        pools.reduce((sum, { clients }) => sum + clients.active + clients.waiting, 0),
      ),
      ...fullest(name, pools),
      ...(latency === undefined ? [] : [ofProxy("DatabaseConnectionsBorrowLatency", name, latency)]),
    ];
  } finally {
    await console.close();
  }
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
  const transactions = now.transactions - before.transactions;
  const waited = now.waitMicroseconds - before.waitMicroseconds;
  if (transactions > 0 && waited >= 0) return Math.max(longest, waited / transactions);
  return longest > 0 ? longest : undefined;
}
