import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { askPoolers, type PoolerPlace, type PoolerReport, poolLimits } from "../../lib/cli/pools.ts";
import { poolersText } from "../../lib/cli/pools-text.ts";
import { databaseConfigSchema } from "../../lib/config/schema.ts";
import type { PoolFinding } from "../../lib/pooling/findings.ts";
import type { PoolerView } from "../../lib/pooling/pools.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { consoleTargetFromUrl, openPoolerConsole } from "../../lib/postgres/pooler-console.ts";
import { findOwner, type Owner } from "../../lib/sandbox/owner.ts";
import {
  crashPooler,
  findPgbouncer,
  noPgbouncer,
  type PoolerOptions,
  startPooler,
  stopPooler,
} from "../../lib/sandbox/pooler.ts";
import { sendSignal } from "../../lib/sandbox/processes.ts";
import { type GuardedDirectory, makeGuardedDirectory } from "../../lib/sandbox/reaper.ts";
import type { PoolerState } from "../../lib/sandbox/state.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const pgbouncer = await findPgbouncer();
const title = pgbouncer === null ? `pools (skipped: ${noPgbouncer})` : "pools";

const { health } = databaseConfigSchema.parse({});
const strict = {
  waitSeconds: 1,
  usedPercent: 90,
  idleSeconds: 1,
  longWarnSeconds: 1,
  longTicketSeconds: 300,
};

describe.skipIf(pgbouncer === null)(title, () => {
  const server = useServer(defaultMajor);
  const running: PoolerState[] = [];
  const clients: Session[] = [];
  let directory: GuardedDirectory;
  let owner: Owner | null;
  const login = { user: `o'brien "=;# é`, password: "secret of o'brien" };
  const database = `we"ird 'd=b; #x [é]\u202e`;
  const stats = { user: "watcher", password: "only looks" };
  const admin = { user: "boss", password: "may do all" };

  const start = async (
    pooling: Record<string, unknown> = {},
    changes: Partial<PoolerOptions> = {},
  ): Promise<PoolerState> => {
    const pooler = await startPooler({
      pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
      owner,
      directory: directory.path,
      server: { name: "primary", port: server.port },
      database,
      pooling: databaseConfigSchema.parse({
        pooling: { poolSize: 2, reservePoolSize: 0, borrowTimeoutSeconds: 20, ...pooling },
      }).pooling,
      logins: [login, admin],
      adminUser: admin.user,
      statsLogin: stats,
      ...changes,
    });
    running.push(pooler);
    return pooler;
  };
  const through = async (pooler: PoolerState, name: string): Promise<Session> => {
    const client = await connect(
      { host: "127.0.0.1", port: pooler.port, database, ...login, applicationName: name },
      { pooled: true },
    );
    clients.push(client);
    return client;
  };
  const placeOf = (pooler: PoolerState, changes: Partial<PoolerPlace> = {}): PoolerPlace => ({
    name: pooler.name,
    target: { host: "127.0.0.1", port: pooler.port, database: "pgbouncer", ...stats },
    ...changes,
  });
  /** What the console's own commands need; pgkeep gives none. */
  const command = async (pooler: PoolerState, text: string, as = admin): Promise<void> => {
    const client = new pg.Client({ ...placeOf(pooler).target, ...as } as pg.ClientConfig);
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  const ask = async (pooler: PoolerState, limits = strict, changes: Partial<PoolerPlace> = {}) => {
    const report = await askPoolers([placeOf(pooler, changes)], limits);
    return seen(report.poolers[0]);
  };

  beforeAll(async () => {
    owner = await findOwner();
    directory = await makeGuardedDirectory(owner, { prefix: "pgkeep-test-" });
    await server.createDatabase(database);
    const session = await server.connect("postgres");
    await session.query(`create role ${identifier(login.user)} login password ${literal(login.password)}`);
    await session.close();
  });

  afterEach(async () => {
    // A client that still waits ends only with its pooler.
    await Promise.all(running.splice(0).map(stopPooler));
    await Promise.all(clients.splice(0).map((client) => client.close()));
  });

  afterAll(async () => {
    await directory?.remove();
  });

  it("counts who holds and who waits exactly, and says what holds them up", async () => {
    const pooler = await start();
    const [idle, busy, ...waiters] = await Promise.all(
      ["idle one", "busy one", "first", "second", "third"].map((name) => through(pooler, name)),
    );
    await idle?.query("begin");
    await idle?.query("select 'a secret value'");
    const sleeping = busy?.query("select pg_sleep(4), 'another secret'");
    await delay(300);
    const waiting = [waiters[0]?.query("select 1"), waiters[1]?.query("select 1")];
    await delay(2_300);
    const view = await ask(pooler, strict, { server: () => server.connect(database) });

    expect(view.version).toBe(pgbouncer?.version);
    expect(view.pools).toEqual([
      {
        database,
        user: login.user,
        mode: "transaction",
        clients: { active: 3, waiting: 2, cancelling: 0 },
        servers: { active: 2, idle: 0, used: 0, tested: 0, login: 0, cancelling: 0, total: 2 },
        size: 2,
        reserveSize: 0,
        maxWaitSeconds: expect.closeTo(2.4, 0),
      },
    ]);
    expect(view.clients).toEqual({ used: 5, max: 1_000 });
    expect(view.waiting.map(({ application }) => application).sort()).toEqual(["first", "second"]);
    for (const { waitSeconds } of view.waiting) expect(waitSeconds).toBeGreaterThan(2);
    expect(view.holders).toHaveLength(2);
    const holder = (name: string) => view.holders.find(({ application }) => application === name);
    expect(holder("idle one")).toMatchObject({ state: "idle", user: login.user, database });
    expect(holder("busy one")).toMatchObject({ state: "running" });
    for (const { seconds } of view.holders) {
      expect(seconds).toBeGreaterThanOrEqual(1);
      expect(seconds).toBeLessThan(6);
    }
    // Looked up by process and port, on the server itself.
    expect(holder("busy one")?.statement).toBe("select pg_sleep(?), ?");
    expect(holder("idle one")?.statement).toBe("select ?");
    expect(view.findings.map(({ kind, severity }) => [kind, severity])).toEqual([
      ["pool-saturated", "high"],
      ["held", "medium"],
      ["held", "low"],
    ]);
    expect(JSON.stringify(view)).not.toMatch(/secret/);

    // What a finding says to do ends that session and no other.
    const held = view.findings.find(({ title }) => title.includes("idle one"));
    const sql = /: (select .*;)$/.exec(held?.remedy[0] ?? "")?.[1] ?? "";
    const superuser = await server.connect(database);
    expect(await superuser.query(sql)).toHaveLength(1);
    await superuser.close();
    await Promise.all([sleeping, ...waiting]);
    await expect(idle?.query("select 1")).rejects.toThrow();
    expect((await ask(pooler)).findings).toEqual([]);
  });

  it("counts idleness from when a long statement ended, not from when it began", async () => {
    const pooler = await start();
    const client = await through(pooler, "just done");
    await client.query("begin");
    await client.query("select pg_sleep(3)");
    const view = await ask(pooler);
    expect(view.holders).toHaveLength(1);
    expect(view.holders[0]?.state).toBe("idle");
    expect(view.holders[0]?.seconds).toBeLessThanOrEqual(1);
  });

  it("finds nothing wrong with a pooler that works, and has averages by database", async () => {
    const pooler = await start();
    const client = await through(pooler, "fine");
    await client.query("select 1");
    const view = await ask(pooler, poolLimits({ health }));
    expect(view.findings).toEqual([]);
    expect(view.pools[0]?.servers).toMatchObject({ active: 0, total: 1 });
    expect(view.averages.map((one) => one.database)).toEqual([database]);
    expect(view.config).toMatchObject({
      default_pool_size: "2",
      query_wait_timeout: "20",
      pool_mode: "transaction",
    });
    expect(Object.keys(view.config)).not.toContain("auth_file");
  });

  it("tells a session that keeps its connection from a transaction that stays open", async () => {
    const pooler = await start({ mode: "session" });
    const client = await through(pooler, "a session");
    await client.query("select 1");
    await delay(2_100);
    const { findings, holders } = await ask(pooler);
    expect(holders[0]).toMatchObject({ mode: "session", state: "idle" });
    expect(findings).toMatchObject([{ kind: "held", severity: "low" }]);
    expect(findings[0]?.title).toContain("keeps its server connection and has sent nothing for");
    expect(findings[0]?.remedy[0]).toContain("pool_mode = transaction");
  });

  it("says that the server does not answer, not that the pool is too small", async () => {
    const pooler = await start({}, { server: { name: "gone", port: 1 } });
    const attempt = through(pooler, "hopeful").catch(() => undefined);
    await delay(2_200);
    const { findings } = await ask(pooler);
    expect(findings).toMatchObject([{ kind: "clients-waiting", severity: "high" }]);
    expect(findings[0]?.remedy[0]).toContain("PgBouncer gets no connection to 127.0.0.1:1");
    await stopPooler(pooler);
    await attempt;
  });

  it("warns before max_client_conn is reached, and sees what is wrong when it is", async () => {
    const pooler = await start({ maxClientConnections: 10 });
    const open = (count: number) =>
      Promise.all(Array.from({ length: count }, () => through(pooler, "leaky")));
    await open(8);
    expect((await ask(pooler)).findings).toEqual([]);
    await open(1);
    expect((await ask(pooler)).findings).toMatchObject([
      { kind: "client-limit", severity: "high", title: "9 of 10 client connections are in use" },
    ]);
    await open(1);
    await expect(through(pooler, "one too many")).rejects.toThrow(/no more connections allowed/);
    const { findings, clients: counted } = await ask(pooler);
    expect(counted).toEqual({ used: 10, max: 10 });
    expect(findings).toMatchObject([{ kind: "client-limit", severity: "critical" }]);
    expect(findings[0]?.remedy[0]).toContain('"leaky" from 127.0.0.1 has 10');
  });

  it("says that a database is paused or disabled, and how to end it", async () => {
    const plain = await server.createDatabase();
    const pooler = await start({}, { database: plain });
    await command(pooler, `DISABLE ${plain}`);
    expect((await ask(pooler)).findings).toMatchObject([
      { kind: "disabled", severity: "high", remedy: [expect.stringContaining(`ENABLE ${plain};`)] },
    ]);
    await command(pooler, `ENABLE ${plain}`);
    await command(pooler, `PAUSE ${plain}`);
    expect((await ask(pooler)).findings).toMatchObject([
      { kind: "paused", severity: "high", remedy: [expect.stringContaining(`RESUME ${plain};`)] },
    ]);
    await command(pooler, `RESUME ${plain}`);
    expect((await ask(pooler)).findings).toEqual([]);
  });

  it("needs no right to change anything", async () => {
    const plain = await server.createDatabase();
    const pooler = await start({}, { database: plain });
    await expect(command(pooler, `PAUSE ${plain}`, stats)).rejects.toThrow(/admin access needed/);
    expect((await ask(pooler)).findings).toEqual([]);
  });

  it("shows names as they are, without letting them touch the terminal", async () => {
    const pooler = await start();
    await (await through(pooler, "x\u001b[2J")).query("begin");
    const report = await askPoolers([placeOf(pooler)], { ...strict, idleSeconds: 0 });
    const text = poolersText(report, {
      table: (head, rows) => [head, ...rows].map((row) => row.join("|")).join("\n"),
    });
    expect(text).toContain(login.user);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
    expect(text).not.toMatch(/[\u001b\u202e]/);
    expect(text).toContain("\\u202e");
  });

  describe("when it cannot be asked", () => {
    const problemOf = async (place: PoolerPlace) => {
      const { poolers } = await askPoolers([place], strict);
      return (poolers[0] as Extract<PoolerReport, { problem: unknown }>).problem;
    };

    it("tells a wrong password from a user without the right", async () => {
      const pooler = await start();
      const place = placeOf(pooler);
      const wrong = await problemOf({ ...place, target: { ...place.target, password: "wr0ng" } });
      expect(wrong).toMatchObject({ code: "authentication" });
      expect(JSON.stringify(wrong)).not.toMatch(/wr0ng|only looks/);
      const other = await problemOf({ ...place, target: { ...place.target, ...login } });
      expect(other).toMatchObject({
        code: "insufficient-privilege",
        remedy: expect.stringContaining("stats_users"),
      });
    });

    it("says that nothing answers, and still asks the others", async () => {
      const [dead, alive] = [
        await start(),
        await start({}, { server: { name: "replica-1", port: server.port } }),
      ];
      await crashPooler(dead);
      const { poolers } = await askPoolers([placeOf(dead), placeOf(alive)], strict);
      expect(poolers[0]).toMatchObject({ problem: { code: "unreachable" } });
      expect(poolers[1]).toMatchObject({ name: "replica-1", findings: [] });
    });

    it("gives up on one that hangs", async () => {
      const pooler = await start();
      const place = placeOf(pooler);
      const open = await openPoolerConsole(place.target, { queryTimeoutMilliseconds: 500 });
      sendSignal(pooler.pid, "SIGSTOP");
      try {
        await expect(open.show("POOLS")).rejects.toMatchObject({ code: "unreachable" });
        await open.close();
        const problem = await problemOf({
          ...place,
          target: { ...place.target, connectTimeoutMilliseconds: 500 },
        });
        expect(problem).toMatchObject({ code: "unreachable" });
      } finally {
        sendSignal(pooler.pid, "SIGCONT");
      }
    });

    it("recognises a PostgreSQL server, even one with a database of that name", async () => {
      const target = { ...server.target("postgres"), database: "pgbouncer" };
      expect(await problemOf({ name: "x", target })).toMatchObject({ code: "unsupported-server" });
      await server.createDatabase("pgbouncer");
      const problem = await problemOf({ name: "x", target });
      expect(problem).toMatchObject({ code: "unsupported-server", remedy: expect.stringContaining("--url") });
    });

    it("recognises what is no pooler at all", async () => {
      const http = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")).listen(
        0,
        "127.0.0.1",
      );
      await new Promise((resolve) => http.once("listening", resolve));
      const { port } = http.address() as { port: number };
      const target = {
        host: "127.0.0.1",
        port,
        database: "pgbouncer",
        ...stats,
        connectTimeoutMilliseconds: 2_000,
      };
      expect(await problemOf({ name: "x", target })).toMatchObject({ code: "unreachable" });
      http.close();
    });
  });
});

describe("the address of a console", () => {
  it("has no database, or PgBouncer's own", () => {
    const target = { host: "127.0.0.1", port: 6432, user: "watcher", database: "pgbouncer" };
    expect(consoleTargetFromUrl("postgres://watcher@127.0.0.1:6432")).toEqual(target);
    expect(consoleTargetFromUrl("postgres://watcher@127.0.0.1:6432/pgbouncer")).toEqual(target);
    expect(() => consoleTargetFromUrl("postgres://watcher:secret@127.0.0.1:6432/shop")).toThrowError(
      expect.objectContaining({ code: "usage", message: expect.not.stringContaining("secret") }),
    );
  });
});

function seen(report: PoolerReport | undefined): PoolerView & { findings: PoolFinding[] } {
  if (report === undefined || "problem" in report) throw new Error(JSON.stringify(report));
  return report;
}
