import { expect, it } from "vitest";
import { managePartitions } from "../../lib/jobs/manage-partitions.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { PartitionsReport } from "../../lib/partitions/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";

const server = useServer();

/**
 * What pgkeep uses of pg_partman, which the servers of the tests do not have: its row in the catalog, its table of what
 * it looks after, and its function, with the names and defaults that versions 4 and 5 share.
 */
async function installPartman(database: string): Promise<void> {
  const session = await server.connect(database);
  await session.query('create schema "part Man"');
  await session.query('create table "part Man".part_config (parent_table text primary key, premake int)');
  await session.query('create table "part Man".called (by_role name, parent text, path text)');
  await session.query(
    `create function "part Man".run_maintenance(p_parent_table text default null, p_analyze boolean default false,
       p_jobmon boolean default true) returns void language plpgsql as $$
     begin
       insert into called values (current_user, p_parent_table, current_setting('search_path'));
       if p_parent_table is null or p_jobmon then raise 'not so'; end if;
       execute format('create table public.made partition of %s for values from (%s) to (%s)', p_parent_table, 0, 100);
     end $$`,
  );
  await session.query("set allow_system_table_mods = on");
  await session.query(
    `insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
     select (select max(oid::int8) + 1 from pg_class)::oid, 'pg_partman', 10, oid, false, '5.2.4'
       from pg_namespace where nspname = 'part Man'`,
  );
  await session.close();
}

async function run(target: TestServer, database: string, dryRun = false, login?: TestLogin) {
  const result = await runJob(managePartitions, {
    ports: portsFor(target.target(database, login)),
    config: configFor(database, {
      partitions: {
        tables: ["theirs", "ours"].map((table) => ({ table: `public.${table}`, interval: 100, premake: 1 })),
      },
    }),
    dryRun,
  });
  return { result, report: result.report as unknown as PartitionsReport };
}

it("leaves to pg_partman what it looks after, as the table's owner, and sees what came of it", async () => {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  await installPartman(database);
  await session.query("create table public.theirs (id int8) partition by range (id)");
  await session.query("create table public.ours (id int8) partition by range (id)");
  await session.query("create role partman_owner");
  await session.query("grant create on schema public to partman_owner");
  await session.query('grant usage on schema "part Man" to partman_owner');
  await session.query('grant insert on "part Man".called to partman_owner');
  await session.query("alter table public.theirs owner to partman_owner");
  await session.query(`insert into "part Man".part_config values ('public.theirs', 1)`);

  const planned = await run(server, database, true);
  expect(planned.report.planned?.entries[0]?.statements.map(({ sql }) => sql)).toEqual([
    `SELECT "part Man".run_maintenance(p_parent_table => 'public.theirs', p_jobmon => false)`,
  ]);
  expect(await session.query('select from "part Man".called')).toHaveLength(0);

  const { result, report } = await run(server, database);
  expect(result.reason).toBeUndefined();
  expect(report.byPartman).toEqual(["public.theirs"]);
  expect(report.created.entries.map(({ table }) => table)).toEqual(['"public"."ours"', '"public"."ours"']);
  expect(await session.query('select * from "part Man".called')).toEqual([
    { by_role: "partman_owner", parent: "public.theirs", path: 'pg_catalog, "part Man"' },
  ]);
  // pg_partman has made one, and not the one ahead: that is said all the same.
  expect(report.findings.entries).toMatchObject([
    { key: "missing-100:public.theirs", table: "public.theirs", severity: "medium" },
  ]);

  // Now its function fails, because the partition is there.
  const failing = await run(server, database);
  expect(failing.result.outcome).toBe("failed");
  expect(failing.report.failed.entries).toMatchObject([
    { table: "public.theirs", what: "have pg_partman look after it" },
  ]);
  expect(failing.report.byPartman).toEqual([]);
  await session.close();
});

it("touches no table where it may not see whether pg_partman looks after it", async () => {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  await installPartman(database);
  await session.query("create role partman_blind login password 'blind'");
  for (const table of ["theirs", "ours"]) {
    await session.query(`create table public.${table} (id int8) partition by range (id)`);
    await session.query(`alter table public.${table} owner to partman_blind`);
  }
  await session.query("grant create on schema public to partman_blind");
  const { result, report } = await run(server, database, false, { user: "partman_blind", password: "blind" });
  expect(result.outcome).toBe("failed");
  expect(report.created.total).toBe(0);
  expect(report.notPermitted.entries[0]?.why).toContain("may not read part Man.part_config");
  expect(report.notPermitted.entries[0]?.remedy).toContain("GRANT USAGE ON SCHEMA");
  await session.close();
});
