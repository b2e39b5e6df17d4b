import pg from "pg";
import { PgkeepError, UsageError } from "../errors.ts";
import type { ConsoleRow, ConsoleView, PoolerConsole } from "../ports/pooler-console.ts";
import type { ConnectionTarget } from "./connect.ts";
import { connectError } from "./errors.ts";
import { SqlState } from "./sqlstate.ts";
import { targetFromUrl } from "./url.ts";

/** The name that PgBouncer gives its console; it cannot be changed. */
export const consoleDatabase = "pgbouncer";

const asText: pg.CustomTypesConfig = {
  getTypeParser: (() => (text: string) => text) as unknown as pg.CustomTypesConfig["getTypeParser"],
};

/**
 * Reads `postgres://user@host:6432/pgbouncer`; the database may be left away.
 * @throws UsageError that never repeats the URL, which may hold a password
 */
export function consoleTargetFromUrl(url: string): ConnectionTarget {
  const target = targetFromUrl(url);
  const named = decodeURIComponent(new URL(url).pathname.slice(1));
  if (named !== "" && named !== consoleDatabase) {
    throw new UsageError(`the pooler's URL names the database ${JSON.stringify(named)}`, {
      remedy: `PgBouncer's console is its database ${consoleDatabase}: give --pooler postgres://user@host:6432/${consoleDatabase}`,
    });
  }
  return { ...target, database: consoleDatabase };
}

/**
 * Logs in to PgBouncer's console. Unlike `connect` it sets nothing on the session, asks it for no settings and uses
 * no parameters: the console understands none of these.
 * @throws PgkeepError `unreachable`, `authentication`, `insufficient-privilege`, or `unsupported-server` for what is
 *   no PgBouncer
 */
export async function openPoolerConsole(
  target: ConnectionTarget,
  {
    signal,
    queryTimeoutMilliseconds = 10_000,
  }: { signal?: AbortSignal; queryTimeoutMilliseconds?: number } = {},
): Promise<PoolerConsole> {
  signal?.throwIfAborted();
  const shown = `${target.host}:${target.port} as ${target.user}`;
  const client = new pg.Client({
    host: target.host,
    port: target.port,
    database: consoleDatabase,
    user: target.user,
    password: target.password,
    ssl: target.ssl,
    application_name: target.applicationName ?? "pgkeep",
    connectionTimeoutMillis: target.connectTimeoutMilliseconds ?? 10_000,
    query_timeout: queryTimeoutMilliseconds,
    types: asText,
  } as pg.ClientConfig);
  // Without a listener, a connection that breaks while idle would end the process; the next query reports it.
  client.on("error", () => {});
  const cut = () =>
    (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
  signal?.addEventListener("abort", cut, { once: true });
  const close = async () => {
    signal?.removeEventListener("abort", cut);
    // A pooler that hangs reads no goodbye.
    const hangs = setTimeout(cut, 1_000);
    await client.end().catch(() => {});
    clearTimeout(hangs);
  };
  const show = async (view: ConsoleView): Promise<ConsoleRow[] | undefined> => {
    try {
      return (await client.query<ConsoleRow>(`SHOW ${view}`)).rows;
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      if (isUnknownView(error)) return undefined;
      throw consoleError(error, view, shown);
    }
  };
  try {
    await client.connect();
    await requirePgbouncer(client, shown);
    return { show, close };
  } catch (error) {
    await close();
    if (signal?.aborted === true) throw signal.reason;
    throw loginError(error, target, shown);
  }
}

async function requirePgbouncer(client: pg.Client, shown: string): Promise<void> {
  const answer = await client.query<ConsoleRow>("SHOW VERSION").then(
    ({ rows }) => rows[0]?.version ?? "nothing",
    (error: unknown) => {
      if (sqlStateOf(error) === undefined) throw error;
      return "an error";
    },
  );
  if (!/^PgBouncer \d/.test(answer))
    throw noPgbouncer(shown, `it answered SHOW VERSION with ${JSON.stringify(answer)}`);
}

function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("severity" in error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}

function isUnknownView(error: unknown): boolean {
  return (
    sqlStateOf(error) === SqlState.protocolViolation && /invalid command|syntax error/i.test(messageOf(error))
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function noPgbouncer(shown: string, why: string, cause?: unknown): PgkeepError {
  return new PgkeepError("unsupported-server", `${shown} is not PgBouncer's console: ${why}`, {
    remedy: "give --pooler the address of PgBouncer; a database goes with --url, and RDS Proxy with --on aws",
    ...(cause === undefined ? {} : { cause }),
  });
}

function loginError(error: unknown, target: ConnectionTarget, shown: string): PgkeepError {
  if (error instanceof PgkeepError) return error;
  const state = sqlStateOf(error);
  const text = messageOf(error);
  const cause = { cause: error };
  if (state === undefined) return connectError(error, shown);
  // PgBouncer has one SQLSTATE for all of these (src/client.c, src/admin.c).
  if (/not allowed/i.test(text)) {
    return new PgkeepError("insufficient-privilege", `${shown} may not use PgBouncer's console: ${text}`, {
      remedy: `list ${JSON.stringify(target.user)} in stats_users of pgbouncer.ini and reload it, or log in as one who is listed there`,
      ...cause,
    });
  }
  if (/authentication failed|no such user|wrong password/i.test(text)) {
    return new PgkeepError("authentication", `cannot log in to ${shown}: ${text}`, {
      remedy:
        "check user and password against PgBouncer's auth_file; the password may come from PGPASSWORD or ~/.pgpass",
      ...cause,
    });
  }
  if (state === SqlState.invalidCatalogName) return noPgbouncer(shown, text, error);
  return connectError(error, shown);
}

function consoleError(error: unknown, view: ConsoleView, shown: string): PgkeepError {
  const refused = sqlStateOf(error) !== undefined;
  return new PgkeepError(
    refused && /admin access/i.test(messageOf(error))
      ? "insufficient-privilege"
      : refused
        ? "statement-failed"
        : "unreachable",
    `${shown}: SHOW ${view}: ${messageOf(error)}`,
    {
      remedy: refused
        ? "see PgBouncer's log"
        : "see whether PgBouncer is running and answers, then try again",
      cause: error,
    },
  );
}
