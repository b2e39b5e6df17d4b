import { type DetailedPeerCertificate, TLSSocket } from "node:tls";
import pg from "pg";
import { PgkeepError } from "../errors.ts";
import type { Notice, QueryOptions, Session, SessionOptions } from "../ports/databases.ts";
import { CopyIn, CopyOut } from "./copy.ts";
import { connectError, statementError } from "./errors.ts";
import { requireSupportedServer } from "./versions.ts";

/** Where and as whom to connect. `password` is asked for at each connection, so a token can be fresh. */
export interface ConnectionTarget {
  host: string;
  port: number;
  database: string;
  user: string;
  password?: string | (() => Promise<string>);
  ssl?: pg.ClientConfig["ssl"];
  /** Shown in `pg_stat_activity`. Default `pgkeep`. */
  applicationName?: string;
  connectTimeoutMilliseconds?: number;
}

export interface ConnectOptions extends Omit<SessionOptions, "role"> {
  /**
   * True when a pooler in transaction mode may stand between: nothing is set on the session, which the next
   * statement might not meet again, so the role's own timeouts and search path hold.
   */
  pooled?: boolean;
}

const int8 = 20;
const numberTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === int8
      ? (text: string) => Number(text)
      : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig["getTypeParser"],
};

interface ServerFacts {
  version: number;
  standby: boolean;
  superuser: boolean;
  user: string;
  database: string;
}

const describeServer = `select pg_catalog.current_setting('server_version_num')::int as version,
              pg_catalog.pg_is_in_recovery() as standby,
              (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as superuser,
              current_user::text as user,
              pg_catalog.current_database()::text as database`;

/**
 * Opens one direct connection with timeouts set and `search_path` reduced to `pg_catalog`, so that no
 * object of the database can stand in for a system function. `bigint` values arrive as numbers, moments as dates
 * whatever DateStyle the role has; the order of day and month in what a person writes stays the role's.
 * @throws PgkeepError `unreachable`, `authentication`, `not-found` or `unsupported-server`
 */
export async function connect(target: ConnectionTarget, options: ConnectOptions = {}): Promise<Session> {
  const shown = `${target.host}:${target.port}/${target.database} as ${target.user}`;
  options.signal?.throwIfAborted();
  const client = new pg.Client({
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    password: target.password,
    ssl: target.ssl,
    application_name: target.applicationName ?? "pgkeep",
    connectionTimeoutMillis: target.connectTimeoutMilliseconds ?? 10_000,
    keepAlive: true,
    types: numberTypes,
  } as pg.ClientConfig);
  // Without a listener, a connection that breaks while idle would end the process; the next query reports it.
  client.on("error", () => {});
  const abandon = () => cutConnection(client);
  options.signal?.addEventListener("abort", abandon, { once: true });
  try {
    await client.connect();
    const facts =
      options.pooled === true
        ? await client.query<ServerFacts>(describeServer)
        : await client.query<ServerFacts>(
            `${describeServer},
              pg_catalog.set_config('search_path', 'pg_catalog', false),
              pg_catalog.set_config('datestyle', 'ISO, ' ||
                pg_catalog.split_part(pg_catalog.current_setting('datestyle'), ', ', 2), false),
              pg_catalog.set_config('statement_timeout', $1, false),
              pg_catalog.set_config('lock_timeout', $2, false)`,
            [
              String(options.statementTimeoutMilliseconds ?? 30_000),
              String(options.lockTimeoutMilliseconds ?? 2_000),
            ],
          );
    const first = facts.rows[0];
    if (first === undefined)
      throw new PgkeepError("internal", `${shown}: the server described itself with no row`);
    requireSupportedServer(first.version);
    return new PgSession(client, target, shown, first, options);
  } catch (error) {
    await client.end().catch(() => {});
    if (options.signal?.aborted === true) throw options.signal.reason;
    throw connectError(error, shown);
  } finally {
    options.signal?.removeEventListener("abort", abandon);
  }
}

/** Ends the connection without a goodbye, which a server that has stopped answering would never read. */
function cutConnection(client: pg.Client): void {
  (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
}

/** Of the server's certificate and of those that vouch for it, as far as they are known here. */
function firstExpiry(client: pg.Client): Date | undefined {
  const { stream } = (client as unknown as { connection?: { stream?: unknown } }).connection ?? {};
  if (!(stream instanceof TLSSocket)) return undefined;
  const times: number[] = [];
  let certificate: DetailedPeerCertificate | undefined = stream.getPeerCertificate(true);
  const seen = new Set<string>();
  while (certificate?.valid_to !== undefined && !seen.has(certificate.fingerprint256)) {
    seen.add(certificate.fingerprint256);
    times.push(Date.parse(certificate.valid_to));
    certificate = certificate.issuerCertificate;
  }
  return times.length === 0 ? undefined : new Date(Math.min(...times));
}

class PgSession implements Session {
  readonly serverVersionNumber: number;
  readonly isStandby: boolean;
  readonly isSuperuser: boolean;
  readonly user: string;
  readonly database: string;
  readonly certificateExpiresAt: Date | undefined;
  private readonly client: pg.Client;
  private readonly target: ConnectionTarget;
  private readonly shown: string;
  private readonly signal: AbortSignal | undefined;
  private backendPid: number | undefined;

  constructor(
    client: pg.Client,
    target: ConnectionTarget,
    shown: string,
    facts: ServerFacts,
    options: ConnectOptions,
  ) {
    this.client = client;
    this.target = target;
    this.shown = shown;
    this.signal = options.signal;
    this.serverVersionNumber = facts.version;
    this.isStandby = facts.standby;
    this.isSuperuser = facts.superuser;
    this.user = facts.user;
    this.database = facts.database;
    this.certificateExpiresAt = firstExpiry(client);
    // A pooler makes this number up: on the server it may be anybody's.
    this.backendPid =
      options.pooled === true ? undefined : (client as unknown as { processID?: number }).processID;
  }

  async query<Row = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
    options: QueryOptions = {},
  ): Promise<Row[]> {
    this.signal?.throwIfAborted();
    const onNotice = options.onNotice;
    const listener = (message: {
      severity?: string | undefined;
      code?: string | undefined;
      message?: string | undefined;
    }) =>
      onNotice?.({
        severity: message.severity ?? "NOTICE",
        code: message.code ?? "00000",
        message: message.message ?? "",
      } satisfies Notice);
    if (onNotice !== undefined) this.client.on("notice", listener);
    const cancel = () => void this.cancelRunningStatement();
    this.signal?.addEventListener("abort", cancel, { once: true });
    try {
      const result =
        values === undefined || values.length === 0
          ? await this.client.query(sql)
          : await this.client.query(sql, [...values]);
      // A text of several statements gives a result for each; the last one counts.
      const last = Array.isArray(result) ? (result as pg.QueryResult[]).at(-1) : result;
      return (last?.rows ?? []) as Row[];
    } catch (error) {
      if (this.signal?.aborted) throw this.signal.reason;
      throw statementError(error, `${this.shown}`);
    } finally {
      this.signal?.removeEventListener("abort", cancel);
      if (onNotice !== undefined) this.client.off("notice", listener);
    }
  }

  async transaction<T>(
    body: (session: Session) => Promise<T>,
    options: { readOnly?: boolean; isolation?: "read committed" | "repeatable read" | "serializable" } = {},
  ): Promise<T> {
    const isolation = options.isolation ?? "read committed";
    await this.query(`begin isolation level ${isolation}${options.readOnly === true ? " read only" : ""}`);
    try {
      const result = await body(this);
      await this.query("commit");
      return result;
    } catch (error) {
      await this.client.query("rollback").catch(() => {});
      throw error;
    }
  }

  copyOut(sql: string): CopyOut {
    return this.begun(
      new CopyOut(
        sql,
        (error) => this.copyError(error),
        () => void this.cancelRunningStatement(),
      ),
    );
  }

  copyIn(sql: string): CopyIn {
    return this.begun(new CopyIn(sql, (error) => this.copyError(error)));
  }

  async close(): Promise<void> {
    await this.client.end().catch(() => {});
  }

  private copyError(error: unknown): Error {
    if (this.signal?.aborted && this.signal.reason instanceof Error) return this.signal.reason;
    return statementError(error, this.shown);
  }

  private begun<T extends CopyIn | CopyOut>(copy: T): T {
    this.signal?.throwIfAborted();
    const abandon = () => void copy.destroy(this.signal?.reason as Error);
    this.signal?.addEventListener("abort", abandon, { once: true });
    copy.once("close", () => this.signal?.removeEventListener("abort", abandon));
    this.client.query(copy as unknown as pg.Submittable);
    return copy;
  }

  /** Cancels from a second connection; when none can be had, cuts the first, and the server notices by itself. */
  private async cancelRunningStatement(): Promise<void> {
    try {
      if (this.backendPid === undefined) throw new Error("no process id");
      const helper = await connect({ ...this.target, connectTimeoutMilliseconds: 2_000 });
      try {
        await helper.query("select pg_cancel_backend($1)", [this.backendPid]);
      } finally {
        await helper.close();
      }
    } catch {
      cutConnection(this.client);
    }
  }
}
