import type { Readable, Writable } from "node:stream";

/** The identity a step logs in with; each is a PostgreSQL role with only what its jobs need. */
export type DatabaseRole = "monitoring" | "maintenance" | "drill";

export interface Endpoint {
  host: string;
  port: number;
}

/** Where and as whom PostgreSQL's own programs (pg_dump, pg_restore, psql) connect. */
export interface ClientLogin extends Endpoint {
  user: string;
  database: string;
  /** Absent: PGPASSWORD or the password file decides. */
  password?: string;
  /** libpq's parameters for TLS, by name: sslmode, sslrootcert, sslcert, sslkey … */
  tls: Record<string, string>;
}

/** A warning or notice that the server sent while a statement ran. */
export interface Notice {
  severity: string;
  code: string;
  message: string;
}

export interface SessionOptions {
  role: DatabaseRole;
  /** Server-side limit for each statement; 0 switches it off. Default 30,000. */
  statementTimeoutMilliseconds?: number;
  /** Server-side limit for each wait for a lock; 0 switches it off. Default 2,000. */
  lockTimeoutMilliseconds?: number;
  /** When aborted, the running statement is cancelled on the server and the query rejects. */
  signal?: AbortSignal;
}

export interface QueryOptions {
  /** Called for each warning or notice of this statement, e.g. VACUUM's "skipping … lock not available". */
  onNotice?: (notice: Notice) => void;
}

/** One direct connection to one database. Not for concurrent use. */
export interface Session {
  /** `server_version_num`, e.g. 170010. */
  readonly serverVersionNumber: number;
  /** True on a standby (`pg_is_in_recovery()` when the session began). */
  readonly isStandby: boolean;
  /** True when the login role is a superuser. */
  readonly isSuperuser: boolean;
  readonly user: string;
  readonly database: string;
  /** When the first of the certificates expires that the server has shown; absent without TLS. */
  readonly certificateExpiresAt?: Date | undefined;
  /**
   * Runs one statement. Values are always parameters; identifiers are quoted with `identifier()`.
   * Without values the statement goes alone as a simple query, so VACUUM and REINDEX CONCURRENTLY work.
   * @throws PgkeepError with the server's message, the SQLSTATE as `cause`
   */
  query<Row = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<Row[]>;
  /** Runs `body` in a transaction: committed when it resolves, rolled back when it rejects. */
  transaction<T>(
    body: (session: Session) => Promise<T>,
    options?: { readOnly?: boolean; isolation?: "read committed" | "repeatable read" | "serializable" },
  ): Promise<T>;
  /**
   * Runs `COPY … TO STDOUT` and gives what the server sends. Until it has ended the session does nothing else;
   * whoever destroys it early stops the statement.
   */
  copyOut(sql: string): Readable;
  /** Runs `COPY … FROM STDIN`; `rows` is known once it has finished. Destroyed early, it keeps no row. */
  copyIn(sql: string): Writable & { readonly rows: number };
  close(): Promise<void>;
}

/** The writer of the database that a job works on. */
export interface Primary {
  readonly endpoint: Endpoint;
  connect(options: SessionOptions): Promise<Session>;
}

export interface ReplicaServer {
  readonly name: string;
  readonly endpoint: Endpoint;
  /** Where applications reach this replica through a pooler, when there is one. */
  readonly pooledEndpoint?: Endpoint;
  connect(options: SessionOptions): Promise<Session>;
}

/** The read replicas of the database that a job works on. */
export interface Replicas {
  list(): Promise<ReplicaServer[]>;
  /** Where applications reach the primary through a pooler, when there is one. */
  readonly primaryPooledEndpoint?: Endpoint | undefined;
  /** Whether a TCP connection and a login packet are answered there within the time; never throws. */
  answers(endpoint: Endpoint, timeoutMilliseconds: number): Promise<boolean>;
}

/** Databases that a drill or a restore has made. */
export interface Restored {
  connect(endpoint: Endpoint, options: SessionOptions): Promise<Session>;
}
