import { printable } from "../checks/describe-health.ts";
import type { PoolFinding } from "../pooling/findings.ts";
import type { Holder, Pool, PoolerView, WaitingClient } from "../pooling/pools.ts";
import { milliseconds } from "../pooling/proxy.ts";
import type { ProxyLevels } from "../ports/proxy-metrics.ts";
import { bytesText, countText, durationText } from "../words.ts";
import type { Cli } from "./cli.ts";
import type { PoolerReport, PoolersReport, ProxyReport } from "./pools.ts";

type Tables = Pick<Cli, "table">;

/** At most this many waiting clients and holders are listed. */
const shown = 10;

/** Each pooler as text for people: what is wrong first, then what was seen. */
export function poolersText({ poolers }: PoolersReport, cli: Tables): string {
  return poolers.map((pooler) => poolerText(pooler, cli)).join("\n\n");
}

function poolerText(pooler: PoolerReport, cli: Tables): string {
  const title = pooler.name === pooler.address ? pooler.address : `${pooler.name} (${pooler.address})`;
  if ("problem" in pooler) return `${title}: not assessable: ${printable(pooler.problem.message)}`;
  const { clients, waiting, findings } = pooler;
  return [
    `${title}: PgBouncer ${printable(pooler.version)}${pooler.state === null || pooler.state === "active" ? "" : `, ${pooler.state}`}: ${summary(findings)}; ${clients.used} of ${clients.max} clients, ${countText(waiting.length, "waits", "wait")}`,
    ...findingLines(findings),
    ...section(
      "Pools",
      [
        "database",
        "user",
        "mode",
        "clients",
        "waiting",
        "longest",
        "servers",
        "in use",
        "idle",
        "login",
        "size",
      ],
      pooler.pools.map(poolRow),
      cli,
    ),
    ...section(
      "Waiting clients",
      ["client", "application", "user", "database", "for"],
      waiting.map(waitingRow),
      cli,
    ),
    ...section(
      "Holding a server connection",
      ["client", "application", "user", "database", "state", "for", "server pid", "statement"],
      pooler.holders.map(holderRow),
      cli,
    ),
    ...section(
      `Averages over ${pooler.config.stats_period ?? "?"} s`,
      ["database", "transactions/s", "queries/s", "transaction", "query", "wait", "received/s", "sent/s"],
      pooler.averages.map(averageRow),
      cli,
    ),
  ].join("\n");
}

function summary(findings: readonly PoolFinding[]): string {
  return findings.length === 0 ? "nothing found" : countText(findings.length, "finding");
}

function findingLines(findings: readonly PoolFinding[]): string[] {
  return findings.flatMap(({ severity, kind, title, impact, remedy }) => [
    "",
    `${severity.toUpperCase()} ${kind}: ${printable(title)}`,
    `  Means: ${printable(impact)}`,
    "  What to do:",
    ...remedy.map((line) => `    ${printable(line)}`),
  ]);
}

function section(title: string, head: string[], rows: string[][], cli: Tables): string[] {
  if (rows.length === 0) return [];
  const rest = rows.length > shown && title !== "Pools" ? rows.length - shown : 0;
  const listed = rest === 0 ? rows : rows.slice(0, shown);
  return ["", title, cli.table(head, listed), ...(rest === 0 ? [] : [`… and ${rest} more (--json has all)`])];
}

function poolRow({
  database,
  user,
  mode,
  clients,
  servers,
  size,
  reserveSize,
  maxWaitSeconds,
}: Pool): string[] {
  return [
    printable(database),
    printable(user),
    mode,
    String(clients.active + clients.waiting),
    String(clients.waiting),
    clients.waiting === 0 ? "" : durationText(maxWaitSeconds),
    String(servers.total),
    String(servers.active + servers.cancelling + servers.tested),
    String(servers.idle + servers.used),
    String(servers.login),
    `${size ?? "?"}${(reserveSize ?? 0) > 0 ? ` + ${reserveSize}` : ""}`,
  ];
}

function waitingRow(client: WaitingClient): string[] {
  return [
    client.address,
    printable(client.application),
    printable(client.user),
    printable(client.database),
    durationText(client.waitSeconds),
  ];
}

function holderRow(holder: Holder): string[] {
  return [
    holder.address,
    printable(holder.application),
    printable(holder.user),
    printable(holder.database),
    holder.state === "running" ? "running" : holder.mode === "session" ? "idle" : "idle in transaction",
    holder.seconds === null ? "?" : durationText(holder.seconds),
    String(holder.server.pid),
    printable(holder.statement ?? "").slice(0, 60),
  ];
}

function averageRow(of: PoolerView["averages"][number]): string[] {
  return [
    printable(of.database),
    String(of.transactionsPerSecond),
    String(of.queriesPerSecond),
    milliseconds(of.transactionMilliseconds / 1000),
    milliseconds(of.queryMilliseconds / 1000),
    milliseconds(of.waitMilliseconds / 1000),
    bytesText(of.receivedBytesPerSecond),
    bytesText(of.sentBytesPerSecond),
  ];
}

const levels: [name: string, key: keyof ProxyLevels, text: (value: number) => string][] = [
  ["clients connected", "clientConnections", count],
  ["clients that logged in, a minute", "clientsSetUp", count],
  ["database connections", "databaseConnections", count],
  ["  borrowed by a client", "borrowed", count],
  ["  pinned to a client", "pinned", count],
  ["  allowed", "maxDatabaseConnections", count],
  ["wait for a connection, mean", "borrowLatencySeconds", milliseconds],
  ["writer available", "availabilityPercent", (value) => `${Math.round(value * 10) / 10} %`],
  ["requests, a minute", "queryRequests", count],
];

function count(value: number): string {
  return String(Math.round(value));
}

/** The proxy as text for people. */
export function proxyText(report: ProxyReport, cli: Tables): string {
  const cell = (text: (value: number) => string, value: number | null) =>
    value === null ? "?" : text(value);
  return [
    `${report.proxy} in ${report.region}: RDS Proxy: ${summary(report.findings)}; minute of ${report.at.toISOString().replace(/:00\.000Z$/, "Z")}`,
    ...findingLines(report.findings),
    "",
    cli.table(
      ["", "now", `worst of ${durationText(report.windowSeconds)}`],
      levels.map(([name, key, text]) => [
        name,
        cell(text, report.latest[key]),
        cell(text, report.worst[key]),
      ]),
    ),
  ].join("\n");
}
