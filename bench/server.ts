import { join } from "node:path";
import type { ConnectionTarget } from "../lib/postgres/connect.ts";
import type { PostgresMajor } from "../lib/postgres/versions.ts";
import { findBinaries } from "../lib/sandbox/binaries.ts";
import { findOwner } from "../lib/sandbox/owner.ts";
import { randomPassword } from "../lib/sandbox/passwords.ts";
import { makeGuardedDirectory } from "../lib/sandbox/reaper.ts";
import {
  configureServer,
  initCluster,
  type ServerSettings,
  startServer,
  stopServer,
} from "../lib/sandbox/server.ts";

/** Gives `body` an empty server of its own, as superuser in the database `postgres`; it is gone afterwards. */
export async function withServer<T>(
  major: PostgresMajor,
  settings: ServerSettings,
  body: (target: ConnectionTarget) => Promise<T>,
): Promise<T> {
  const owner = await findOwner();
  const directory = await makeGuardedDirectory(owner, {});
  const { binDirectory } = await findBinaries(major, owner, directory.path);
  const files = { dataDirectory: join(directory.path, "data"), binDirectory, owner };
  const login = { user: "bench", password: randomPassword() };
  try {
    await initCluster(files, login);
    await configureServer(files, settings);
    const { port } = await startServer(files);
    return await body({ host: "127.0.0.1", port, database: "postgres", ...login });
  } finally {
    await stopServer(files.dataDirectory, "immediate");
    await directory.remove();
  }
}
