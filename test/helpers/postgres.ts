import { cp, lstat, mkdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { type ConnectionTarget, type ConnectOptions, connect } from "../../lib/postgres/connect.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { findBinaries } from "../../lib/sandbox/binaries.ts";
import { createMasterUser, giveDatabaseToMaster } from "../../lib/sandbox/master.ts";
import { exists, findOwner, giveTreeTo } from "../../lib/sandbox/owner.ts";
import { randomPassword } from "../../lib/sandbox/passwords.ts";
import { makeGuardedDirectory } from "../../lib/sandbox/reaper.ts";
import {
  configureServer,
  initCluster,
  type ServerFiles,
  startServer,
  stopServer,
} from "../../lib/sandbox/server.ts";
import { startDockerServer } from "./docker.ts";
import { fastestParent } from "./fastest-parent.ts";
import { defaultMajor } from "./majors.ts";

export { fastestParent } from "./fastest-parent.ts";
export { allMajors, defaultMajor, oldestAndNewest } from "./majors.ts";

export interface TestLogin {
  user: string;
  password: string;
}

/** A server of its own for a test file; every property works in tests and hooks only. */
export interface TestServer {
  readonly major: PostgresMajor;
  readonly port: number;
  readonly host: "127.0.0.1";
  readonly dataDirectory: string;
  readonly superuser: TestLogin;
  /** A new database with a unique name, or the given one. */
  createDatabase(name?: string): Promise<string>;
  /**
   * A session as superuser, unless a login is given. A test that leaves one open fails its file,
   * and the session is closed for it.
   */
  connect(database: string, login?: TestLogin, options?: ConnectOptions): Promise<Session>;
  /**
   * NOSUPERUSER CREATEDB CREATEROLE NOREPLICATION as on RDS: member of `rds_superuser`, owner of the
   * database, which has the extensions that RDS would let it create.
   */
  createMaster(database: string): Promise<TestLogin>;
  target(database: string, login?: TestLogin): ConnectionTarget;
}

/** What a way of starting servers gives. */
export interface StartedTestServer {
  port: number;
  dataDirectory: string;
  superuser: TestLogin;
  stop(): Promise<void>;
}

/**
 * Starts a throw-away server for this file (or `describe` block) and stops it after the last test. Its pages have
 * checksums unless `checksums` is false.
 */
export function useServer(
  major: PostgresMajor = defaultMajor,
  options: { settings?: Record<string, string>; checksums?: boolean } = {},
): TestServer {
  let started: StartedTestServer | undefined;
  let created = 0;
  const open = new Map<Session, string>();

  beforeAll(async () => {
    const { settings = {}, checksums = true } = options;
    started =
      process.env.PGKEEP_TEST_SERVERS === "docker"
        ? await startDockerServer(major, settings, checksums)
        : await startEmbeddedServer(major, settings, checksums);
  });

  afterAll(async () => {
    const left = [...open.values()];
    await Promise.all([...open.keys()].map((session) => session.close()));
    await started?.stop();
    expect(left, "sessions that tests left open").toEqual([]);
  });

  const running = (): StartedTestServer => {
    if (started === undefined) throw new Error("the test server runs in tests and hooks only");
    return started;
  };

  const server: TestServer = {
    major,
    host: "127.0.0.1",
    get port() {
      return running().port;
    },
    get dataDirectory() {
      return running().dataDirectory;
    },
    get superuser() {
      return running().superuser;
    },
    target: (database, login) => ({
      host: "127.0.0.1",
      port: running().port,
      database,
      ...(login ?? running().superuser),
    }),
    async connect(database, login, connectOptions) {
      const session = await connect(server.target(database, login), connectOptions);
      open.set(session, `${session.user} at ${session.database}`);
      const close = session.close.bind(session);
      session.close = async () => {
        open.delete(session);
        await close();
      };
      return session;
    },
    async createDatabase(name) {
      created += 1;
      const database = name ?? `test_${created}`;
      await asSuperuser("postgres", (session) => session.query(`create database ${identifier(database)}`));
      return database;
    },
    async createMaster(database) {
      created += 1;
      const login = { user: `master_${created}`, password: randomPassword() };
      await asSuperuser(database, async (session) => {
        await createMasterUser(session, login);
        await giveDatabaseToMaster(session, login.user);
      });
      return login;
    },
  };

  async function asSuperuser(database: string, body: (session: Session) => Promise<unknown>) {
    const session = await connect(server.target(database));
    try {
      await body(session);
    } finally {
      await session.close();
    }
  }

  return server;
}

/**
 * Where the servers are copied to when their account cannot reach the checkout (below /root): once for all
 * test runs. Only a directory of our own that nobody else can write is believed.
 */
export async function copiesDirectory(): Promise<string> {
  const self = process.getuid?.() ?? 0;
  const directory = join(tmpdir(), `pgkeep-test-servers-${self}`);
  await mkdir(directory, { recursive: true, mode: 0o711 });
  const status = await lstat(directory);
  if (!status.isDirectory() || status.uid !== self || (status.mode & 0o022) !== 0) {
    throw new Error(`${directory} could have been written by somebody else: remove it`);
  }
  return directory;
}

const superuser = { user: "postgres", password: "of throw-away servers on loopback" };

/**
 * An empty cluster, made once for each version in a test run and copied from then on: initdb takes longer than
 * many of the tests.
 */
async function copyEmptyCluster(major: PostgresMajor, to: ServerFiles, checksums: boolean): Promise<void> {
  const clusters = process.env.PGKEEP_TEST_CLUSTERS;
  if (clusters === undefined)
    throw new Error("test/helpers/temporary-directory.ts sets PGKEEP_TEST_CLUSTERS");
  const original = join(clusters, `empty-${major}${checksums ? "" : "-without-checksums"}`);
  if (!(await exists(original))) {
    const made = `${original}-by-${process.pid}`;
    await initCluster({ ...to, dataDirectory: made }, superuser, {
      major,
      walSegmentMegabytes: 1,
      checksums,
    });
    // The other test process may have been quicker; an identical one is there then.
    await rename(made, original).catch(() => rm(made, { recursive: true, force: true }));
  }
  await cp(original, to.dataDirectory, { recursive: true, preserveTimestamps: true });
  await giveTreeTo(to.owner, to.dataDirectory);
}

/** Everything of it is in one private directory that disappears even when the test run is killed. */
async function startEmbeddedServer(
  major: PostgresMajor,
  settings: Record<string, string>,
  checksums: boolean,
): Promise<StartedTestServer> {
  const owner = await findOwner();
  const directory = await makeGuardedDirectory(owner, { parent: fastestParent(), prefix: "pgkeep-test-" });
  try {
    const { binDirectory } = await findBinaries(major, owner, await copiesDirectory());
    const files = { dataDirectory: join(directory.path, "data"), binDirectory, owner };
    await copyEmptyCluster(major, files, checksums);
    // Nothing of a test survives the machine, so nothing needs to reach the disk.
    await configureServer(files, {
      fsync: false,
      shared_buffers: "32MB",
      max_wal_senders: 4,
      ...settings,
    });
    const { port } = await startServer(files);
    return {
      port,
      dataDirectory: files.dataDirectory,
      superuser,
      async stop() {
        await stopServer(files.dataDirectory, "immediate");
        await directory.remove();
      },
    };
  } catch (error) {
    await directory.remove();
    throw error;
  }
}
