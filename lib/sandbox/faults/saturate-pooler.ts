import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../../errors.ts";
import { connect } from "../../postgres/connect.ts";
import { waitUntil } from "../processes.ts";
import type { PoolerState, SandboxState } from "../state.ts";
import { every } from "./every.ts";
import type { Fault } from "./fault.ts";
import { sessionName } from "./held-sessions.ts";

const name = "saturate-pooler";
/** Clients beyond those that get a connection. */
const waiters = 5;
/** How long a client keeps its transaction open: four times as long as others wait before the reserve is opened. */
const holdMilliseconds = 20_000;
/** PgBouncer opens its reserve after five seconds, one connection after the other. */
const fillMilliseconds = 15_000;
const retryMilliseconds = 50;

export const saturatePooler: Fault = {
  name,
  alarms: ["proxy-connections-used", "proxy-borrow-latency", "idle-in-transaction"],
  summary: `let more clients than there are connections keep transactions open through the primary's PgBouncer for ${holdMilliseconds / 1_000} s each: every server connection is taken, the reserve too, and ${waiters} clients always wait`,
  apply: async ({ state, held, signal }) => {
    const pooler = primaryPooler(state);
    const details = { pooler: pooler.name, port: pooler.port };
    if (held.goesOn(name)) {
      return { outcome: "already-applied", message: `the pooler of ${pooler.name} is full already`, details };
    }
    const size = await serverConnections(pooler);
    let holding = 0;
    for (let client = 0; client < size + waiters; client++) {
      held.goOn(name, signal, (stopped) =>
        every(retryMilliseconds, stopped, () =>
          // The client of a full pool gets an error after a while, and tries again.
          transaction(state, pooler, stopped, (change) => {
            holding += change;
          }).catch(() => {}),
        ),
      );
    }
    await waitUntil(async () => holding >= size || signal.aborted, fillMilliseconds);
    if (holding === 0) {
      await held.end(name, state);
      throw new PgkeepError("refused", `no client gets through the pooler of ${pooler.name}`, {
        remedy: "repair it first: `pgkeep sandbox fault crash-pooler:primary --repair`",
      });
    }
    return {
      outcome: "applied",
      message: `clients keep ${holding} of the ${size} connections of the pooler of ${pooler.name}, and ${size + waiters - holding} wait`,
      details: { ...details, holding, serverConnections: size, clients: size + waiters },
    };
  },
  repair: async ({ state, held }) => {
    const details = { poolers: (state.poolers ?? []).map((pooler) => pooler.name) };
    const wasOn = await held.stop(name);
    await held.end(name, state);
    return wasOn
      ? { outcome: "repaired", message: "the clients of saturate-pooler have gone", details }
      : { outcome: "not-applied", message: "saturate-pooler has no clients", details };
  },
};

async function transaction(
  state: SandboxState,
  pooler: PoolerState,
  signal: AbortSignal,
  count: (change: 1 | -1) => void,
): Promise<void> {
  const session = await connect(
    {
      host: "127.0.0.1",
      port: pooler.port,
      database: state.database,
      ...state.application.writer,
      applicationName: sessionName(name),
    },
    { pooled: true, signal },
  );
  let holds = false;
  try {
    await session.query("begin");
    await session.query("set local idle_in_transaction_session_timeout = 0");
    holds = true;
    count(1);
    await delay(holdMilliseconds, undefined, { signal });
    await session.query("commit");
  } finally {
    if (holds) count(-1);
    await session.close();
  }
}

/** @throws PgkeepError `refused` when the sandbox has none */
function primaryPooler(state: SandboxState): PoolerState {
  const pooler = (state.poolers ?? []).find((one) => one.name === state.primary.name);
  if (pooler !== undefined) return pooler;
  throw new PgkeepError("refused", "this sandbox has no pooler to fill", {
    remedy: "install PgBouncer and leave `pooling.enabled` on, then start the sandbox again",
  });
}

/** What the pool of one user may have on the server, the reserve included. */
async function serverConnections({ directory }: PoolerState): Promise<number> {
  const ini = await readFile(join(directory, "pgbouncer.ini"), "utf8");
  const setting = (key: string) => Number(new RegExp(`^${key} = (\\d+)$`, "m").exec(ini)?.[1] ?? 0);
  return setting("default_pool_size") + setting("reserve_pool_size");
}
