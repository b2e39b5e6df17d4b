import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import type { BackupPlaces } from "../../lib/sandbox/backups.ts";
import { findBinaries } from "../../lib/sandbox/binaries.ts";
import { findOwner, giveTo } from "../../lib/sandbox/owner.ts";
import { makeGuardedDirectory } from "../../lib/sandbox/reaper.ts";
import { configureServer, initCluster, startServer, stopServer } from "../../lib/sandbox/server.ts";
import { copiesDirectory, defaultMajor, fastestParent } from "./postgres.ts";

/** A primary with WAL archiving and the directories that backups and restores use. */
export interface ArchivedPrimary {
  readonly places: BackupPlaces;
  /** A session as superuser on the primary. */
  connect(database?: string): Promise<Session>;
  /** Starts it again after it was stopped or crashed. */
  restart(): Promise<void>;
}

/** Starts one for this test file (or `describe` block); everything of it is removed afterwards. */
export function useArchivedPrimary(major: PostgresMajor = defaultMajor): ArchivedPrimary {
  let places: BackupPlaces | undefined;
  let stop = async () => {};
  const started = (): BackupPlaces => {
    if (places === undefined) throw new Error("the primary runs in tests and hooks only");
    return places;
  };

  beforeAll(async () => {
    const owner = await findOwner();
    const directory = await makeGuardedDirectory(owner, { parent: fastestParent(), prefix: "pgkeep-test-" });
    const at = (name: string) => join(directory.path, name);
    stop = () => directory.remove();
    const { binDirectory } = await findBinaries(major, owner, await copiesDirectory());
    for (const name of ["archive", "backups", "scratch"]) {
      await mkdir(at(name), { mode: 0o700 });
      await giveTo(owner, at(name));
    }
    const files = { dataDirectory: at("primary"), binDirectory, owner };
    const superuser = { user: "postgres", password: "a 'hostile' password" };
    await initCluster(files, superuser, { walSegmentMegabytes: 1 });
    await configureServer(files, {
      fsync: false,
      shared_buffers: "32MB",
      archive_mode: "on",
      archive_command: `cp -p "%p" "${at("archive")}/.%f" && mv "${at("archive")}/.%f" "${at("archive")}/%f"`,
      autovacuum: false,
    });
    const { port } = await startServer(files);
    places = {
      database: "shop",
      primary: { name: "primary", dataDirectory: files.dataDirectory, port },
      superuser,
      archiveDirectory: at("archive"),
      backupsDirectory: at("backups"),
      scratchDirectory: at("scratch"),
      binDirectory,
      owner,
    };
    const session = await open("postgres");
    await session.query('create database "shop"');
    await session.close();
  });

  afterAll(async () => {
    if (places !== undefined) await stopServer(places.primary.dataDirectory, "immediate");
    await stop();
  });

  const open = (database: string) =>
    connect({ host: "127.0.0.1", port: started().primary.port, database, ...started().superuser });

  return {
    get places() {
      return started();
    },
    connect: (database = "shop") => open(database),
    async restart() {
      const { primary, binDirectory, owner } = started();
      await startServer(
        { dataDirectory: primary.dataDirectory, binDirectory, owner },
        { port: primary.port },
      );
    },
  };
}
