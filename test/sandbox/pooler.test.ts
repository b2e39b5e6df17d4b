import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { databaseConfigSchema } from "../../lib/config/schema.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { answersLogin } from "../../lib/postgres/probe.ts";
import { findOwner, type Owner } from "../../lib/sandbox/owner.ts";
import {
  crashPooler,
  findPgbouncer,
  isPoolerRunning,
  noPgbouncer,
  type PoolerOptions,
  restartPooler,
  startPooler,
  startPoolers,
  stopPooler,
} from "../../lib/sandbox/pooler.ts";
import { type GuardedDirectory, makeGuardedDirectory } from "../../lib/sandbox/reaper.ts";
import type { PoolerState } from "../../lib/sandbox/state.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const pgbouncer = await findPgbouncer();
const title = pgbouncer === null ? `pooler (skipped: ${noPgbouncer})` : "pooler";

describe("finding PgBouncer", () => {
  it("looks in the given path and in the usual places, and takes only a program that says its version", async () => {
    expect(await findPgbouncer("/nowhere:relative:")).toEqual(pgbouncer);
    if (pgbouncer !== null) expect(pgbouncer.version).toMatch(/^\d+\.\d+/);
  });
});

describe.skipIf(pgbouncer === null)(title, () => {
  const server = useServer(defaultMajor);
  const running: PoolerState[] = [];
  let directory: GuardedDirectory;
  let owner: Owner | null;
  const login = { user: `o'brien "=;# é`, password: `p"a's s\\=;#%$ é` };
  const database = `we"ird 'd=b; #x [é]`;

  const options = (changes: Partial<PoolerOptions> = {}): PoolerOptions => ({
    pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
    owner,
    directory: directory.path,
    server: { name: "primary", port: server.port },
    database,
    pooling: databaseConfigSchema.parse({ pooling: { poolSize: 2, borrowTimeoutSeconds: 2 } }).pooling,
    logins: [login],
    ...changes,
  });
  const start = async (changes: Partial<PoolerOptions> = {}): Promise<PoolerState> => {
    const pooler = await startPooler(options(changes));
    running.push(pooler);
    return pooler;
  };
  const through = (pooler: PoolerState, changes: Partial<Parameters<typeof connect>[0]> = {}) =>
    connect({ host: "127.0.0.1", port: pooler.port, database, ...login, ...changes });

  beforeAll(async () => {
    owner = await findOwner();
    directory = await makeGuardedDirectory(owner, { prefix: "pgkeep-test-" });
    await server.createDatabase(database);
    const session = await server.connect("postgres");
    await session.query(`create role ${identifier(login.user)} login password ${literal(login.password)}`);
    await session.close();
  });

  afterEach(async () => {
    await Promise.all(running.splice(0).map(stopPooler));
  });

  afterAll(async () => {
    await directory?.remove();
  });

  it("lets a user in, whatever is in the names and the password", async () => {
    const pooler = await start();
    const session = await through(pooler);
    expect(session).toMatchObject({ user: login.user, database });
    await session.close();
    await stopPooler(pooler);
    expect(await isPoolerRunning(pooler)).toBe(false);
  });

  it("refuses a wrong password, an unknown user and another database", async () => {
    const plain = await server.createDatabase();
    const pooler = await start({ database: plain });
    await expect(through(pooler, { database: plain, password: "wrong" })).rejects.toThrow(
      /authentication failed/i,
    );
    await expect(through(pooler, { database: plain, user: "nobody" })).rejects.toThrow(/authentication/i);
    await expect(through(pooler, { database: "postgres" })).rejects.toThrow(/no such database/i);
    await (await through(pooler, { database: plain })).close();
  });

  it("keeps its passwords to its own account, and runs as it", async () => {
    const pooler = await start();
    const secrets = await stat(join(pooler.directory, "userlist.txt"));
    expect(secrets.mode & 0o777).toBe(0o600);
    expect((await stat(pooler.directory)).mode & 0o777).toBe(0o700);
    expect(secrets.uid).toBe(owner?.uid ?? process.getuid?.());
    const status = await readFile(`/proc/${pooler.pid}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\\s+${secrets.uid}\\s`, "m"));
  });

  it("shares two server connections among ten clients", async () => {
    const pooler = await start();
    const clients = await Promise.all(Array.from({ length: 10 }, () => through(pooler)));
    const pids = await Promise.all(
      clients.map(async (client) => {
        const rows = await client.query<{ pid: number }>(
          "select pg_backend_pid() as pid from pg_sleep(0.02)",
        );
        return rows[0]?.pid;
      }),
    );
    expect(new Set(pids).size).toBeLessThanOrEqual(2);
    await Promise.all(clients.map((client) => client.close()));
  });

  it("comes back on the same port after it was killed", async () => {
    const pooler = await start();
    await crashPooler(pooler);
    expect(await answersLogin({ host: "127.0.0.1", port: pooler.port }, 500)).toBe(false);
    const again = await restartPooler(pooler, options());
    running.push(again);
    expect(again.port).toBe(pooler.port);
    expect(again.pid).not.toBe(pooler.pid);
    await expect(restartPooler(again, options())).rejects.toMatchObject({ code: "refused" });
    await (await through(again)).close();
  });

  it("answers while its server is down, and tells its clients", async () => {
    const pooler = await start({ server: { name: "gone", port: 1 } });
    expect(await answersLogin({ host: "127.0.0.1", port: pooler.port }, 500)).toBe(true);
    await expect(through(pooler)).rejects.toThrow();
  });

  it("says which port is taken, and leaves nothing running", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as { port: number };
    await expect(start({ port })).rejects.toMatchObject({
      code: "start-failed",
      remedy: `free port ${port} on 127.0.0.1`,
    });
    taken.close();
  });

  it("starts one in front of each server, or none", async () => {
    const servers = [
      { name: "primary", port: server.port },
      { name: "replica-1", port: server.port },
    ];
    const both = await startPoolers(servers, options());
    running.push(...both);
    expect(both.map(({ name }) => name)).toEqual(["primary", "replica-1"]);
    expect(new Set(both.map(({ port }) => port)).size).toBe(2);
    await crashPooler(both[1] as PoolerState);
    await (await through(both[0] as PoolerState)).close();
    await stopPooler(both[0] as PoolerState);
    await expect(
      startPoolers(servers, options({ logins: [{ user: "a", password: "" }] })),
    ).rejects.toMatchObject({ code: "configuration" });
  });
});
