import { join } from "node:path";
import type { Session } from "../ports/databases.ts";
import { connect } from "../postgres/connect.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import type { PostgresMajor } from "../postgres/versions.ts";
import { archiveSettings } from "./archiving.ts";
import { findBinaries } from "./binaries.ts";
import { createMasterUser, giveDatabaseToMaster } from "./master.ts";
import { exists, findOwner } from "./owner.ts";
import { randomPassword } from "./passwords.ts";
import { endServersBelow } from "./processes.ts";
import { type GuardedDirectory, makeGuardedDirectory } from "./reaper.ts";
import { makeDirectory, prepareReplica } from "./replica.ts";
import {
  changeSettings,
  configureServer,
  initCluster,
  type ServerFiles,
  type ServerSettings,
  type StartedServer,
  type StartOptions,
  startServer,
} from "./server.ts";
import type { Login, SandboxState, ServerState } from "./state.ts";
import { saveState } from "./state-file.ts";

/** Kept for roles with pg_use_reserved_connections, so that monitoring sees a server that the application filled. */
const reservedConnections = 5;

export interface ClusterOptions {
  major: PostgresMajor;
  /** Any name that PostgreSQL can hold. */
  database: string;
  databaseKey?: string;
  configFile?: string | null;
  /** Default 2. */
  replicas?: number;
  /** Default 4: an archive of many unfinished segments stays small. */
  walSegmentMegabytes?: number;
  /** How long a committed row may stay unarchived while the server is otherwise idle. Default 10. */
  archiveTimeoutSeconds?: number;
  /** Further settings of every server, e.g. `max_connections`. */
  settings?: ServerSettings;
  /** Names of the login roles that the installer will create; passwords are made here. */
  roleNames?: Partial<RoleLoginNames>;
  /** Where the sandbox's directory is made. Default: the machine's directory for temporary files. */
  parent?: string;
  onProgress?: (line: string) => void;
  signal?: AbortSignal;
}

export interface RoleLoginNames {
  monitoring: string;
  maintenance: string;
  drill: string;
  app: string;
  reporting: string;
}

export interface Cluster {
  state: SandboxState;
  /** Ends every process below the sandbox's directory and removes it. Twice is fine. */
  stop(): Promise<void>;
}

/**
 * Brings up a primary with continuous archiving and streaming replicas in a directory of its own: superuser,
 * the database, and a master user as on RDS. Roles and schema of pgkeep are not installed here. Everything
 * ends and disappears with this process, however it ends.
 * @throws PgkeepError `start-failed`; nothing is left then
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const owner = await findOwner();
  const directory = await makeGuardedDirectory(
    owner,
    options.parent === undefined ? {} : { parent: options.parent },
  );
  // initdb runs its own path through a shell: it works below plain names only, wherever the data may be.
  const programs = isPlain(directory.path) ? undefined : await makeGuardedDirectory(owner);
  const stop = async () => {
    await end(directory);
    await programs?.remove();
  };
  try {
    const { binDirectory } = await findBinaries(options.major, owner, (programs ?? directory).path);
    const state = emptyState(options, directory, binDirectory, owner);
    await bringUp(state, options);
    await saveState(state);
    return { state, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const isPlain = (path: string): boolean => /^[\w./-]+$/.test(path);

async function end(directory: GuardedDirectory): Promise<void> {
  if (await exists(directory.path)) await endServersBelow(directory.path);
  await directory.remove();
}

async function bringUp(state: SandboxState, options: ClusterOptions): Promise<void> {
  const progress = options.onProgress ?? (() => {});
  const start: StartOptions = options.signal === undefined ? {} : { signal: options.signal };
  const primary = serverFiles(state, state.primary.dataDirectory);
  for (const path of [state.archiveDirectory, state.backupsDirectory, state.scratchDirectory]) {
    await makeDirectory(primary, path);
  }
  options.signal?.throwIfAborted();
  await initCluster(primary, state.superuser, {
    major: options.major,
    walSegmentMegabytes: options.walSegmentMegabytes ?? 4,
  });
  await configureServer(primary, {
    ...archiveSettings(state.archiveDirectory, options.archiveTimeoutSeconds ?? 10),
    // As with rds.logical_replication, and as RDS allows it: some of the faults need logical slots and two phases.
    wal_level: "logical",
    max_prepared_transactions: 5,
    max_wal_senders: 10 + 2 * state.replicas.length,
    max_replication_slots: 10 + 2 * state.replicas.length,
    // Nothing of a sandbox outlives its process, so nothing has to survive the machine. A killed server loses
    // nothing by it: what it has written is the kernel's.
    fsync: false,
    track_io_timing: true,
    log_lock_waits: true,
    log_temp_files: 0,
    ...(state.postgresMajor >= 16 ? { reserved_connections: reservedConnections } : {}),
    ...options.settings,
  });
  state.primary.port = (await startServer(primary, start)).port;
  progress(`primary: PostgreSQL ${state.postgresMajor} on port ${state.primary.port}`);
  const session = await connectAsSuperuser(state, "postgres");
  const starting: Promise<void>[] = [];
  try {
    await createLoginsAndDatabase(session, state);
    for (const replica of state.replicas) {
      const files = await prepareReplica({
        session,
        primary: { ...primary, port: state.primary.port },
        name: replica.name,
        dataDirectory: replica.dataDirectory,
        replication: state.replication,
        ...start,
      });
      // While the next is being copied.
      const started = startServer(files, start).then(({ port }) => {
        replica.port = port;
        progress(`${replica.name}: streaming, on port ${port}`);
      });
      started.catch(() => {}); // reported by Promise.all below
      starting.push(started);
    }
    await Promise.all(starting);
  } finally {
    // A server that is still starting must not outrun the removal of its directory.
    await Promise.allSettled(starting);
    await session.close();
  }
}

async function createLoginsAndDatabase(session: Session, state: SandboxState): Promise<void> {
  await session.query(
    `create role ${identifier(state.replication.user)} login replication
     password ${literal(state.replication.password)}`,
  );
  await createMasterUser(session, state.master);
  if (state.database !== "postgres") await session.query(`create database ${identifier(state.database)}`);
  const inDatabase = await connectAsSuperuser(state, state.database);
  try {
    await giveDatabaseToMaster(inDatabase, state.master.user);
    // As from 15 on; before, the schema would stay the superuser's, whom the master cannot stand in for.
    await inDatabase.query("alter schema public owner to pg_database_owner");
  } finally {
    await inDatabase.close();
  }
}

function emptyState(
  options: ClusterOptions,
  directory: GuardedDirectory,
  binDirectory: string,
  owner: SandboxState["owner"],
): SandboxState {
  const below = (name: string) => join(directory.path, name);
  const server = (name: string): ServerState => ({ name, dataDirectory: below(name), port: 0 });
  const login = (user: string): Login => ({ user, password: randomPassword() });
  const names = options.roleNames ?? {};
  return {
    formatVersion: 1,
    pid: process.pid,
    startedAt: new Date().toISOString(),
    directory: directory.path,
    postgresMajor: options.major,
    binDirectory,
    owner,
    configFile: options.configFile ?? null,
    databaseKey: options.databaseKey ?? options.database,
    database: options.database,
    primary: server("primary"),
    replicas: Array.from({ length: options.replicas ?? 2 }, (_, index) => server(`replica-${index + 1}`)),
    poolers: null,
    archiveDirectory: below("archive"),
    backupsDirectory: below("backups"),
    scratchDirectory: below("scratch"),
    controlSocket: below("control.sock"),
    routingFile: below("routing.json"),
    metricsFile: below("metrics.jsonl"),
    notificationsFile: below("notifications.jsonl"),
    superuser: login("pgkeep_superuser"),
    master: login("master"),
    roles: {
      monitoring: login(names.monitoring ?? "pgkeep_monitoring"),
      maintenance: login(names.maintenance ?? "pgkeep_maintenance"),
      drill: login(names.drill ?? "pgkeep_drill"),
    },
    application: {
      writer: login(names.app ?? "app"),
      reporting: login(names.reporting ?? "reporting"),
    },
    replication: login("pgkeep_replication"),
  };
}

/** The files of a server of the sandbox: primary, replica or scratch server. */
export function serverFiles(
  state: Pick<SandboxState, "binDirectory" | "owner">,
  dataDirectory: string,
): ServerFiles {
  return { dataDirectory, binDirectory: state.binDirectory, owner: state.owner };
}

/** Starts a server of the sandbox again on the port that it had. */
export async function restartServer(state: SandboxState, server: ServerState): Promise<StartedServer> {
  return startServer(serverFiles(state, server.dataDirectory), { port: server.port });
}

/**
 * Starts a server on files that were made from this cluster (a restored backup) on a free port. It keeps the
 * cluster's settings except for archiving and replication, which would disturb the original, and takes these.
 */
export async function startScratchServer(
  state: Pick<SandboxState, "binDirectory" | "owner">,
  dataDirectory: string,
  settings: ServerSettings,
  options: StartOptions = {},
): Promise<StartedServer> {
  const files = serverFiles(state, dataDirectory);
  await changeSettings(files, {
    archive_mode: false,
    archive_command: null,
    archive_timeout: null,
    primary_conninfo: null,
    primary_slot_name: null,
    ...settings,
  });
  return startServer(files, options);
}

/** As the superuser, whom only the sandbox itself uses. */
export function connectAsSuperuser(
  state: Pick<SandboxState, "primary" | "superuser">,
  database: string,
  port = state.primary.port,
): Promise<Session> {
  return connect({ host: "127.0.0.1", port, database, ...state.superuser }, { lockTimeoutMilliseconds: 0 });
}
