import type { DatabaseConfig } from "../config/schema.ts";
import { PgkeepError } from "../errors.ts";
import type { Endpoint } from "../ports/databases.ts";

export interface PgbouncerSettings {
  /** Name of the database, for the clients and on the server alike. */
  database: string;
  /** The one server behind this PgBouncer. */
  server: Endpoint;
  listen: Endpoint;
  pooling: DatabaseConfig["pooling"];
  /** Where the text of `pgbouncerUserlist` is kept. */
  authFile: string;
  /** Without it, PgBouncer writes its log to standard error only. */
  logFile?: string;
  pidFile: string;
  /** May log in to PgBouncer's own database `pgbouncer` to read its statistics and to pause it. */
  adminUser?: string;
  /** May log in there to read, and to do nothing else. */
  statsUser?: string;
  /** PgBouncer's own version, e.g. `1.18.0`: settings that it does not know would keep it from starting. */
  version: string;
  /** TLS to the server and to the clients; without them it is off, which is for loopback only. */
  serverTls?: { caFile: string };
  clientTls?: { keyFile: string; certificateFile: string };
}

export interface PgbouncerLogin {
  user: string;
  password: string;
}

/** Prepared statements at protocol level work in transaction mode from here on. */
const preparedStatementsSince = [1, 21] as const;
const preparedStatements = 200;
const longestPasswordBytes = 1_000;

/**
 * The text of `pgbouncer.ini` for one server.
 *
 * Of what clients send at start-up, only `extra_float_digits` is ignored, which drivers send by habit. A client
 * that asks for a setting such as `statement_timeout` is refused rather than given a session without it.
 * @throws PgkeepError `configuration` for a value that the format cannot hold
 */
export function pgbouncerIni(settings: PgbouncerSettings): string {
  const { pooling, server, listen } = settings;
  const main: [name: string, value: string | number][] = [
    ["listen_addr", listen.host],
    ["listen_port", listen.port],
    // An empty value switches the Unix socket off.
    ["unix_socket_dir", ""],
    ["auth_type", "scram-sha-256"],
    ["auth_file", settings.authFile],
    ...(settings.logFile === undefined ? [] : [["logfile", settings.logFile] as [string, string]]),
    ["pidfile", settings.pidFile],
    ...(settings.adminUser === undefined
      ? []
      : [["admin_users", listed(settings.adminUser)] as [string, string]]),
    ...(settings.statsUser === undefined
      ? []
      : [["stats_users", listed(settings.statsUser)] as [string, string]]),
    ["pool_mode", pooling.mode],
    ["default_pool_size", pooling.poolSize],
    ["reserve_pool_size", pooling.reservePoolSize],
    // In time for those who wait: at borrowTimeoutSeconds they get an error.
    ["reserve_pool_timeout", Math.min(5, pooling.borrowTimeoutSeconds / 2)],
    ["max_client_conn", pooling.maxClientConnections],
    ["query_wait_timeout", pooling.borrowTimeoutSeconds],
    ["server_idle_timeout", pooling.idleTimeoutSeconds],
    // A session that goes to another client is cleaned; in transaction mode none is handed over whole.
    ["server_reset_query", "DISCARD ALL"],
    ["server_connect_timeout", 5],
    // After a failed login PgBouncer waits this long before the next one: the default of 15 s would outlast a failover.
    ["server_login_retry", 1],
    ["ignore_startup_parameters", "extra_float_digits"],
    ["log_connections", 0],
    ["log_disconnections", 0],
    ...tls(settings),
    ...(knowsPreparedStatements(settings.version)
      ? [["max_prepared_statements", preparedStatements] as [string, number]]
      : []),
  ];
  return [
    "[databases]",
    databaseLine(settings.database, server),
    "",
    "[pgbouncer]",
    ...main.map(([name, value]) => `${name} = ${plain(name, String(value))}`.trimEnd()),
    "",
  ].join("\n");
}

/**
 * The text of PgBouncer's `userlist.txt`. Passwords are in plain text: PgBouncer has to log in to the server
 * with them, also when no client has come yet. Keep it in a file that only PgBouncer's account can read.
 * @throws PgkeepError `configuration` for a name or password that the format cannot hold
 */
export function pgbouncerUserlist(logins: readonly PgbouncerLogin[]): string {
  const seen = new Set<string>();
  const lines = logins.map(({ user, password }) => {
    const shown = `the password of ${JSON.stringify(user)}`;
    if (user === "") throw unusable("a user name", "it is empty");
    if (seen.has(user)) throw unusable(`the user ${JSON.stringify(user)}`, "it is listed twice");
    seen.add(user);
    refuseLineBreaks(`the user name ${JSON.stringify(user)}`, user);
    refuseLineBreaks(shown, password);
    if (password === "") throw unusable(shown, "it is empty");
    if (Buffer.byteLength(password) > longestPasswordBytes) {
      throw unusable(shown, `it is longer than ${longestPasswordBytes} bytes`);
    }
    if (/^(?:md5[0-9a-f]{32}$|SCRAM-SHA-256\$)/.test(password)) {
      throw unusable(shown, "it looks like a hash, and PgBouncer would take it for one");
    }
    return `${doubleQuoted(user)} ${doubleQuoted(password)}`;
  });
  return `${lines.join("\n")}\n`;
}

function tls({ serverTls, clientTls }: PgbouncerSettings): [string, string][] {
  return [
    ...(serverTls === undefined
      ? ([["server_tls_sslmode", "disable"]] as [string, string][])
      : ([
          ["server_tls_sslmode", "verify-full"],
          ["server_tls_ca_file", serverTls.caFile],
        ] as [string, string][])),
    ...(clientTls === undefined
      ? ([["client_tls_sslmode", "disable"]] as [string, string][])
      : ([
          ["client_tls_sslmode", "require"],
          ["client_tls_key_file", clientTls.keyFile],
          ["client_tls_cert_file", clientTls.certificateFile],
        ] as [string, string][])),
  ];
}

function knowsPreparedStatements(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [sinceMajor, sinceMinor] = preparedStatementsSince;
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
}

/**
 * PgBouncer's parser knows no quotes around a database's name. For a name that does not go without, the line is
 * the one for every database: the client's own name for it reaches the server unchanged, and the server decides
 * who may connect to which.
 */
function databaseLine(name: string, server: Endpoint): string {
  if (name === "pgbouncer") {
    throw unusable('the database "pgbouncer"', "PgBouncer keeps that name for its own console");
  }
  const address = `host=${quoted("host", server.host)} port=${server.port}`;
  return /^[A-Za-z0-9_.-]+$/.test(name) ? `${name} = ${address} dbname='${name}'` : `* = ${address}`;
}

/** A value inside a connection string: `'it''s'`. */
function quoted(what: string, value: string): string {
  refuseLineBreaks(`the ${what} ${JSON.stringify(value)}`, value);
  return `'${value.replaceAll("'", "''")}'`;
}

function doubleQuoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** A value that reaches to the end of its line; the spaces around it would be lost. */
function plain(name: string, value: string): string {
  refuseLineBreaks(`the value of ${name}`, value);
  if (value !== value.trim()) throw unusable(`the value of ${name}`, "it begins or ends with a space");
  return value;
}

/** A name in a list, which has no quotes. */
function listed(user: string): string {
  if (!/^[A-Za-z0-9_.-]+$/.test(user)) {
    throw unusable(
      `the administrator ${JSON.stringify(user)}`,
      "only letters, digits, points, hyphens and underscores fit in PgBouncer's list",
    );
  }
  return user;
}

function refuseLineBreaks(what: string, value: string): void {
  if (/[\n\r\0]/.test(value)) {
    throw unusable(what, "it contains a line break or a NUL byte, and the format has no way to write one");
  }
}

function unusable(what: string, why: string): PgkeepError {
  return new PgkeepError("configuration", `${what} cannot be part of PgBouncer's configuration: ${why}`, {
    remedy: "choose another, or set `pooling.enabled: false` for this database",
  });
}
