import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { describe, expect, it } from "vitest";
import type { JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { vacuum } from "../../lib/jobs/vacuum.ts";
import type { Json } from "../../lib/json.ts";
import { readHorizon } from "../../lib/maintenance/horizon.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier, qualified } from "../../lib/postgres/identifiers.ts";
import type { VacuumReport } from "../../lib/vacuum/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, defaultMajor, type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

/** Nothing but the job itself may vacuum here; small tables must still tell dirty from clean. */
const settings = { autovacuum: "off", max_prepared_transactions: "5", wal_level: "logical" };

interface Options {
  arguments?: unknown;
  dryRun?: boolean;
  login?: TestLogin;
  maintenance?: Record<string, unknown>;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

async function run(server: TestServer, database: string, options: Options = {}) {
  const { login, maintenance, ...rest } = options;
  // Before 15, statistics are read from a file that may be half a second old.
  if (server.major < 15) await delay(700);
  const ports = portsFor(server.target(database, login));
  const config = configFor(
    database,
    maintenance === undefined ? {} : { maintenance: { vacuum: maintenance } },
  );
  const result = await runJob(vacuum, { ports, config, ...rest });
  return { result, report: result.report as unknown as VacuumReport, data: ports.data };
}

function succeeded<T extends { result: JobResult }>(ran: T): T {
  expect(ran.result.reason).toBeUndefined();
  expect(ran.result.outcome).toBe("succeeded");
  return ran;
}

const names = (list: { tables: { schema: string; table: string }[] }) =>
  list.tables.map((entry) => `${entry.schema}.${entry.table}`);
/** The tables of the test itself: what happens to pg_catalog depends on the version. */
const own = (list: { tables: { schema: string; table: string }[] }) =>
  names(list).filter((name) => !name.startsWith("pg_catalog."));

/** A table with 1,000 rows, vacuumed and analysed, without dead rows. */
async function cleanTable(server: TestServer, database: string, name: string, options = ""): Promise<void> {
  await change(
    server,
    database,
    `create table ${name} (id int primary key, note text) ${options === "" ? "" : `with (${options})`}`,
    `insert into ${name} select i, 'note ' || i from generate_series(1, 1000) i`,
  );
  await change(server, database, `vacuum (analyze) ${name}`);
}

async function makeDirty(server: TestServer, database: string, name: string, rows = 500): Promise<void> {
  await change(server, database, `update ${name} set note = note || '!' where id <= ${rows}`);
}

/** In a session of its own: what it did to the statistics is there for others when it has ended. */
async function change(server: TestServer, database: string, ...statements: string[]): Promise<void> {
  const session = await server.connect(database);
  for (const statement of statements) await session.query(statement);
  await session.close();
}

/**
 * Streams from the server as a standby with hot_standby_feedback would, and reports the current transaction id
 * as its horizon. Resolves once the server has taken it; the result ends the stream.
 */
async function reportHorizon(server: TestServer, slot: string | undefined): Promise<() => Promise<void>> {
  const { host, port, user, password } = server.target("postgres");
  const session = await server.connect("postgres");
  const rows = await session.query<{ lsn: string; xid: number }>(
    "select pg_current_wal_lsn()::text as lsn, txid_snapshot_xmax(txid_current_snapshot()) as xid",
  );
  const { lsn, xid } = rows[0] as { lsn: string; xid: number };
  const client = new pg.Client({
    host,
    port,
    user,
    password: String(password),
    application_name: "standby",
    replication: "true",
  } as pg.ClientConfig);
  client.on("error", () => {});
  await client.connect();
  const { connection } = client as unknown as {
    connection: { once(event: string, listener: () => void): void; sendCopyFromChunk(chunk: Buffer): void };
  };
  const streaming = new Promise<void>((resolve) => connection.once("replicationStart", resolve));
  void client
    .query(`START_REPLICATION ${slot === undefined ? "" : `SLOT ${slot} `}PHYSICAL ${lsn}`)
    .catch(() => {});
  await streaming;
  // Hot standby feedback: time, xmin with its epoch, catalog_xmin with its epoch.
  const feedback = Buffer.alloc(25);
  feedback.write("h", 0);
  feedback.writeUInt32BE(xid % 2 ** 32, 9);
  connection.sendCopyFromChunk(feedback);
  await expect
    .poll(() =>
      session.query(
        slot === undefined
          ? "select 1 from pg_stat_replication where application_name = 'standby' and backend_xmin is not null"
          : `select 1 from pg_replication_slots where slot_name = '${slot}' and xmin is not null`,
      ),
    )
    .toHaveLength(1);
  const { stream } = connection as unknown as { stream: { destroy(): void } };
  return async () => {
    stream.destroy();
    await session.query(
      "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'standby'",
    );
    await expect
      .poll(() => session.query("select 1 from pg_stat_replication where application_name = 'standby'"))
      .toHaveLength(0);
    await session.close();
  };
}

async function vacuumCounts(session: Session): Promise<Map<string, number>> {
  if (session.serverVersionNumber < 150_000) await delay(700);
  const rows = await session.query<{ name: string; n: number }>(
    `select schemaname || '.' || relname as name, vacuum_count + analyze_count as n from pg_stat_user_tables`,
  );
  return new Map(rows.map((row) => [row.name, row.n]));
}

describe.each(allMajors)("vacuum on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings });

  it("vacuums dirty tables until they are clean, and leaves clean ones untouched", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    for (const name of ["public.clean_a", "public.clean_b", "public.dirty_a", "public.dirty_b"]) {
      await cleanTable(server, database, name);
    }
    await makeDirty(server, database, "public.dirty_a", 300);
    await makeDirty(server, database, "public.dirty_b", 900);
    const before = await vacuumCounts(session);
    const { report, data } = succeeded(await run(server, database));
    expect(own(report.vacuumed)).toEqual(["public.dirty_b", "public.dirty_a"]);
    for (const entry of report.vacuumed.tables.filter((table) => table.schema === "public")) {
      expect(entry.action).toBe("VACUUM (ANALYZE)");
      expect(entry.deadBefore).toBeGreaterThanOrEqual(300);
      expect(entry.deadAfter).toBe(0);
    }
    const reason = report.vacuumed.tables[0]?.reasons.find((one) => one.counter === "dead rows");
    expect(reason).toEqual({ counter: "dead rows", value: 900, trigger: 250, ratio: 3.6 });
    const after = await vacuumCounts(session);
    expect(after.get("public.clean_a")).toBe(before.get("public.clean_a"));
    expect(after.get("public.clean_b")).toBe(before.get("public.clean_b"));
    expect(after.get("public.dirty_a")).toBe((before.get("public.dirty_a") ?? 0) + 2);
    expect(data.find((datum) => datum.name === "TablesVacuumed")?.value).toBe(report.vacuumed.total);
    expect(data.find((datum) => datum.name === "TablesLeft")?.value).toBe(0);

    const lines = vacuum.describe?.(report as unknown as Json) ?? [];
    expect(lines[0]).toMatch(/^\d+ tables looked at, \d+ due, \d+ done in [\d.]+ of 600 s$/);
    expect(lines.find((line) => line.includes("dirty_b"))).toMatch(
      /^ {2}public\.dirty_b: VACUUM \(ANALYZE\) in [\d.]+ s, for 900 changed rows of 150 \(600 %\), 900 dead rows of 250 \(360 %\); dead rows 900 → 0$/,
    );

    const again = succeeded(await run(server, database));
    expect(own(again.report.vacuumed)).toEqual([]);
    await session.close();
  });

  it("only analyses what has changed without leaving dead rows, and what nobody has ever counted", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.grown");
    await change(
      server,
      database,
      "insert into public.grown select i, 'new' from generate_series(2001, 2200) i",
    );
    await change(server, database, "create table public.fresh (id int)");
    await change(server, database, "insert into public.fresh select generate_series(1, 60)");
    await change(server, database, "create table public.unknown as select generate_series(1, 500) as id");
    await change(server, database, "analyze public.unknown");
    await change(server, database, "select pg_stat_reset_single_table_counters('public.unknown'::regclass)");
    const { report } = succeeded(await run(server, database));
    const actions = Object.fromEntries(
      report.vacuumed.tables.map((entry) => [entry.table, [entry.action, entry.reasons[0]?.counter]]),
    );
    expect(actions.grown).toEqual(["ANALYZE", "changed rows"]);
    expect(actions.fresh).toEqual(["ANALYZE", "changed rows"]);
    expect(actions.unknown).toEqual(["ANALYZE", "unknown contents"]);
    const again = succeeded(await run(server, database));
    expect(own(again.report.vacuumed)).toEqual([]);
    await session.close();
  });

  it("counts each table by its own storage parameters, also where autovacuum is off for it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(
      server,
      database,
      "public.strict",
      "autovacuum_vacuum_threshold=10, autovacuum_vacuum_scale_factor=0",
    );
    await cleanTable(
      server,
      database,
      "public.lax",
      "autovacuum_vacuum_threshold=5000, autovacuum_analyze_threshold=5000",
    );
    await cleanTable(server, database, "public.disabled", "autovacuum_enabled=false");
    await makeDirty(server, database, "public.strict", 20);
    await makeDirty(server, database, "public.lax", 900);
    await makeDirty(server, database, "public.disabled", 900);
    const { report } = succeeded(await run(server, database));
    expect(own(report.vacuumed).sort()).toEqual(["public.disabled", "public.strict"]);
    const strict = report.vacuumed.tables.find((entry) => entry.table === "strict");
    expect(strict?.reasons[0]).toEqual({ counter: "dead rows", value: 20, trigger: 10, ratio: 2 });
    await session.close();
  });

  it("vacuums a table for its TOAST table's sake", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await change(server, database, "create table public.documents (id int primary key, body text)");
    await change(server, database, "alter table public.documents alter body set storage external");
    await change(
      server,
      database,
      "insert into public.documents select i, repeat('x', 100000) from generate_series(1, 60) i",
    );
    await change(
      server,
      database,
      "insert into public.documents select i, 'small' from generate_series(61, 5000) i",
    );
    await change(server, database, "vacuum (analyze) public.documents");
    await change(server, database, "update public.documents set body = repeat('y', 100000) where id <= 60");
    const { report } = succeeded(await run(server, database));
    const entry = report.vacuumed.tables.find((table) => table.table === "documents");
    expect(entry?.action).toBe("VACUUM");
    expect(entry?.reasons[0]).toMatchObject({ counter: "dead rows", toast: true });
    const toast = await session.query<{ dead: number }>(
      `select pg_stat_get_dead_tuples(reltoastrelid) as dead from pg_class where oid = 'public.documents'::regclass`,
    );
    expect(toast[0]?.dead).toBe(0);
    await session.close();
  });

  it("analyses a partitioned table once, and its partitions by their own need", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await change(server, database, "create table public.events (id int, note text) partition by range (id)");
    await change(
      server,
      database,
      "create table public.events_1 partition of public.events for values from (0) to (1000)",
    );
    await change(
      server,
      database,
      "create table public.events_2 partition of public.events for values from (1000) to (2000)",
    );
    await change(server, database, "insert into public.events select i, 'x' from generate_series(0, 1999) i");
    const first = succeeded(await run(server, database));
    expect(own(first.report.vacuumed)).toContain("public.events");
    const rows = await session.query(
      "select 1 from pg_stats where schemaname = 'public' and tablename = 'events' and inherited",
    );
    expect(rows.length).toBeGreaterThan(0);
    const second = succeeded(await run(server, database));
    expect(own(second.report.vacuumed)).toEqual([]);
    await session.close();
  });

  it("skips a locked table and says who holds it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.busy");
    await cleanTable(server, database, "public.free");
    await makeDirty(server, database, "public.busy");
    await makeDirty(server, database, "public.free");
    const locker = await server.connect(database);
    await locker.query("begin");
    await locker.query("lock table public.busy in access exclusive mode");
    const { report } = succeeded(await run(server, database));
    expect(own(report.vacuumed)).toEqual(["public.free"]);
    expect(names(report.skippedLocked)).toEqual(["public.busy"]);
    expect(report.skippedLocked.tables[0]?.heldBy).toMatch(
      /process \d+ of postgres \(pgkeep\), AccessExclusiveLock/,
    );
    await locker.query("rollback");
    await locker.close();
    await session.close();
  });

  it("does not burn its budget while an old transaction keeps the dead rows, and names it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.held");
    const holder = await server.connect(database);
    await holder.query("begin isolation level repeatable read");
    await holder.query("select 1 from public.held limit 1");
    const pid = (await holder.query<{ pid: number }>("select pg_backend_pid() as pid"))[0]?.pid;
    await makeDirty(server, database, "public.held", 900);
    await delay(1_000);
    const before = await vacuumCounts(session);
    const { report } = succeeded(await run(server, database));
    expect(names(report.heldBack)).toContain("public.held");
    expect(report.heldBack.holders[0]).toMatchObject({
      kind: "session",
      pid,
      user: "postgres",
      application: "pgkeep",
      state: "idle in transaction",
      remedy: expect.stringContaining(`pg_terminate_backend(${pid})`),
    });
    const entry = report.vacuumed.tables.find((table) => table.table === "held");
    // What ANALYZE can do is done; VACUUM is left for later.
    expect(entry?.action).toBe("ANALYZE");
    expect((await vacuumCounts(session)).get("public.held")).toBe((before.get("public.held") ?? 0) + 1);
    await holder.query("rollback");
    await holder.close();
    const after = succeeded(await run(server, database));
    expect(own(after.report.vacuumed)).toEqual(["public.held"]);
    expect(after.report.vacuumed.tables.find((table) => table.table === "held")?.deadAfter).toBe(0);
    await session.close();
  });

  it("names a prepared transaction that keeps the dead rows, and how to finish it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.held");
    const gid = `it's "odd"`;
    await session.query("begin");
    await session.query("update public.held set note = 'prepared' where id = 1000");
    await session.query(`prepare transaction 'it''s "odd"'`);
    await makeDirty(server, database, "public.held", 900);
    await delay(1_000);
    const { report } = succeeded(await run(server, database));
    expect(names(report.heldBack)).toContain("public.held");
    expect(report.heldBack.holders).toEqual([
      expect.objectContaining({
        kind: "prepared transaction",
        gid,
        user: "postgres",
        remedy: expect.stringContaining(`ROLLBACK PREPARED 'it''s "odd"'`),
      }),
    ]);
    await session.query(`rollback prepared 'it''s "odd"'`);
    await session.close();
  });

  it("holds back only catalogs for an abandoned logical slot", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.ordinary");
    await session.query("vacuum pg_catalog.pg_attribute");
    await session.query("select pg_create_logical_replication_slot('forgotten', 'pgoutput')");
    for (let i = 0; i < 40; i += 1) {
      await change(
        server,
        database,
        `create table public.passing (${Array.from({ length: 60 }, (_, n) => `c${n} int`).join()})`,
      );
      await change(server, database, "drop table public.passing");
    }
    await makeDirty(server, database, "public.ordinary", 900);
    const { report } = succeeded(await run(server, database));
    expect(own(report.vacuumed)).toEqual(["public.ordinary"]);
    expect(report.vacuumed.tables.find((table) => table.table === "ordinary")?.deadAfter).toBe(0);
    expect(names(report.heldBack)).toContain("pg_catalog.pg_attribute");
    expect(report.heldBack.holders).toEqual([
      expect.objectContaining({
        kind: "replication slot",
        slot: "forgotten",
        holds: "catalogs",
        abandoned: true,
        remedy: expect.stringContaining("pg_drop_replication_slot('forgotten')"),
      }),
    ]);
    await session.query("select pg_drop_replication_slot('forgotten')");
    await session.close();
  });

  it("names an abandoned physical slot with an xmin, and a standby that reports its horizon", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.held");
    await session.query("select pg_create_physical_replication_slot('lost_standby', true)");
    const withSlot = await reportHorizon(server, "lost_standby");
    await withSlot();
    const withoutSlot = await reportHorizon(server, undefined);
    await makeDirty(server, database, "public.held", 900);
    await delay(1_000);
    const { report } = succeeded(await run(server, database));
    expect(names(report.heldBack)).toContain("public.held");
    expect(report.heldBack.holders).toContainEqual(
      expect.objectContaining({
        kind: "replication slot",
        slot: "lost_standby",
        holds: "everything",
        abandoned: true,
        ageSeconds: major >= 17 ? expect.any(Number) : null,
        remedy: expect.stringContaining("pg_drop_replication_slot('lost_standby')"),
      }),
    );
    await session.query("select pg_drop_replication_slot('lost_standby')");
    expect(await readHorizon(session)).toContainEqual(
      expect.objectContaining({
        kind: "standby",
        application: "standby",
        holds: "everything",
        ageTransactions: expect.any(Number),
        remedy: expect.stringContaining("hot_standby_feedback"),
      }),
    );
    await withoutSlot();
    const after = succeeded(await run(server, database));
    expect(after.report.vacuumed.tables.find((table) => table.table === "held")?.deadAfter).toBe(0);
    await session.close();
  });

  it("works on hostile names", async () => {
    const database = await server.createDatabase(`we"ird 'db' ${major}`);
    const session = await server.connect(database);
    const hostile = [
      `it's "quoted"`,
      "two\nlines",
      "x".repeat(63),
      "Größe ünïcødé 表",
      `"; drop table x; --`,
      "MixedCase",
      "%s $1 \\ ",
    ];
    await session.query(`create schema ${identifier(hostile[4] as string)}`);
    for (const name of hostile) {
      const table = qualified(hostile[4] as string, name);
      await cleanTable(server, database, table);
      await change(server, database, `update ${table} set note = note || '!' where id <= 900`);
    }
    const { report } = succeeded(await run(server, database));
    const done = report.vacuumed.tables.filter((entry) => entry.schema === hostile[4]);
    expect(done.map((entry) => entry.table).sort()).toEqual([...hostile].sort());
    expect(done.every((entry) => entry.deadAfter === 0)).toBe(true);
    await session.close();
  });

  it("says what it may not vacuum and which grant is missing, and does the rest", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const login = { user: `keeper_${major}`, password: "secret" };
    await session.query(`create role ${login.user} login password 'secret'`);
    await session.query("create schema hidden");
    await cleanTable(server, database, "public.theirs");
    await cleanTable(server, database, "public.mine");
    await cleanTable(server, database, "hidden.mine");
    for (const table of ["public.mine", "hidden.mine"]) {
      await session.query(`alter table ${table} owner to ${login.user}`);
    }
    for (const table of ["public.theirs", "public.mine", "hidden.mine"])
      await makeDirty(server, database, table, 900);
    const { report } = succeeded(await run(server, database, { login }));
    expect(names(report.vacuumed)).toEqual(["public.mine"]);
    expect(
      Object.fromEntries(report.notPermitted.tables.map((e) => [`${e.schema}.${e.table}`, e.remedy])),
    ).toEqual({
      "public.theirs": expect.stringContaining(
        major >= 17
          ? `GRANT MAINTAIN ON "public"."theirs" TO "${login.user}"`
          : `GRANT "postgres" TO "${login.user}"`,
      ),
      "hidden.mine": `GRANT USAGE ON SCHEMA "hidden" TO "${login.user}"`,
    });
    await session.query(`grant usage on schema hidden to ${login.user}`);
    await session.query(
      major >= 17
        ? `grant maintain on public.theirs to ${login.user}`
        : `alter table public.theirs owner to ${login.user}`,
    );
    const after = succeeded(await run(server, database, { login }));
    expect(names(after.report.vacuumed).sort()).toEqual(["hidden.mine", "public.theirs"]);
    await session.close();
  });

  it("works as the maintenance role that pgkeep installs, from 17 on also on catalogs", async () => {
    const { database, names: roles, as } = await installed(server);
    await as(roles.migrations, async (session) => {
      await session.query("create table public.application (id int primary key, note text)");
      await session.query("insert into public.application select i, 'x' from generate_series(1, 1000) i");
      await session.query("delete from public.application where id <= 900");
      await session.query("create table public.passing (id int)");
    });
    await as(undefined, async (session) => {
      for (let i = 0; i < 20; i += 1) {
        await session.query(
          `create table public.wide (${Array.from({ length: 60 }, (_, n) => `c${n} int`).join()})`,
        );
        await session.query("drop table public.wide");
      }
    });
    const { report } = succeeded(
      await run(server, database, { login: { user: roles.maintenance, password } }),
    );
    expect(names(report.vacuumed)).toContain("public.application");
    if (major >= 17) expect(names(report.vacuumed)).toContain("pg_catalog.pg_attribute");
    // Before, catalogs belong to the superuser and the database to the master: they are counted, not complained of.
    else expect(report.notPermitted.systemCatalogs).toBeGreaterThan(0);
    expect(report.vacuumed.tables.find((table) => table.table === "application")?.deadAfter).toBe(0);
    // Before 17 also pgkeep's own small tables, whose owner nobody is a member of.
    expect(report.notPermitted.tables.filter((entry) => major >= 17 || entry.schema !== "pgkeep")).toEqual(
      [],
    );
  });

  it("does a VACUUM FULL only to tables that are named", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.bloated");
    await cleanTable(server, database, "public.other");
    await change(server, database, "delete from public.bloated where id > 10");
    const size = async (name: string) =>
      (
        await session.query<{ node: number }>(
          "select relfilenode::int8 as node from pg_class where oid = $1::regclass",
          [name],
        )
      )[0]?.node;
    const before = [await size("public.bloated"), await size("public.other")];
    await expect(run(server, database, { arguments: { full: true } })).rejects.toThrow(
      /only to tables that are named/,
    );
    const planned = succeeded(
      await run(server, database, { arguments: { full: true, tables: ["public.bloated"] }, dryRun: true }),
    );
    expect(planned.report.planned?.tables).toEqual([
      expect.objectContaining({
        table: "bloated",
        action: "VACUUM (FULL, ANALYZE)",
        lock: expect.stringContaining("ACCESS EXCLUSIVE"),
        diskNeededBytes: expect.any(Number),
      }),
    ]);
    expect(await size("public.bloated")).toBe(before[0]);
    const { report } = succeeded(
      await run(server, database, { arguments: { full: true, tables: ["public.bloated"] } }),
    );
    expect(names(report.vacuumed)).toEqual(["public.bloated"]);
    expect(await size("public.bloated")).not.toBe(before[0]);
    expect(await size("public.other")).toBe(before[1]);
    await session.close();
  });

  it("finds a young limit of a table's age and freezes it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.aging", "autovacuum_freeze_max_age=100000");
    await session.query(
      "do $$ begin for i in 1..90000 loop perform txid_current(); commit; end loop; end $$",
    );
    const { report } = succeeded(await run(server, database));
    const entry = report.vacuumed.tables.find((table) => table.table === "aging");
    expect(entry?.action).toBe("VACUUM (FREEZE)");
    expect(entry?.reasons).toEqual([
      expect.objectContaining({ counter: "transaction id age", trigger: 100_000 }),
      expect.objectContaining({ counter: "transaction id age", trigger: 100_000, toast: true }),
    ]);
    const rows = await session.query<{ age: number }>(
      "select age(relfrozenxid) as age from pg_class where oid = 'public.aging'::regclass",
    );
    expect(rows[0]?.age).toBeLessThan(1000);
    await session.close();
  });
});

describe("vacuum, on any version", () => {
  const server = useServer(defaultMajor, { settings });

  it("changes nothing in a dry run, and gives the statements with their reasons", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.dirty");
    await makeDirty(server, database, "public.dirty", 900);
    const before = await vacuumCounts(session);
    const { report, data } = succeeded(await run(server, database, { dryRun: true }));
    expect(report.planned?.tables.filter((entry) => entry.schema === "public")).toEqual([
      expect.objectContaining({
        table: "dirty",
        action: "VACUUM (ANALYZE)",
        sql: expect.stringMatching(/^VACUUM \(SKIP_LOCKED, ANALYZE, PARALLEL 0.*\) "public"\."dirty"$/),
      }),
    ]);
    expect(report.vacuumed.total).toBe(0);
    expect(await vacuumCounts(session)).toEqual(before);
    expect(data).toEqual([]);
    await session.close();
  });

  it("does not start a table that would not fit into the budget, and goes on with those that do", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.huge");
    await cleanTable(server, database, "public.small");
    await makeDirty(server, database, "public.huge", 1000);
    await makeDirty(server, database, "public.small", 500);
    await session.query(
      "update pg_class set relpages = 10000000, relallvisible = 0 where oid = 'public.huge'::regclass",
    );
    const { report, data } = succeeded(await run(server, database, { arguments: { budgetSeconds: 20 } }));
    expect(own(report.vacuumed)).toEqual(["public.small"]);
    expect(report.left.tables).toEqual([
      expect.objectContaining({ table: "huge", why: expect.stringContaining("more than a whole run has") }),
    ]);
    expect(report.budgetSeconds).toBe(20);
    expect(data.find((datum) => datum.name === "TablesLeft")?.value).toBe(1);
    await session.close();
  });

  it("stops at the deadline with a report that accounts for every table", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const tables = Array.from({ length: 12 }, (_, i) => `public.t${String(i).padStart(2, "0")}`);
    for (const table of tables) {
      await cleanTable(server, database, table);
      await change(server, database, `update ${table} set note = note || '!'`);
    }
    const stop = new AbortController();
    const { result, report } = await run(server, database, {
      signal: stop.signal,
      onProgress: (message) => {
        if (message.includes("(5 of")) stop.abort(new Error("enough"));
      },
    });
    expect(result.reason).toBeUndefined();
    expect(report.interrupted).toBe(true);
    expect(report.vacuumed.total).toBeGreaterThanOrEqual(4);
    expect(report.vacuumed.total).toBeLessThan(12);
    expect(report.left.total).toBeGreaterThan(0);
    expect(report.vacuumed.total + report.left.total + report.skippedLocked.total).toBe(report.due);
    expect(report.vacuumed.tables.every((entry) => entry.deadAfter !== null)).toBe(true);
    await session.close();
  });

  it("cancels a statement that overruns the budget and says so", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create function public.slow(i int) returns int language plpgsql immutable
                         as $$ begin return i; end $$`);
    await cleanTable(server, database, "public.slow_index");
    await session.query("create index on public.slow_index (public.slow(id))");
    // ANALYZE computes the index's expression for each row of its sample.
    await session.query(`create or replace function public.slow(i int) returns int language plpgsql immutable
                         as $$ begin perform pg_sleep(0.01); return i; end $$`);
    await change(server, database, "delete from public.slow_index where id <= 500");
    const begin = performance.now();
    const { report } = succeeded(await run(server, database, { arguments: { budgetSeconds: 1 } }));
    expect(performance.now() - begin).toBeLessThan(15_000);
    expect(report.left.tables.map((entry) => entry.table)).toContain("slow_index");
    expect(report.left.tables.find((entry) => entry.table === "slow_index")?.why).toContain("was stopped");
    await session.close();
  });

  it("refuses a table that is not there before it does anything", async () => {
    const database = await server.createDatabase();
    const { result } = await run(server, database, { arguments: { tables: ["public.nowhere"] } });
    expect(result.outcome).toBe("failed");
    expect(result.error).toMatchObject({
      code: "not-found",
      message: expect.stringContaining('"public"."nowhere" is not a table'),
    });
  });

  it("vacuums the partitions when the partitioned table is named", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.p (id int) partition by range (id)");
    await session.query("create table public.p1 partition of public.p for values from (0) to (10)");
    await session.query("create table public.outside (id int)");
    const { report } = succeeded(await run(server, database, { arguments: { tables: ["public.p"] } }));
    expect(names(report.vacuumed)).toEqual(["public.p", "public.p1"]);
    await session.close();
  });

  it("vacuums everything when the whole database is asked for", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await cleanTable(server, database, "public.clean");
    const { report } = succeeded(await run(server, database, { arguments: { wholeDatabase: true } }));
    expect(own(report.vacuumed)).toContain("public.clean");
    expect(report.vacuumed.total).toBeGreaterThan(50);
    await session.close();
  });

  it("accounts for every table when its connection is lost half-way, and fails", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create function public.slow(i int) returns int language plpgsql immutable
                         as $$ begin return i; end $$`);
    await cleanTable(server, database, "public.first");
    await cleanTable(server, database, "public.second");
    await session.query("create index on public.second (public.slow(id))");
    await session.query(`create or replace function public.slow(i int) returns int language plpgsql immutable
                         as $$ begin perform pg_sleep(0.05); return i; end $$`);
    await change(server, database, "delete from public.first", "delete from public.second where id <= 500");
    const running = run(server, database);
    await expect
      .poll(
        () =>
          session.query(
            `select pg_terminate_backend(pid) from pg_stat_activity where query like 'VACUUM%"second"' and state = 'active'`,
          ),
        { timeout: 20_000, interval: 20 },
      )
      .toHaveLength(1);
    const { result, report } = await running;
    expect(result.outcome).toBe("failed");
    expect(own(report.vacuumed)).toEqual(["public.first"]);
    expect(report.left.tables.map((entry) => entry.table)).toContain("second");
    expect(report.vacuumed.total + report.left.total).toBe(report.due);
    await session.close();
  });

  it("goes on after a table that cannot be vacuumed, and fails with its name", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create function public.breaks(i int) returns int language plpgsql immutable as $$
      begin if current_setting('application_name') = 'pgkeep' and i > 1000 then raise 'broken'; end if; return i; end $$`);
    await cleanTable(server, database, "public.broken");
    await cleanTable(server, database, "public.whole");
    await session.query("create index on public.broken (public.breaks(id))");
    await session.query(`create or replace function public.breaks(i int) returns int language plpgsql immutable as $$
      begin raise 'broken on purpose'; end $$`);
    await change(server, database, "delete from public.broken where id <= 900");
    await makeDirty(server, database, "public.whole", 500);
    const { result, report } = await run(server, database);
    expect(result.outcome).toBe("failed");
    expect(result.reason).toContain("public.broken");
    expect(report.failed.tables[0]?.error).toContain("broken on purpose");
    expect(own(report.vacuumed)).toEqual(["public.whole"]);
    await session.close();
  });
});
