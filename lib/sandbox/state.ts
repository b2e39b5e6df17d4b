import type { DatabaseRole } from "../ports/databases.ts";

/** One PostgreSQL server process of the sandbox. */
export interface ServerState {
  /** `primary`, `replica-1`, …; also the name of its directory. */
  name: string;
  dataDirectory: string;
  port: number;
}

/** One PgBouncer process, in front of the server of the same name. */
export interface PoolerState {
  name: string;
  /** Port on 127.0.0.1 where applications connect; the database has the same name as on the server. */
  port: number;
  pid: number;
  /** Its configuration, passwords and log. */
  directory: string;
  /** May read its console, and nothing else. */
  statsLogin?: Login;
}

export interface Login {
  user: string;
  password: string;
}

/**
 * Everything that another process needs to work with a running sandbox. Plain JSON, kept in
 * `sandbox.json` in the sandbox's directory, readable by its owner only.
 */
export interface SandboxState {
  formatVersion: 1;
  /** Process that owns the servers and ends them when it ends. */
  pid: number;
  startedAt: string;
  /** Everything of the sandbox is below this, mode 0700, removed at the end. */
  directory: string;
  postgresMajor: number;
  /** Directory with `postgres`, `initdb` and `pg_ctl`. */
  binDirectory: string;
  /** Who runs the servers when the sandbox was started by root. */
  owner: { uid: number; gid: number } | null;
  /** Where pgkeep.yaml was, or null for the defaults. */
  configFile: string | null;
  databaseKey: string;
  database: string;
  primary: ServerState;
  replicas: ServerState[];
  /** One PgBouncer in front of each server, named like the server; null when the machine has none or pooling is off. */
  poolers: PoolerState[] | null;
  /** Archived WAL segments. */
  archiveDirectory: string;
  /** One directory for each base backup. */
  backupsDirectory: string;
  /** Restored clusters and other scratch servers. */
  scratchDirectory: string;
  /** Unix socket on which the owning process takes faults. */
  controlSocket: string;
  routingFile: string;
  metricsFile: string;
  notificationsFile: string;
  /** Superuser of the cluster; nobody has it on RDS, and only the sandbox itself uses it. */
  superuser: Login;
  /** NOSUPERUSER CREATEDB CREATEROLE, as the master user on RDS. */
  master: Login;
  roles: Record<DatabaseRole, Login>;
  application: { writer: Login; reporting: Login };
  replication: Login;
}
