import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { runJob } from "../../lib/jobs/runner.ts";
import { vacuum } from "../../lib/jobs/vacuum.ts";
import type { Json } from "../../lib/json.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { qualified } from "../../lib/postgres/identifiers.ts";
import type { VacuumReport } from "../../lib/vacuum/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, defaultMajor, type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

async function run(
  server: TestServer,
  database: string,
  options: { login?: TestLogin; arguments?: unknown; dryRun?: boolean } = {},
): Promise<VacuumReport> {
  const { login, ...rest } = options;
  if (server.major < 15) await delay(700);
  const result = await runJob(vacuum, {
    ports: portsFor(server.target(database, login)),
    config: configFor(database, { maintenance: { vacuum: { budgetSeconds: 20 } } }),
    ...rest,
  });
  expect(result.reason).toBeUndefined();
  expect(result.outcome).toBe("succeeded");
  return result.report as unknown as VacuumReport;
}

/** A table with dead rows of which the catalog says that it has 80 GB. */
async function makeHuge(server: TestServer, database: string, table: string, options = ""): Promise<void> {
  await change(
    server,
    database,
    `create table ${table} (id int primary key, note text) ${options}`,
    `insert into ${table} select i, 'x' from generate_series(1, 1000) i`,
    `analyze ${table}`,
    `update ${table} set note = 'y'`,
    `update pg_class set relpages = 10000000, relallvisible = 0 where oid = '${table}'::regclass`,
  );
}

/** In a session of its own: what it did to the statistics is there for others when it has ended. */
async function change(server: TestServer, database: string, ...statements: string[]): Promise<void> {
  const session = await server.connect(database);
  for (const statement of statements) await session.query(statement);
  await session.close();
}

/** What pgkeep uses of pg_cron, which the servers of the tests do not have: its catalog row, tables and functions. */
async function installCron(session: Session): Promise<void> {
  await session.query("create schema cron");
  await session.query(
    "create table cron.job (jobid bigserial primary key, jobname text, schedule text, command text)",
  );
  await session.query(
    "create table cron.job_run_details (jobid bigint, runid bigserial, status text, return_message text)",
  );
  await session.query(
    `create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as
       'insert into cron.job (jobname, schedule, command) values ($1, $2, $3) returning jobid'`,
  );
  await session.query(
    `create function cron.unschedule(job_id bigint) returns boolean language sql as
       'delete from cron.job where jobid = $1 returning true'`,
  );
  await session.query("set allow_system_table_mods = on");
  await session.query(
    `insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
     select (select max(oid::int8) + 1000 from pg_class)::oid, 'pg_cron', 10, oid, false, '1.6' from pg_namespace where nspname = 'cron'`,
  );
  await session.query("reset allow_system_table_mods");
}

async function optionsOf(session: Session, table: string): Promise<string[]> {
  const rows = await session.query<{ options: string[] | null }>(
    `select c.reloptions || (select array_agg('toast.' || o) from unnest(t.reloptions) o) as options
       from pg_class c left join pg_class t on t.oid = c.reltoastrelid where c.oid = $1::regclass`,
    [table],
  );
  return (rows[0]?.options ?? []).sort();
}

const recorded = (session: Session) =>
  session.query("select table_name as table, handed_to as to from pgkeep.vacuum_handover order by 1");
const find = <T extends { table: string }>(list: { tables: T[] }, table: string) =>
  list.tables.find((entry) => entry.table === table);

/** MAINTAIN is from 17 on, and before 15 statistics are late. */
const majors = allMajors.filter((_, n) => n === 0 || n === allMajors.length - 1);

describe.each(majors)("a table too large for one run, on PostgreSQL %i", (major) => {
  // Autovacuum is on, and comes only when a test has it come.
  const server = useServer(major, { settings: { autovacuum: "on", autovacuum_naptime: "1d" } });

  it("is left to autovacuum by the maintenance role, which vacuums it; then its settings are back", async () => {
    const { database, names, as } = await installed(server);
    const login = { user: names.maintenance, password };
    await as(names.migrations, (session) =>
      session.query("create schema store; create table store.small (id int primary key, note text)"),
    );
    await as(undefined, async (session) => {
      await makeHuge(
        server,
        database,
        "store.huge",
        "with (fillfactor=90, autovacuum_vacuum_scale_factor=0.9, autovacuum_vacuum_cost_delay=20)",
      );
      await session.query(`alter table store.huge owner to ${names.owner}`);
      await change(
        server,
        database,
        "insert into store.small select i, 'x' from generate_series(1, 1000) i",
        "delete from store.small where id <= 900",
      );
      const before = await optionsOf(session, "store.huge");

      const planned = await run(server, database, { login, dryRun: true });
      expect(find(planned.handedOver, "huge")).toMatchObject({ to: "autovacuum" });
      expect(await optionsOf(session, "store.huge")).toEqual(before);
      expect(await recorded(session)).toEqual([]);

      const first = await run(server, database, { login });
      expect(find(first.handedOver, "huge")).toMatchObject({
        to: "autovacuum",
        state: "waits for autovacuum",
        sql: ['ALTER TABLE "store"."huge" SET (autovacuum_vacuum_cost_delay = 0)'],
        undo: ['ALTER TABLE "store"."huge" SET (autovacuum_vacuum_cost_delay = 20)'],
      });
      expect(find(first.vacuumed, "huge")).toBeUndefined();
      expect(find(first.left, "huge")).toBeUndefined();
      expect(find(first.vacuumed, "small")).toBeDefined();
      expect(await recorded(session)).toEqual([{ table: "huge", to: "autovacuum" }]);
      expect(await optionsOf(session, "store.huge")).toEqual([
        "autovacuum_vacuum_cost_delay=0",
        "autovacuum_vacuum_scale_factor=0.9",
        "fillfactor=90",
      ]);

      const second = await run(server, database, { login });
      expect(find(second.handedOver, "huge")).toMatchObject({ state: "waits for autovacuum" });
      expect(second.takenBack.tables).toEqual([]);
      expect(find(second.vacuumed, "huge")).toBeUndefined();

      await session.query("alter system set autovacuum_naptime = '1s'");
      await session.query("select pg_reload_conf()");
      await expect
        .poll(
          () =>
            session.query(
              "select from pg_stat_user_tables where relname = 'huge' and last_autovacuum is not null",
            ),
          { timeout: 60_000, interval: 500 },
        )
        .toHaveLength(1);
      await session.query("alter system reset autovacuum_naptime");
      await session.query("select pg_reload_conf()");

      const third = await run(server, database, { login });
      expect(find(third.takenBack, "huge")).toMatchObject({
        to: "autovacuum",
        outcome: "vacuumed",
        sql: ['ALTER TABLE "store"."huge" SET (autovacuum_vacuum_cost_delay = 20)'],
      });
      expect(await optionsOf(session, "store.huge")).toEqual(before);
      expect(await recorded(session)).toEqual([]);
      const lines = vacuum.describe?.(third as unknown as Json) ?? [];
      expect(lines.join("\n")).toMatch(
        /No longer left to others:\n {2}store\.huge: vacuumed by autovacuum after/,
      );
    });
  });

  it("is named with what its owner can do where the role may only vacuum it", async () => {
    const { database, names, as } = await installed(server);
    const login = { user: names.maintenance, password };
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.theirs");
      const report = await run(server, database, { login });
      if (major >= 17) {
        expect(find(report.left, "theirs")?.why).toContain(
          'only "postgres" may change its settings, with ALTER TABLE "public"."theirs" SET (autovacuum_vacuum_cost_delay = 0)',
        );
      } else {
        expect(find(report.notPermitted, "theirs")?.remedy).toContain('GRANT "postgres"');
      }
      expect(await recorded(session)).toEqual([]);
      expect(await optionsOf(session, "public.theirs")).toEqual([]);
    });
  });

  it("is handed over by the master user as well", async () => {
    const { database, master, as, asMaster } = await installed(server);
    await asMaster((session) => session.query("create table public.mine (id int primary key, note text)"));
    await as(undefined, async (session) => {
      await change(
        server,
        database,
        "insert into public.mine select i, 'x' from generate_series(1, 1000) i",
        "analyze public.mine",
        "delete from public.mine where id <= 900",
      );
      await session.query("update pg_class set relpages = 10000000 where oid = 'public.mine'::regclass");
      const report = await run(server, database, { login: master });
      const handed = find(report.handedOver, "mine");
      expect(handed).toMatchObject({ to: "autovacuum" });
      expect(await optionsOf(session, "public.mine")).toEqual(["autovacuum_vacuum_cost_delay=0"]);
    });
  });
});

describe("a table that was handed over, on any version", () => {
  const server = useServer(defaultMajor, { settings: { autovacuum: "on", autovacuum_naptime: "1d" } });

  it("is handed over for its TOAST table alone, whatever it is called", async () => {
    const { database, as } = await installed(server);
    const name = qualified('we"ird', `it's %I; drop table x; --`);
    await as(undefined, async (session) => {
      await change(
        server,
        database,
        `create schema "we""ird"; create table ${name} (id int primary key, body text)`,
        `alter table ${name} alter body set storage external`,
        `insert into ${name} select i, repeat('x', 100000) from generate_series(1, 60) i`,
        `insert into ${name} select i, 'small' from generate_series(61, 5000) i`,
      );
      await change(
        server,
        database,
        `vacuum (analyze) ${name}`,
        `update ${name} set body = repeat('y', 100000) where id <= 60`,
      );
      await session.query(
        `update pg_class set relpages = 10000000, relallvisible = 0
          where oid = (select reltoastrelid from pg_class where oid = $1::regclass)`,
        [name],
      );
      const first = await run(server, database);
      expect(first.handedOver.tables).toMatchObject([
        { to: "autovacuum", sql: [`ALTER TABLE ${name} SET (toast.autovacuum_vacuum_cost_delay = 0)`] },
      ]);
      expect(await optionsOf(session, name)).toEqual(["toast.autovacuum_vacuum_cost_delay=0"]);
      await session.query(`vacuum ${name}`);
      const second = await run(server, database);
      expect(second.takenBack.tables).toMatchObject([{ outcome: "vacuumed" }]);
      expect(await optionsOf(session, name)).toEqual([]);
    });
  });

  it("keeps what somebody has set since, and is forgotten when it is dropped", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.kept");
      await makeHuge(server, database, "public.dropped");
      await run(server, database);
      expect(await recorded(session)).toHaveLength(2);
      await session.query("alter table public.kept set (autovacuum_vacuum_cost_delay = 7)");
      await session.query("vacuum public.kept");
      await session.query("drop table public.dropped");
      const report = await run(server, database);
      expect(find(report.takenBack, "kept")).toMatchObject({ outcome: "vacuumed", sql: [] });
      expect(find(report.takenBack, "dropped")).toMatchObject({ outcome: "the table is gone" });
      expect(await optionsOf(session, "public.kept")).toEqual(["autovacuum_vacuum_cost_delay=7"]);
      expect(await recorded(session)).toEqual([]);
    });
  });

  it("gets its settings back after handOverDays, and is handed over anew", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.forgotten");
      await run(server, database);
      await session.query("update pgkeep.vacuum_handover set begun_at = begun_at - interval '4 days'");
      const report = await run(server, database);
      expect(find(report.takenBack, "forgotten")).toMatchObject({ outcome: "not vacuumed in time" });
      expect(find(report.handedOver, "forgotten")).toMatchObject({ sinceSeconds: 0 });
      expect(await recorded(session)).toHaveLength(1);
    });
  });

  it("is left as it is while somebody holds its lock: nobody is made to wait, and no autovacuum is cancelled", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.locked");
      const holder = await server.connect(database);
      await holder.query("begin; lock table public.locked in share update exclusive mode");
      const report = await run(server, database);
      expect(find(report.left, "locked")?.why).toContain("its lock is held by somebody else");
      expect(await recorded(session)).toEqual([]);
      await holder.query("rollback");
      expect(find((await run(server, database)).handedOver, "locked")).toBeDefined();
      // Nor is it put back while the lock is held.
      await session.query("vacuum public.locked");
      await holder.query("begin; lock table public.locked in share update exclusive mode");
      const held = await run(server, database);
      expect(find(held.handedOver, "locked")?.state).toContain("could not be put back yet");
      expect(await recorded(session)).toHaveLength(1);
      await holder.query("rollback");
      await holder.close();
      expect(find((await run(server, database)).takenBack, "locked")).toBeDefined();
      expect(await optionsOf(session, "public.locked")).toEqual([]);
    });
  });

  it("is vacuumed all the same when a person names it and gives the time", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.named");
      await run(server, database);
      const result = await runJob(vacuum, {
        ports: portsFor(server.target(database)),
        config: configFor(database, { maintenance: { vacuum: { budgetSeconds: 20 } } }),
        arguments: { tables: ["public.named"], budgetSeconds: 800 },
      });
      const report = result.report as unknown as VacuumReport;
      // 10 million pages take half an hour by the first guess: that is not started either.
      expect(find(report.left, "named")?.why ?? "").toContain("more than a whole run has");
      await session.query("update pg_class set relpages = 10 where oid = 'public.named'::regclass");
      const again = await run(server, database, { arguments: { tables: ["public.named"] } });
      expect(find(again.vacuumed, "named")).toBeDefined();
      expect(find((await run(server, database)).takenBack, "named")).toBeDefined();
    });
  });

  it("is not touched without schema pgkeep: nothing would put it back", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await makeHuge(server, database, "public.huge");
    const report = await run(server, database);
    expect(find(report.left, "huge")?.why).toContain("`pgkeep install` would let it be handed to autovacuum");
    expect(await optionsOf(session, "public.huge")).toEqual([]);
    await session.close();
  });

  it("is foreseen by what earlier runs have measured, and by an attempt that was stopped", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await makeHuge(server, database, "public.first");
      await makeHuge(server, database, "public.stopped");
      // 50,000 pages: 10 s by the first guess, so that both would be begun.
      await session.query(
        "update pg_class set relpages = 50000 where oid in ('public.first'::regclass, 'public.stopped'::regclass)",
      );
      const plannedFor = async () => {
        const { planned, handedOver } = await run(server, database, { dryRun: true });
        return [planned?.tables ?? [], handedOver.tables].map((list) =>
          list.map((entry) => entry.table).filter((table) => ["first", "stopped"].includes(table)),
        );
      };
      const fits = await plannedFor();
      expect(fits[0]).toContain("first");
      expect(fits[1]).toEqual([]);
      const earlier = (report: unknown) =>
        session.query(
          `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome, seconds, report)
           values (gen_random_uuid()::text, 'vacuum', now(), now(), 'succeeded', 1, $1::jsonb)`,
          [JSON.stringify(report)],
        );
      await earlier({
        vacuumed: { tables: [] },
        left: { tables: [{ schema: "public", table: "stopped", stoppedAfterSeconds: 19.5 }] },
      });
      expect(await plannedFor()).toEqual([["first"], ["stopped"]]);
      // A disk that gives 200 pages a second.
      await earlier({
        vacuumed: { tables: [{ schema: "public", table: "other", pages: 100_000, seconds: 500 }] },
        left: { tables: [] },
      });
      expect((await plannedFor())[1]?.sort()).toEqual(["first", "stopped"]);
    });
  });

  it("has advice beside it, which the server takes, and which is gone once it is followed", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await change(
        server,
        database,
        "create table public.parts (id int, note text) partition by range (id)",
        `create table public."part's 1" partition of public.parts for values from (0) to (1000000)
           with (autovacuum_enabled = off)`,
        "create table public.large (id int primary key, note text) with (autovacuum_vacuum_scale_factor = 0.3)",
        "insert into public.large select i, 'x' from generate_series(1, 1000) i",
        "delete from public.large where id <= 500",
      );
      await session.query(
        "update pg_class set reltuples = 50000000, relpages = 1000000 where oid = 'public.large'::regclass",
      );
      const advise = () => run(server, database, { arguments: { advice: true } });
      const own = (report: VacuumReport) =>
        report.advice.tables
          .filter(({ schema }) => schema === "public")
          .sort((a, b) => (a.table < b.table ? -1 : 1));
      const first = await advise();
      expect(first.vacuumed.total).toBe(0);
      expect(first.autovacuum?.tables.find(({ table }) => table === "large")).toMatchObject({
        deadRows: 500,
      });
      expect(own(first).map(({ table, sql, rollback }) => ({ table, sql, rollback }))).toEqual([
        {
          table: "large",
          sql: ['ALTER TABLE "public"."large" SET (autovacuum_vacuum_scale_factor = 0.01)'],
          rollback: ['ALTER TABLE "public"."large" SET (autovacuum_vacuum_scale_factor = 0.3)'],
        },
        {
          table: "part's 1",
          sql: [`ALTER TABLE "public"."part's 1" RESET (autovacuum_enabled)`],
          rollback: [`ALTER TABLE "public"."part's 1" SET (autovacuum_enabled = 'off')`],
        },
      ]);
      expect(own(first)[1]?.why.at(-1)).toBe("it is a partition: new ones need the same");
      const text = (vacuum.describe?.(first as unknown as Json) ?? []).join("\n");
      expect(text).toContain("Advice for public.large:\n  autovacuum waits for 15,000,050 dead rows");
      for (const sql of own(first).flatMap((advice) => advice.sql)) await session.query(sql);
      expect(own(await advise())).toEqual([]);
      for (const sql of own(first).flatMap((advice) => advice.rollback)) await session.query(sql);
      expect(own(await advise())).toHaveLength(2);
    });
  });

  it("is given to pg_cron where that is installed, once, and to autovacuum when its job fails", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await installCron(session);
      await makeHuge(server, database, "public.huge");
      const first = await run(server, database);
      expect(find(first.handedOver, "huge")).toMatchObject({ to: "pg_cron", state: "scheduled", undo: [] });
      const jobs = () =>
        session.query<{ name: string; schedule: string; command: string }>(
          "select jobname as name, schedule, command from cron.job",
        );
      const [job] = await jobs();
      expect(job).toMatchObject({ command: find(first.handedOver, "huge")?.sql[0] });
      // It may wait for its lock: nobody queues behind a VACUUM that reads or writes.
      expect(job?.command).toMatch(/^VACUUM \(ANALYZE, PARALLEL 0[^)]*\) "public"."huge"$/);
      // One moment of the year, 20 to 80 seconds ahead.
      expect(job?.schedule).toMatch(/^\d{1,2} \d{1,2} \d{1,2} \d{1,2} \*$/);
      expect(await optionsOf(session, "public.huge")).toEqual([]);
      expect(find((await run(server, database)).handedOver, "huge")).toMatchObject({ to: "pg_cron" });
      expect(await jobs()).toHaveLength(1);

      await session.query(
        "insert into cron.job_run_details (jobid, status) select jobid, 'succeeded' from cron.job",
      );
      await session.query(job?.command ?? "");
      const second = await run(server, database);
      expect(find(second.takenBack, "huge")).toMatchObject({ to: "pg_cron", outcome: "vacuumed" });
      expect(await jobs()).toEqual([]);

      await makeHuge(server, database, "public.failing");
      await run(server, database);
      await session.query(
        "insert into cron.job_run_details (jobid, status, return_message) select jobid, 'failed', 'no worker' from cron.job",
      );
      const third = await run(server, database);
      expect(find(third.takenBack, "failing")).toMatchObject({ outcome: "pg_cron's job failed: no worker" });
      expect(find(third.handedOver, "failing")).toMatchObject({ to: "autovacuum" });
      expect(await jobs()).toEqual([]);
      expect(await recorded(session)).toEqual([{ table: "failing", to: "autovacuum" }]);
    });
  });

  it("is left to autovacuum where pg_cron may not be used, and says what that would take", async () => {
    const { database, names, as } = await installed(server);
    await as(undefined, async (session) => {
      await installCron(session);
      await session.query("revoke usage on schema cron from public");
      await makeHuge(server, database, "public.huge");
      await session.query(`alter table public.huge owner to ${names.owner}`);
      const report = await run(server, database, { login: { user: names.maintenance, password } });
      expect(find(report.handedOver, "huge")).toMatchObject({
        to: "autovacuum",
        notes: [`pg_cron may not be used: GRANT USAGE ON SCHEMA cron TO "${names.maintenance}"`],
      });
      expect(await session.query("select from cron.job")).toEqual([]);
    });
  });
});
