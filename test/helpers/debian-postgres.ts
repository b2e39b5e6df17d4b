import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { findOwner } from "../../lib/sandbox/owner.ts";
import { randomPassword } from "../../lib/sandbox/passwords.ts";
import { makeGuardedDirectory } from "../../lib/sandbox/reaper.ts";
import { configureServer, initCluster, startServer, stopServer } from "../../lib/sandbox/server.ts";
import { fastestParent } from "./postgres.ts";

const root = "/usr/lib/postgresql/15";

/** Whether Debian's PostgreSQL 15 is installed with this extension, which npm's servers do not have. */
export function hasDebianExtension(name: string): boolean {
  return (
    existsSync(`${root}/bin/postgres`) && existsSync(`/usr/share/postgresql/15/extension/${name}.control`)
  );
}

/** Debian's PostgreSQL 15 for this file; the session is the superuser's, usable in tests and hooks. */
export function useDebianServer(): { connect(database?: string): Promise<Session> } {
  let stop: () => Promise<void> = async () => {};
  let open: ((database: string) => Promise<Session>) | undefined;
  beforeAll(async () => {
    const owner = await findOwner();
    const directory = await makeGuardedDirectory(owner, { parent: fastestParent(), prefix: "pgkeep-test-" });
    const files = { dataDirectory: join(directory.path, "data"), binDirectory: `${root}/bin`, owner };
    const superuser = { user: "postgres", password: randomPassword() };
    stop = () => directory.remove();
    await initCluster(files, superuser, { major: 15, walSegmentMegabytes: 1 });
    await configureServer(files, { fsync: false, shared_buffers: "32MB", autovacuum: false });
    const { port } = await startServer(files);
    stop = async () => {
      await stopServer(files.dataDirectory, "immediate");
      await directory.remove();
    };
    open = (database) => connect({ host: "127.0.0.1", port, database, ...superuser });
  });
  afterAll(() => stop());
  return {
    connect: (database = "postgres") => {
      if (open === undefined) throw new Error("the server runs in tests and hooks only");
      return open(database);
    },
  };
}
