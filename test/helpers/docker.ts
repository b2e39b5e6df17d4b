import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { randomPassword } from "../../lib/sandbox/passwords.ts";
import type { StartedTestServer } from "./postgres.ts";

/**
 * The official image instead of the embedded server (PGKEEP_TEST_SERVERS=docker), for teams with a Docker
 * engine. This path was never run: the machines that pgkeep is developed on have no engine. Tests that look
 * into the data directory cannot use it.
 */
export async function startDockerServer(
  major: PostgresMajor,
  settings: Record<string, string>,
  checksums: boolean,
): Promise<StartedTestServer> {
  const { PostgreSqlContainer } = await import("@testcontainers/postgresql");
  const superuser = { user: "postgres", password: randomPassword() };
  const all = { fsync: "off", shared_preload_libraries: "pg_stat_statements", ...settings };
  const container = await new PostgreSqlContainer(`postgres:${major}`)
    .withUsername(superuser.user)
    .withPassword(superuser.password)
    .withEnvironment(!checksums && major >= 18 ? { POSTGRES_INITDB_ARGS: "--no-data-checksums" } : {})
    .withCommand(["postgres", ...Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`])])
    .start();
  return {
    port: container.getPort(),
    dataDirectory: "/var/lib/postgresql/data",
    superuser,
    async stop() {
      await container.stop();
    },
  };
}
