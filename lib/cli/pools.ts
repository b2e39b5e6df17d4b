import type { Severity } from "../checks/check.ts";
import { severities } from "../checks/health.ts";
import { readBackends } from "../checks/sessions.ts";
import { systemClock } from "../clock.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import { type PoolFinding, type PoolLimits, poolFindings } from "../pooling/findings.ts";
import { type PoolerView, readPooler } from "../pooling/pools.ts";
import { proxyFindings, proxyLimits } from "../pooling/proxy.ts";
import type { Primary, Session } from "../ports/databases.ts";
import type { ProxyMeasurements, ProxyMetrics } from "../ports/proxy-metrics.ts";
import { type ConnectionTarget, connect } from "../postgres/connect.ts";
import { consoleTargetFromUrl, openPoolerConsole } from "../postgres/pooler-console.ts";
import { targetFromUrl } from "../postgres/url.ts";
import { sandboxEnvironment } from "../sandbox/environment.ts";
import type { SandboxState } from "../sandbox/state.ts";
import { findSandbox } from "../sandbox/state-file.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { deployedDatabase, withProxyMetrics } from "./deployed.ts";
import { parseSeverity } from "./health.ts";
import { onOption, several } from "./options.ts";
import { poolersText, proxyText } from "./pools-text.ts";

interface PoolsOptions extends GlobalOptions {
  pooler?: string[];
  failOn?: Severity;
}

/** One PgBouncer as it was asked. */
export type PoolerReport = { name: string; address: string } & (
  | ({ findings: PoolFinding[] } & PoolerView)
  | { problem: { code: string; message: string; remedy?: string } }
);

export interface PoolersReport {
  checkedAt: string;
  poolers: PoolerReport[];
}

export interface ProxyReport extends ProxyMeasurements {
  findings: PoolFinding[];
}

/** A pooler to ask, and where the sessions behind it can be looked up. */
export interface PoolerPlace {
  name: string;
  target: ConnectionTarget;
  /** Opens a session on the server behind the pooler, to name the statements of the clients that hold a connection. */
  server?: () => Promise<Session>;
}

/** `pgkeep pools`: who waits for a server connection, and who holds one. Reads only. */
export const registerPools: Register = (program, cli) => {
  program
    .command("pools")
    .summary("connection pools: who waits, who holds a connection, and what to do")
    .description(
      "Ask the sandbox's PgBouncers, or those given by --pooler, through their admin console: clients that wait and for how long, server connections by state, clients that hold one for long, use against the limits. With --on aws, the metrics of RDS Proxy. Reads only.",
    )
    .option(
      "--pooler <url>",
      "a PgBouncer's console: postgres://user@host:6432/pgbouncer, as a user of its stats_users; may be repeated. With --url too, statements are looked up there",
      several,
    )
    .option(
      "--fail-on <severity>",
      `exit with 1 when there is a finding this bad or worse: ${severities.join(", ")}`,
      parseSeverity,
    )
    .addOption(onOption())
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as PoolsOptions;
      const reports = options.on === "aws" ? await showProxy(cli, options) : await showPoolers(cli, options);
      const { failOn } = options;
      if (failOn !== undefined && reports.some(({ severity }) => isAtLeast(severity, failOn)))
        cli.setExitCode(1);
    });
};

function isAtLeast(severity: Severity, limit: Severity): boolean {
  return severities.indexOf(severity) <= severities.indexOf(limit);
}

async function showPoolers(cli: Cli, options: PoolsOptions): Promise<PoolFinding[]> {
  const { places, config } = await poolerPlaces(cli, options);
  const report = await askPoolers(places, poolLimits(config), cli.signal);
  if (options.json === true) cli.json(report);
  else cli.out(poolersText(report, cli));
  for (const pooler of report.poolers) {
    if (!("problem" in pooler)) continue;
    cli.note(`pgkeep: ${pooler.name}: ${pooler.problem.message}`);
    if (pooler.problem.remedy !== undefined) cli.note(`What to do: ${pooler.problem.remedy}`);
    cli.setExitCode(3);
  }
  return report.poolers.flatMap((pooler) => ("problem" in pooler ? [] : pooler.findings));
}

async function showProxy(cli: Cli, options: PoolsOptions): Promise<PoolFinding[]> {
  if (options.pooler !== undefined) {
    throw new UsageError("--on aws and --pooler name two targets", {
      remedy: "leave one of them away: RDS Proxy has no console, only metrics",
    });
  }
  const [config, database] = await Promise.all([cli.loadConfig(options), cli.loadDatabaseConfig(options)]);
  const deployed = deployedDatabase(config, database);
  const report = await withProxyMetrics(options, deployed, (metrics) => proxyReport(metrics, database));
  if (options.json === true) cli.json(report);
  else cli.out(proxyText(report, cli));
  return report.findings;
}

export function poolLimits({ health }: Pick<DatabaseConfig, "health">): PoolLimits {
  return {
    waitSeconds: health.poolWaitSeconds,
    usedPercent: health.connectionsPercent,
    idleSeconds: health.idleInTransactionSeconds,
    longWarnSeconds: health.longQueryWarnSeconds,
    longTicketSeconds: health.longQueryTicketSeconds,
  };
}

interface Asked {
  places: PoolerPlace[];
  /** Where the limits are. */
  config: DatabaseConfig;
}

/** @throws PgkeepError `no-sandbox`; `refused` when it has no poolers */
async function poolerPlaces(cli: Cli, options: PoolsOptions): Promise<Asked> {
  if (options.pooler !== undefined) return givenPoolers(cli, options, options.pooler);
  if (options.url !== undefined) {
    throw new UsageError("--url is a database's address, not a pooler's", {
      remedy: "give --pooler postgres://user@host:6432/pgbouncer as well",
    });
  }
  const state = await findSandbox(cli.homeDirectory);
  if (state === undefined) {
    throw new PgkeepError("no-sandbox", "no pooler was given, and no sandbox is running", {
      remedy:
        "give --pooler postgres://user@host:6432/pgbouncer, or --on aws, or start a sandbox with `pgkeep sandbox`",
    });
  }
  const configFile = options.config ?? state.configFile;
  const config = await cli.loadDatabaseConfig({
    ...options,
    ...(configFile === null ? {} : { config: configFile }),
    database: options.database ?? state.databaseKey,
  });
  return { places: await sandboxPoolers(state, config, cli.signal), config };
}

async function givenPoolers(cli: Cli, options: PoolsOptions, urls: readonly string[]): Promise<Asked> {
  const { url } = options;
  const database = url === undefined ? undefined : targetFromUrl(url);
  const server = database === undefined ? {} : { server: () => connect(database, { signal: cli.signal }) };
  const places = urls.map((pooler) => {
    const target = consoleTargetFromUrl(pooler);
    return { name: `${target.host}:${target.port}`, target, ...server };
  });
  return { places, config: await cli.loadDatabaseConfig(options) };
}

/** Those that can be asked; a sandbox of an older version has none. */
async function sandboxPoolers(
  state: SandboxState,
  config: DatabaseConfig,
  signal: AbortSignal,
): Promise<PoolerPlace[]> {
  const { primary, replicas } = sandboxEnvironment(state, config).ports;
  const servers: { name: string; connect: Primary["connect"] }[] = [
    ...(primary === undefined ? [] : [{ name: state.primary.name, connect: primary.connect }]),
    ...((await replicas?.list()) ?? []),
  ];
  const places = (state.poolers ?? []).flatMap(({ name, port, statsLogin }): PoolerPlace[] => {
    if (statsLogin === undefined) return [];
    const target = { host: "127.0.0.1", port, database: "pgbouncer", ...statsLogin };
    const found = servers.find((server) => server.name === name);
    const server = found === undefined ? {} : { server: () => found.connect({ role: "monitoring", signal }) };
    return [{ name, target: { ...target, connectTimeoutMilliseconds: 5_000 }, ...server }];
  });
  if (places.length > 0) return places;
  throw new PgkeepError("refused", "the running sandbox has no poolers", {
    remedy:
      "install pgbouncer (apt-get install pgbouncer, brew install pgbouncer), set pooling.enabled: true, and start the sandbox again",
  });
}

/** Asks each pooler; what one does not answer is its `problem` and keeps no other from answering. */
export async function askPoolers(
  places: readonly PoolerPlace[],
  limits: PoolLimits,
  signal?: AbortSignal,
): Promise<PoolersReport> {
  const poolers = await Promise.all(
    places.map(async (place): Promise<PoolerReport> => {
      const about = { name: place.name, address: `${place.target.host}:${place.target.port}` };
      try {
        const view = await withStatements(await readFrom(place, signal), place);
        return { ...about, findings: poolFindings(view, limits), ...view };
      } catch (error) {
        if (!(error instanceof PgkeepError)) throw error;
        const { code, message, remedy } = error;
        return { ...about, problem: { code, message, ...(remedy === undefined ? {} : { remedy }) } };
      }
    }),
  );
  return { checkedAt: systemClock.now().toISOString(), poolers };
}

async function readFrom({ target }: PoolerPlace, signal: AbortSignal | undefined): Promise<PoolerView> {
  const console = await openPoolerConsole(target, signal === undefined ? {} : { signal });
  try {
    return await readPooler(console);
  } finally {
    await console.close();
  }
}

/**
 * Adds what the holders' sessions run, without data, where the server behind the pooler can be asked. A session is
 * known by its process and by the pooler's own port, so that another server's is never taken for it.
 */
async function withStatements(view: PoolerView, { server }: PoolerPlace): Promise<PoolerView> {
  if (server === undefined || view.holders.length === 0) return view;
  let session: Session | undefined;
  try {
    session = await server();
    const ofServer = view.holders.map(({ server: { pid, localPort } }) => ({ pid, port: localPort || -1 }));
    const backends = await readBackends(
      session,
      "(a.pid, a.client_port) in (select * from unnest($1::int[], $2::int[]))",
      [ofServer.map(({ pid }) => pid), ofServer.map(({ port }) => port)],
    );
    const statements = new Map(backends.map(({ pid, statement }) => [pid, statement]));
    return {
      ...view,
      holders: view.holders.map((holder) => {
        const statement = statements.get(holder.server.pid);
        return statement === undefined || statement === "" ? holder : { ...holder, statement };
      }),
    };
  } catch (error) {
    // The pools are the question; a server that has no room for one more session is part of the answer.
    if (error instanceof PgkeepError) return view;
    throw error;
  } finally {
    await session?.close();
  }
}

/** @throws PgkeepError `refused` without a proxy, `not-found` when it has no metrics */
export async function proxyReport(metrics: ProxyMetrics, config: DatabaseConfig): Promise<ProxyReport> {
  if (!config.pooling.enabled) {
    throw new PgkeepError("refused", `the database ${config.key} has no pooling proxy`, {
      remedy: "set pooling.enabled: true and deploy it",
    });
  }
  const measured = await metrics.read(systemClock.now());
  if (measured === undefined) {
    throw new PgkeepError("not-found", `CloudWatch has no measurements of the proxy of ${config.key}`, {
      remedy:
        "a proxy has none until its first client has connected; check that it is deployed, and AWS_REGION and AWS_PROFILE",
    });
  }
  return { ...measured, findings: proxyFindings(measured, proxyLimits(config)) };
}
