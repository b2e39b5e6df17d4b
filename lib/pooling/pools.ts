import { PgkeepError } from "../errors.ts";
import type { ConsoleRow, ConsoleView, PoolerConsole } from "../ports/pooler-console.ts";
import { ageBy, countOf, maybeNumber, numberOf, textOf } from "./console-rows.ts";

/** One pool: the server connections of one user of one database, and who shares them. */
export interface Pool {
  database: string;
  user: string;
  mode: string;
  clients: { active: number; waiting: number; cancelling: number };
  /** By state; `total` are all of them. */
  servers: {
    active: number;
    idle: number;
    used: number;
    tested: number;
    login: number;
    cancelling: number;
    total: number;
  };
  /** `pool_size` as it holds for this pool: the user's own, else the database's. */
  size: number | null;
  reserveSize: number | null;
  /** Longest time that a client has waited so far. */
  maxWaitSeconds: number;
}

export interface PooledDatabase {
  /** As clients name it, and as the server does. */
  name: string;
  database: string;
  /** As whom every client of it reaches the server, where that is set. */
  forceUser: string | null;
  host: string | null;
  port: number | null;
  poolSize: number;
  reserveSize: number | null;
  /** Server connections; null is unlimited. */
  maxConnections: number | null;
  connections: number | null;
  paused: boolean;
  disabled: boolean;
}

export interface PoolClient {
  database: string;
  user: string;
  application: string;
  /** `host:port` of the client. */
  address: string;
}

export interface WaitingClient extends PoolClient {
  waitSeconds: number;
}

/** A client that has a server connection to itself. */
export interface Holder extends PoolClient {
  /** `running` a statement, or `idle`: in its transaction, or in its session where the pool's mode is session. */
  state: "running" | "idle";
  /** For how long it has been so; null when the console does not tell. */
  seconds: number | null;
  mode: string;
  clientConnectedSeconds: number | null;
  serverConnectedSeconds: number | null;
  server: {
    host: string;
    port: number;
    /** As the server said it at login; a number without meaning when the server is a pooler too. */
    pid: number;
    /** The pooler's own end: `client_port` in `pg_stat_activity`; 0 for a Unix socket. */
    localPort: number;
  };
  /** Its newest statement without data, where the server could be asked. */
  statement?: string;
}

/** Means over PgBouncer's last `stats_period`. */
export interface DatabaseAverages {
  database: string;
  transactionsPerSecond: number;
  queriesPerSecond: number;
  receivedBytesPerSecond: number;
  sentBytesPerSecond: number;
  transactionMilliseconds: number;
  queryMilliseconds: number;
  waitMilliseconds: number;
}

/** What one PgBouncer says of itself at one moment. */
export interface PoolerView {
  version: string;
  /** Of the whole pooler; null where this version does not tell. */
  state: "active" | "paused" | "suspended" | null;
  /** Connections that count against `max_client_conn`, without the one that asks. */
  clients: { used: number; max: number };
  /** Who has them, the most first. */
  applications: { application: string; user: string; host: string; clients: number }[];
  config: Record<string, string>;
  databases: PooledDatabase[];
  pools: Pool[];
  waiting: WaitingClient[];
  holders: Holder[];
  averages: DatabaseAverages[];
}

/** Of `SHOW CONFIG`: the others may hold passwords (LDAP) or queries. */
const shownSettings = [
  "auth_type",
  "client_idle_timeout",
  "client_tls_sslmode",
  "default_pool_size",
  "idle_transaction_timeout",
  "max_client_conn",
  "max_db_connections",
  "max_prepared_statements",
  "max_user_connections",
  "min_pool_size",
  "pool_mode",
  "query_timeout",
  "query_wait_timeout",
  "reserve_pool_size",
  "reserve_pool_timeout",
  "server_idle_timeout",
  "server_lifetime",
  "server_tls_sslmode",
  "stats_period",
  "transaction_timeout",
];

/** The console's own database and pool. */
const ownDatabase = "pgbouncer";

/**
 * Reads the whole state by `SHOW`. Columns go by name: 1.18 splits cancelled connections from the others, 1.24
 * renames `reserve_pool` and calls clients without a server connection `idle`.
 * @throws PgkeepError `unsupported-server` when a column is missing, `unreachable`
 */
export async function readPooler(console: PoolerConsole): Promise<PoolerView> {
  const rows = async (view: ConsoleView): Promise<ConsoleRow[]> => {
    const found = await console.show(view);
    if (found !== undefined) return found;
    throw new PgkeepError("unsupported-server", `PgBouncer's console knows no SHOW ${view}`, {
      remedy: "pgkeep reads the console of PgBouncer 1.16 and later",
    });
  };
  // One after the other: the console answers nothing else meanwhile.
  const version = (await rows("VERSION")).map((row) => textOf("VERSION", row, "version"))[0] ?? "";
  const state = stateOf(await console.show("STATE"));
  const config = settingsOf(await rows("CONFIG"));
  const databases = (await rows("DATABASES")).map(databaseOf).filter(({ name }) => name !== ownDatabase);
  const users = await console.show("USERS");
  const poolRows = await rows("POOLS");
  const clients = await rows("CLIENTS");
  const servers = await rows("SERVERS");
  const waiting = waitingOf(clients);
  const pools = poolRows
    .filter(({ database }) => database !== ownDatabase)
    .map((row) => poolOf(row, databases, users ?? [], waiting));
  const lists = await rows("LISTS");
  const used = lists.find(({ list }) => list === "used_clients");
  return {
    version: version.replace(/^PgBouncer /, ""),
    state,
    clients: {
      used: (used === undefined ? clients.length : numberOf("LISTS", used, "items")) - 1,
      max: Number(config.max_client_conn),
    },
    applications: applicationsOf(clients),
    config,
    databases,
    pools,
    waiting,
    holders: holdersOf(clients, servers, pools),
    averages: (await rows("STATS")).map(averagesOf).filter(({ database }) => database !== ownDatabase),
  };
}

function stateOf(rows: ConsoleRow[] | undefined): PoolerView["state"] {
  const on = (name: string) => rows?.some(({ key, value }) => key === name && value === "yes") === true;
  if (on("suspended")) return "suspended";
  if (on("paused")) return "paused";
  return on("active") ? "active" : null;
}

function settingsOf(rows: ConsoleRow[]): Record<string, string> {
  return Object.fromEntries(
    rows
      .filter(({ key }) => shownSettings.includes(key ?? ""))
      .map((row) => [textOf("CONFIG", row, "key"), row.value ?? ""]),
  );
}

function databaseOf(row: ConsoleRow): PooledDatabase {
  const max = maybeNumber(row, "max_connections");
  return {
    name: textOf("DATABASES", row, "name"),
    database: row.database ?? textOf("DATABASES", row, "name"),
    forceUser: row.force_user ?? null,
    host: row.host ?? null,
    port: maybeNumber(row, "port"),
    poolSize: numberOf("DATABASES", row, "pool_size"),
    reserveSize: maybeNumber(row, "reserve_pool_size", "reserve_pool"),
    maxConnections: max === 0 ? null : max,
    connections: maybeNumber(row, "current_connections"),
    paused: countOf(row, "paused") > 0,
    disabled: countOf(row, "disabled") > 0,
  };
}

function poolOf(
  row: ConsoleRow,
  databases: readonly PooledDatabase[],
  users: readonly ConsoleRow[],
  waiting: readonly WaitingClient[],
): Pool {
  const count = (column: string) => numberOf("POOLS", row, column);
  const database = textOf("POOLS", row, "database");
  const user = textOf("POOLS", row, "user");
  const ofDatabase = databases.find(({ name }) => name === database);
  const ofUser = users.find(({ name }) => name === user) ?? {};
  const isHere = (client: PoolClient) =>
    client.database === database && (ofDatabase?.forceUser ?? client.user) === user;
  const servers = {
    active: count("sv_active"),
    idle: count("sv_idle"),
    used: count("sv_used"),
    tested: count("sv_tested"),
    login: count("sv_login"),
    cancelling: countOf(row, "sv_active_cancel") + countOf(row, "sv_being_canceled"),
  };
  return {
    database,
    user,
    mode: row.pool_mode ?? "unknown",
    clients: {
      active: count("cl_active"),
      waiting: count("cl_waiting"),
      cancelling:
        countOf(row, "cl_cancel_req") +
        countOf(row, "cl_active_cancel_req") +
        countOf(row, "cl_waiting_cancel_req"),
    },
    servers: { ...servers, total: Object.values(servers).reduce((sum, one) => sum + one, 0) },
    size: maybeNumber(ofUser, "pool_size") ?? ofDatabase?.poolSize ?? null,
    reserveSize: maybeNumber(ofUser, "reserve_pool_size") ?? ofDatabase?.reserveSize ?? null,
    maxWaitSeconds: Math.max(
      count("maxwait") + countOf(row, "maxwait_us") / 1e6,
      ...waiting.filter(isHere).map(({ waitSeconds }) => waitSeconds),
    ),
  };
}

function clientOf(row: ConsoleRow): PoolClient {
  return {
    database: textOf("CLIENTS", row, "database"),
    user: textOf("CLIENTS", row, "user"),
    application: row.application_name ?? "",
    address: `${row.addr ?? "?"}:${row.port ?? "?"}`,
  };
}

/** Of a client that waits, since it waits; of one that has a server, since its statement came; 0 without a statement. */
function statementSeconds(row: ConsoleRow): number {
  return numberOf("CLIENTS", row, "wait") + countOf(row, "wait_us") / 1e6;
}

/** A client that has been let in to no server yet has no statement: it waits since its last message. */
function waitingOf(clients: readonly ConsoleRow[]): WaitingClient[] {
  const age = ageBy(clients);
  return clients
    .filter(({ state }) => state === "waiting")
    .map((row) => ({ ...clientOf(row), waitSeconds: statementSeconds(row) || (age(row.request_time) ?? 0) }))
    .sort((a, b) => b.waitSeconds - a.waitSeconds);
}

function applicationsOf(clients: readonly ConsoleRow[]): PoolerView["applications"] {
  const found = new Map<string, PoolerView["applications"][number]>();
  for (const row of clients) {
    const { database, application, user } = clientOf(row);
    if (database === ownDatabase) continue;
    const host = row.addr ?? "?";
    const key = JSON.stringify([application, user, host]);
    const known = found.get(key) ?? { application, user, host, clients: 0 };
    known.clients += 1;
    found.set(key, known);
  }
  return [...found.values()].sort((a, b) => b.clients - a.clients);
}

function holdersOf(
  clients: readonly ConsoleRow[],
  servers: readonly ConsoleRow[],
  pools: readonly Pool[],
): Holder[] {
  const age = ageBy([...clients, ...servers]);
  const byPointer = new Map(clients.map((row) => [row.ptr, row]));
  return servers
    .flatMap((server): Holder[] => {
      const client = server.link === "" ? undefined : byPointer.get(server.link);
      if (client === undefined || client.link !== server.ptr) return [];
      const running = statementSeconds(client);
      const described = clientOf(client);
      return [
        {
          ...described,
          state: running > 0 ? "running" : "idle",
          seconds: running > 0 ? running : age(client.request_time, server.request_time),
          mode:
            pools.find(({ database, user }) => database === described.database && user === server.user)
              ?.mode ?? "unknown",
          clientConnectedSeconds: age(client.connect_time),
          serverConnectedSeconds: age(server.connect_time),
          server: {
            host: server.addr ?? "?",
            port: countOf(server, "port"),
            pid: countOf(server, "remote_pid"),
            localPort: countOf(server, "local_port"),
          },
        },
      ];
    })
    .sort((a, b) => (b.seconds ?? 0) - (a.seconds ?? 0));
}

function averagesOf(row: ConsoleRow): DatabaseAverages {
  const milliseconds = (column: string) => countOf(row, column) / 1000;
  return {
    database: textOf("STATS", row, "database"),
    transactionsPerSecond: countOf(row, "avg_xact_count"),
    queriesPerSecond: countOf(row, "avg_query_count"),
    receivedBytesPerSecond: countOf(row, "avg_recv"),
    sentBytesPerSecond: countOf(row, "avg_sent"),
    transactionMilliseconds: milliseconds("avg_xact_time"),
    queryMilliseconds: milliseconds("avg_query_time"),
    waitMilliseconds: milliseconds("avg_wait_time"),
  };
}
