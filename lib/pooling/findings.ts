import type { Json } from "../json.ts";
import { countText, durationText } from "../words.ts";
import type { Holder, Pool, PoolerView } from "./pools.ts";

export type PoolSeverity = "critical" | "high" | "medium" | "low";

export type PoolFindingKind =
  | "pool-saturated"
  | "clients-waiting"
  | "pool-nearly-used"
  | "database-limit"
  | "client-limit"
  | "held"
  | "paused"
  | "disabled"
  | "unavailable"
  | "borrow-latency"
  | "pinned";

/** One thing that is wrong with a pooler, and what to do. */
export interface PoolFinding {
  kind: PoolFindingKind;
  /** Stable across runs for the same fault of the same object. */
  key: string;
  severity: PoolSeverity;
  title: string;
  /** The numbers that show it. */
  evidence: { [key: string]: Json };
  impact: string;
  /** One step a line, the first is the first to try. */
  remedy: string[];
}

/** From the configuration: `health.*` */
export interface PoolLimits {
  /** `health.poolWaitSeconds` */
  waitSeconds: number;
  /** `health.connectionsPercent` */
  usedPercent: number;
  /** `health.idleInTransactionSeconds` */
  idleSeconds: number;
  /** `health.longQueryWarnSeconds` and `health.longQueryTicketSeconds` */
  longWarnSeconds: number;
  longTicketSeconds: number;
}

/** At most this many holders are reported one by one. */
const shownHolders = 20;

const quoted = (text: string) => JSON.stringify(text);
const nameOf = ({ database, user }: { database: string; user: string }) =>
  `${quoted(user)} on ${quoted(database)}`;

/** What is wrong, the worst first. */
export function poolFindings(view: PoolerView, limits: PoolLimits): PoolFinding[] {
  const findings = [
    ...stopped(view),
    ...clientLimit(view, limits),
    ...databaseLimits(view),
    ...view.pools.flatMap((pool) => waiting(pool, view, limits)),
    ...view.holders.flatMap((holder) => held(holder, limits)).slice(0, shownHolders),
  ];
  return worstFirst(findings);
}

export function worstFirst(findings: readonly PoolFinding[]): PoolFinding[] {
  const order: PoolSeverity[] = ["critical", "high", "medium", "low"];
  return [...findings].sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
}

function stopped({ state, databases, pools }: PoolerView): PoolFinding[] {
  const whole: PoolFinding[] =
    state === "paused" || state === "suspended"
      ? [
          {
            kind: "paused",
            key: "paused",
            severity: "critical",
            title: `the whole pooler is ${state}`,
            evidence: { state },
            impact: "Every client waits until query_wait_timeout, then loses its connection.",
            remedy: ["when the maintenance is over, give the console RESUME;"],
          },
        ]
      : [];
  return [
    ...whole,
    ...databases.flatMap(({ name, paused, disabled }): PoolFinding[] => {
      const clientsWaiting = pools
        .filter(({ database }) => database === name)
        .reduce((sum, { clients }) => sum + clients.waiting, 0);
      const found = (kind: "paused" | "disabled", impact: string, command: string): PoolFinding => ({
        kind,
        key: `${kind}/${name}`,
        severity: clientsWaiting > 0 ? "critical" : "high",
        title: `the database ${quoted(name)} is ${kind}`,
        evidence: { database: name, clientsWaiting },
        impact,
        remedy: [`when the maintenance is over, give the console ${command} ${consoleName(name)};`],
      });
      return [
        ...(paused
          ? [
              found(
                "paused",
                "Its clients wait until query_wait_timeout, then lose their connection.",
                "RESUME",
              ),
            ]
          : []),
        ...(disabled ? [found("disabled", "New clients of it are refused.", "ENABLE")] : []),
      ];
    }),
  ];
}

/** The console's commands take a word, or a name in quotes. */
function consoleName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_-]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

function clientLimit(
  { clients: { used, max }, applications }: PoolerView,
  { usedPercent }: PoolLimits,
): PoolFinding[] {
  const percent = (100 * used) / max;
  if (!(max > 0) || percent < usedPercent) return [];
  return [
    {
      kind: "client-limit",
      key: "client-limit",
      severity: used >= max ? "critical" : "high",
      title: `${used} of ${max} client connections are in use`,
      evidence: { used, max, percent: Math.round(percent) },
      impact: "At max_client_conn further clients are refused.",
      remedy: [
        `look for an application that opens connections and does not close them: ${most(applications)}`,
        "raise max_client_conn (pooling.maxClientConnections) and the limit of open files of PgBouncer",
      ],
    },
  ];
}

function most(applications: PoolerView["applications"]): string {
  return applications
    .slice(0, 3)
    .map(({ application, host, clients }) => `${quoted(application)} from ${host} has ${clients}`)
    .join(", ");
}

function databaseLimits({ databases, pools }: PoolerView): PoolFinding[] {
  return databases.flatMap(({ name, maxConnections, connections }) => {
    if (maxConnections === null || connections === null || connections < maxConnections) return [];
    const clientsWaiting = pools
      .filter(({ database }) => database === name)
      .reduce((sum, { clients }) => sum + clients.waiting, 0);
    return [
      {
        kind: "database-limit" as const,
        key: `database-limit/${name}`,
        severity: clientsWaiting > 0 ? ("high" as const) : ("low" as const),
        title: `all ${maxConnections} server connections that ${quoted(name)} may have are open`,
        evidence: { database: name, connections, maxConnections, clientsWaiting },
        impact: "Its pools take connections from each other, however large pool_size is.",
        remedy: ["raise max_db_connections, or lower the pool_size of the users that need less"],
      },
    ];
  });
}

function waiting(pool: Pool, view: PoolerView, limits: PoolLimits): PoolFinding[] {
  const { clients, servers, size, reserveSize, maxWaitSeconds } = pool;
  const inUse = servers.active + servers.cancelling + servers.tested;
  const timeout = Number(view.config.query_wait_timeout ?? 0);
  const database = view.databases.find(({ name }) => name === pool.database);
  const evidence = {
    database: pool.database,
    user: pool.user,
    clientsWaiting: clients.waiting,
    maxWaitSeconds: Math.round(maxWaitSeconds * 10) / 10,
    serversInUse: inUse,
    poolSize: size,
    reserveSize,
    queryWaitTimeoutSeconds: timeout,
  };
  if (size === null) return [];
  if (clients.waiting > 0 && inUse >= size) {
    return [
      {
        kind: "pool-saturated",
        key: `pool-saturated/${pool.database}/${pool.user}`,
        severity: waitSeverity(maxWaitSeconds, timeout, limits) ?? "medium",
        title: `the pool of ${nameOf(pool)} is used up: ${countText(clients.waiting, "client waits", "clients wait")}, the longest for ${durationText(maxWaitSeconds)}, for ${size === 1 ? "the 1 server connection" : `the ${size} server connections`}`,
        evidence,
        impact: whatWaitingMeans(timeout),
        remedy: [
          'end what holds server connections for long: see the findings "held" and `pgkeep health`',
          "only when all of them work: raise pool_size (pooling.poolSize), as far as the server's max_connections and cores allow",
        ],
      },
    ];
  }
  const explained =
    database?.paused === true || view.state === "paused" || view.state === "suspended" || isAtLimit(database);
  const severity = clients.waiting > 0 ? waitSeverity(maxWaitSeconds, timeout, limits) : undefined;
  if (severity !== undefined && !explained) {
    const opening = servers.total === 0 || servers.login > 0;
    return [
      {
        kind: "clients-waiting",
        key: `clients-waiting/${pool.database}/${pool.user}`,
        severity,
        title: `${countText(clients.waiting, "client waits", "clients wait")} for the pool of ${nameOf(pool)}, the longest for ${durationText(maxWaitSeconds)}, though only ${inUse} of ${size} server connections are in use`,
        evidence: { ...evidence, serversLogin: servers.login },
        impact: whatWaitingMeans(timeout),
        remedy: opening
          ? [
              `PgBouncer gets no connection to ${database?.host ?? "the server"}:${database?.port ?? "?"}: see whether the server runs, accepts connections and knows the password (pgkeep health, PgBouncer's log)`,
            ]
          : ["see PgBouncer's log, and whether max_user_connections or max_db_connections is reached"],
      },
    ];
  }
  const percent = (100 * inUse) / size;
  if (clients.waiting > 0 || percent < limits.usedPercent) return [];
  return [
    {
      kind: "pool-nearly-used",
      key: `pool-nearly-used/${pool.database}/${pool.user}`,
      severity: "low",
      title: `${inUse} of ${size} server connections of ${nameOf(pool)} are in use`,
      evidence,
      impact: "The next clients wait.",
      remedy: ["watch it; with clients that wait, look for long transactions before raising pool_size"],
    },
  ];
}

function isAtLimit(database: PoolerView["databases"][number] | undefined): boolean {
  const { maxConnections = null, connections = null } = database ?? {};
  return maxConnections !== null && connections !== null && connections >= maxConnections;
}

/** Critical when half of the time is gone after which PgBouncer disconnects whoever waits. */
function waitSeverity(seconds: number, timeout: number, limits: PoolLimits): PoolSeverity | undefined {
  if (timeout > 0 && seconds >= timeout / 2) return "critical";
  return seconds >= limits.waitSeconds ? "high" : undefined;
}

function whatWaitingMeans(timeout: number): string {
  return timeout > 0
    ? `The wait comes on top of each transaction; after ${durationText(timeout)} (query_wait_timeout) the client loses its connection.`
    : "The wait comes on top of each transaction, and nothing ends it (query_wait_timeout is 0).";
}

function held(holder: Holder, limits: PoolLimits): PoolFinding[] {
  const seconds = holder.seconds ?? 0;
  const idle = holder.state === "idle";
  if (seconds < (idle ? limits.idleSeconds : limits.longWarnSeconds)) return [];
  const session = holder.mode === "session";
  const what = idle
    ? session
      ? "keeps its server connection and has sent nothing"
      : "has been idle in its transaction"
    : "has been waiting for its statement";
  const { server } = holder;
  return [
    {
      kind: "held",
      key: `held/${holder.database}/${holder.user}/${holder.address}`,
      severity:
        seconds >= limits.longTicketSeconds
          ? idle && !session
            ? "high"
            : "medium"
          : idle && !session
            ? "medium"
            : "low",
      title: `a client of ${nameOf(holder)} (${quoted(holder.application)}, ${holder.address}) ${what} for ${durationText(seconds)}`,
      evidence: {
        state: holder.state,
        seconds: Math.round(seconds),
        mode: holder.mode,
        client: holder.address,
        application: holder.application,
        clientConnectedSeconds: holder.clientConnectedSeconds,
        serverConnectedSeconds: holder.serverConnectedSeconds,
        server: `${server.host}:${server.port}`,
        serverPid: server.pid,
        ...(holder.statement === undefined ? {} : { statement: holder.statement }),
      },
      impact:
        idle && !session
          ? "One server connection of the pool is lost to all others, and its locks stay."
          : "One server connection of the pool is lost to all others.",
      remedy: [
        ...(idle && session
          ? ["use pool_mode = transaction where the application keeps nothing in its session"]
          : []),
        `to end it, on ${server.host}:${server.port}: ${endSession(holder)}`,
        ...(idle && !session
          ? [
              "find the transaction that the application leaves open; idle_in_transaction_session_timeout of its role ends such ones",
            ]
          : []),
        ...(idle
          ? []
          : ["see what it waits for: `pgkeep health` shows long statements and blocked sessions"]),
      ],
    },
  ];
}

/** The pooler's own port makes sure that it is the same session still, and that behind another pooler it is nobody's. */
function endSession({ server: { pid, localPort } }: Holder): string {
  return `select pg_terminate_backend(pid) from pg_stat_activity where pid = ${pid} and client_port = ${localPort === 0 ? -1 : localPort};`;
}
