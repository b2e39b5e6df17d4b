import { describe, expect, it } from "vitest";
import type { JobResult } from "../../lib/jobs/job.ts";
import { managePartitions } from "../../lib/jobs/manage-partitions.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { describePartitions } from "../../lib/partitions/describe.ts";
import type { PartitionsReport } from "../../lib/partitions/report.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

interface Options {
  arguments?: unknown;
  dryRun?: boolean;
  login?: TestLogin;
  settings?: Record<string, unknown>;
}

type Tables = Record<string, unknown>[];

async function run(server: TestServer, database: string, tables: Tables, options: Options = {}) {
  const { login, settings, ...rest } = options;
  const result = await runJob(managePartitions, {
    ports: portsFor(server.target(database, login)),
    config: configFor(database, { partitions: { tables, lockTimeoutSeconds: 2, ...settings } }),
    ...rest,
  });
  return { result, report: result.report as unknown as PartitionsReport };
}

function succeeded<T extends { result: JobResult }>(ran: T): T {
  expect(ran.result.error).toBeUndefined();
  expect(ran.result.reason).toBeUndefined();
  expect(ran.result.outcome).toBe("succeeded");
  return ran;
}

/** `name [from, to)` of each partition of the table, as the server has them. */
async function partitionsOf(session: Session, table: string): Promise<string[]> {
  const rows = await session.query<{ text: string }>(
    `select c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) as text
       from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = $1::regclass order by c.relname collate "C"`,
    [table],
  );
  return rows.map(({ text }) => text.replace("FOR VALUES ", ""));
}

const scalar = async <T>(session: Session, sql: string) =>
  Object.values((await session.query<Record<string, T>>(sql))[0] ?? {})[0] as T;

const day = (offset: number) => `(current_date + ${offset})`;

/** Daily partitions of `public.events` for the given days from today. */
async function daily(
  session: Session,
  offsets: number[],
  columns = "id bigint, at timestamptz not null, note text",
) {
  await session.query("set timezone = 'UTC'");
  await session.query(`create table public.events (${columns}) partition by range (at)`);
  for (const offset of offsets) {
    const name = offset < 0 ? `events_m${-offset}` : `events_${offset}`;
    const bounds = await scalar<string>(
      session,
      `select format('from (%L) to (%L)', ${day(offset)}::timestamptz, ${day(offset + 1)}::timestamptz)`,
    );
    await session.query(`create table public.${name} partition of public.events for values ${bounds}`);
  }
}

const events = { table: "public.events", interval: "day", premake: 2 };

describe.each(allMajors)("manage-partitions on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off", wal_level: "logical" } });
  const open = async () => {
    const database = await server.createDatabase();
    return { database, session: await server.connect(database) };
  };

  it("makes the current partition and those ahead, once", async () => {
    const { database, session } = await open();
    await daily(session, []);
    const { report } = succeeded(await run(server, database, [events]));
    const dates = await session.query<{ d: string }>(
      "select to_char(current_date + n, 'YYYYMMDD') as d from generate_series(0, 2) n",
    );
    expect(report.created.entries.map(({ partition }) => partition)).toEqual(
      dates.map(({ d }) => `events_p${d}`),
    );
    expect(report.findings.entries).toEqual([]);
    await session.query(
      "insert into public.events select 1, now() + n * interval '1 day' from generate_series(0, 2) n",
    );
    const again = succeeded(await run(server, database, [events]));
    expect(again.report.created.total).toBe(0);
    await session.close();
  });

  it("catches up what was missed since the last partition, and fills older gaps when it is asked to", async () => {
    const { database, session } = await open();
    await daily(session, [-12, -10]);
    const { report } = succeeded(await run(server, database, [events]));
    expect(report.created.total).toBe(12);
    expect(report.findings.entries.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^no partition has \[.*\), between others: rows of it are refused$/),
    ]);
    const filled = succeeded(await run(server, database, [events], { arguments: { fillGaps: true } }));
    expect(filled.report.created.total).toBe(1);
    expect(filled.report.findings.entries).toEqual([]);
    expect(await partitionsOf(session, "public.events")).toHaveLength(15);
    await session.close();
  });

  it("says every statement, its lock and why in a dry run, and changes nothing", async () => {
    const { database, session } = await open();
    await daily(session, [-9, 0]);
    await session.query("create table public.events_default partition of public.events default");
    await session.query(
      "insert into public.events select n, now() + interval '1 day' from generate_series(1, 7) n",
    );
    const before = await partitionsOf(session, "public.events");
    const { report } = succeeded(
      await run(server, database, [{ ...events, keep: 3, expired: "drop" }], { dryRun: true }),
    );
    expect(await partitionsOf(session, "public.events")).toEqual(before);
    const statements = report.planned?.entries.flatMap((planned) => planned.statements) ?? [];
    expect(statements.every(({ lock, why }) => lock !== "" && why !== "")).toBe(true);
    const texts = statements.map(({ sql }) => sql.split(" ").slice(0, 3).join(" "));
    expect(texts).toEqual(
      expect.arrayContaining(["LOCK TABLE ONLY", "WITH moved AS", 'DROP TABLE "public"."events_m9"']),
    );
    expect(describePartitions(report).join("\n")).toContain(
      "about 7 rows of it are in the default partition",
    );
    await session.close();
  });

  it("retires what is older than it is to keep, as declared", async () => {
    for (const expired of ["detach", "drop", "archive"] as const) {
      const { database, session } = await open();
      await daily(session, [-9, -8, -3, 0]);
      await session.query("comment on table public.events_m9 is 'mine'");
      await session.query("create schema archive");
      await session.query("create table archive.events_m8 ()");
      await session.query(
        "insert into public.events select n, now() - n * interval '1 day' from unnest('{9,8,3,0}'::int[]) n",
      );
      const { report } = succeeded(await run(server, database, [{ ...events, keep: 3, expired }]));
      expect(report.retired.entries.map(({ partition }) => partition)).toEqual([
        '"public"."events_m9"',
        '"public"."events_m8"',
      ]);
      expect(await scalar(session, "select count(*) from public.events")).toBe(2);
      const left = await session.query<{ name: string; comment: string | null }>(
        `select n.nspname || '.' || regexp_replace(relname, '[0-9]{4,}', 'OID') as name, obj_description(c.oid, 'pg_class') as comment
           from pg_class c join pg_namespace n on n.oid = relnamespace where relname like 'events_m%' and not relispartition order by c.oid`,
      );
      expect(left).toEqual(
        expired === "drop"
          ? [{ name: "archive.events_m8", comment: null }]
          : expired === "detach"
            ? [
                { name: "public.events_m9", comment: "mine" },
                { name: "public.events_m8", comment: null },
                { name: "archive.events_m8", comment: null },
              ]
            : [
                { name: "archive.events_m9", comment: "mine" },
                { name: "archive.events_m8_OID", comment: null },
                { name: "archive.events_m8", comment: null },
              ],
      );
      await session.close();
    }
  });

  it("moves rows out of the default partition, and no trigger takes them for deleted", async () => {
    const { database, session } = await open();
    await daily(
      session,
      [-2],
      "id bigint primary key, at timestamptz not null, note text".replace(" primary key", ""),
    );
    await session.query("create table public.events_default partition of public.events default");
    await session.query("create table public.log (what text)");
    await session.query(
      "create function public.note() returns trigger language plpgsql as $$ begin insert into public.log values (tg_op || tg_table_name); return null; end $$",
    );
    await session.query(
      "create trigger noted after insert or delete on public.events for each row execute function public.note()",
    );
    await session.query(
      "create trigger direct after delete on public.events_default for each statement execute function public.note()",
    );
    await session.query("alter table public.events_default enable always trigger direct");
    await session.query(
      "insert into public.events select n, now() + (n % 2) * interval '1 day', n from generate_series(1, 1000) n",
    );
    await session.query(
      "insert into public.events values (0, 'infinity', null), (-1, now() + interval '400 days', null), (-2, now() - interval '40 days', null)",
    );
    const sum = () =>
      scalar(session, "select md5(string_agg(e::text, ',' order by id)) from public.events e");
    const before = await sum();
    await session.query("truncate public.log");
    const { report } = succeeded(await run(server, database, [{ ...events, keep: 10 }]));
    expect(report.created.entries.reduce((total, { movedRows }) => total + movedRows, 0)).toBe(1000);
    expect(await sum()).toBe(before);
    expect(await scalar(session, "select count(*) from only public.events_default")).toBe(3);
    expect(await scalar(session, "select count(*) from public.log")).toBe(0);
    expect(report.findings.entries.map(({ key }) => key.split(":")[0]).sort()).toEqual([
      "default-beyond",
      "default-expired",
      "default-homeless",
    ]);
    expect(
      await session.query(
        "select tgname::text as name, tgenabled::text as state from pg_trigger where tgrelid = 'public.events_default'::regclass order by 1",
      ),
    ).toEqual([
      { name: "direct", state: "A" },
      { name: "noted", state: "O" },
    ]);
    // The clones in the new partitions work.
    await session.query("insert into public.events values (5000, now(), null)");
    expect(await scalar(session, "select count(*) from public.log")).toBe(1);
    await session.close();
  });

  it("moves nothing where it would be too much, or would take other rows with it", async () => {
    const { database, session } = await open();
    await daily(session, [-2], "id bigint, at timestamptz not null, note text, primary key (id, at)");
    await session.query("create table public.events_default partition of public.events default");
    await session.query("insert into public.events select n, now() from generate_series(1, 100) n");
    const much = await run(server, database, [events], { settings: { drainRows: 99 } });
    expect(much.result.outcome).toBe("failed");
    expect(much.report.blocked.entries[0]?.why).toContain("100 rows of it are in default partition");
    await session.query(
      "create table public.parts (id bigint, at timestamptz, foreign key (id, at) references public.events on delete cascade)",
    );
    await session.query("insert into public.parts select id, at from public.events");
    const referred = await run(server, database, [events]);
    expect(referred.report.blocked.entries[0]?.why).toContain("refers to the table");
    expect(await scalar(session, "select count(*) from public.parts")).toBe(100);
    expect(await scalar(session, "select count(*) from public.events")).toBe(100);
    await session.close();
  });

  it("never takes a partition away that is referred to", async () => {
    const { database, session } = await open();
    await daily(session, [-9, 0], "id bigint, at timestamptz not null, note text, primary key (id, at)");
    await session.query("insert into public.events values (1, now() - interval '9 days')");
    await session.query(
      "create table public.parts (id bigint, at timestamptz, foreign key (id, at) references public.events)",
    );
    await session.query("insert into public.parts select id, at from public.events");
    const { report } = succeeded(await run(server, database, [{ ...events, keep: 3, expired: "drop" }]));
    expect(report.retired.total).toBe(0);
    expect(report.blocked.entries[0]?.why).toContain("violates foreign key constraint");
    await session.query("delete from public.parts");
    const again = succeeded(await run(server, database, [{ ...events, keep: 3, expired: "drop" }]));
    expect(again.report.retired.total).toBe(1);
    await session.close();
  });

  it("gives a new partition what its siblings have", async () => {
    const { database, session } = await open();
    const role = `owner_${database}`;
    const reader = `reader_${database}`;
    await session.query(`create role ${role}`);
    await session.query(`create role ${reader}`);
    await session.query(`grant all on schema public to ${role}`);
    await daily(session, [-1], "id bigint not null, at timestamptz not null, note text, unique (id, at)");
    await session.query(`alter table public.events owner to ${role}`);
    await session.query(`alter table public.events_m1 owner to ${role}`);
    await session.query(
      "alter table public.events_m1 set (fillfactor = 70, toast.autovacuum_enabled = false)",
    );
    await session.query(`grant select, update on public.events_m1 to ${reader} with grant option`);
    await session.query(`grant insert (note) on public.events_m1 to ${reader}`);
    await session.query("alter table public.events_m1 enable row level security");
    await session.query(
      `create policy seen on public.events_m1 as restrictive for select to ${reader} using (id > 0)`,
    );
    await session.query(`create index "only Here" on public.events_m1 (note) where note <> ' ON '`);
    await session.query(
      "create function public.nop() returns trigger language plpgsql as 'begin return new; end'",
    );
    await session.query(
      "create trigger own before insert on public.events_m1 for each row execute function public.nop()",
    );
    await session.query("alter table public.events_m1 disable trigger own");
    await session.query("alter table public.events_m1 replica identity using index events_m1_id_at_key");
    await session.query("create publication shown for table public.events_m1");
    await session.query(`grant create on database ${database} to ${role}`);
    await session.query(`alter publication shown owner to ${role}`);
    await session.query(`alter default privileges for role ${role} grant delete on tables to public`);
    succeeded(await run(server, database, [{ ...events, premake: 1 }]));
    const facts = await session.query<Record<string, unknown>>(
      `select pg_get_userbyid(relowner)::text as owner, c.reloptions, (select t.reloptions from pg_class t where t.oid = c.reltoastrelid) as toast,
              relacl::text as acl, relrowsecurity as rls, relreplident::text as identity,
              (select attacl::text from pg_attribute a where attrelid = c.oid and attname = 'note') as column_acl,
              (select json_agg(json_build_array(polname, polpermissive, polcmd, pg_get_expr(polqual, polrelid))) from pg_policy where polrelid = c.oid) as policies,
              (select json_agg(regexp_replace(pg_get_indexdef(indexrelid), ' INDEX .*USING', ' INDEX x USING') order by indisunique) from pg_index where indrelid = c.oid) as indexes,
              (select json_agg(json_build_array(tgname, tgenabled)) from pg_trigger where tgrelid = c.oid) as triggers,
              (select count(*) from pg_publication_rel where prrelid = c.oid) as published
         from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'public.events'::regclass order by c.oid`,
    );
    expect(facts).toHaveLength(3);
    expect(facts[0]?.owner).toBe(role);
    expect(facts[1]).toEqual(facts[0]);
    expect(facts[2]).toEqual(facts[0]);
    await session.close();
  });

  it("looks after ids, dates and times without zone, around what is there", async () => {
    const { database, session } = await open();
    await session.query("create table public.ids (id bigint) partition by range (id)");
    await session.query(
      "create table public.ids_first partition of public.ids for values from (minvalue) to (150)",
    );
    await session.query("create table public.ids_rest partition of public.ids default");
    await session.query("insert into public.ids select generate_series(1, 449)");
    await session.query("insert into public.ids values (9000000000000000000)");
    await session.query("create table public.dates (d date) partition by range (d)");
    await session.query("create table public.times (t timestamp) partition by range (t)");
    const { report } = succeeded(
      await run(server, database, [
        { table: "public.ids", interval: 100, premake: 1, keep: 2 },
        { table: "public.dates", interval: "quarter", premake: 1 },
        { table: "public.times", interval: "hour", premake: 1, timeZone: "Asia/Kolkata" },
      ]),
    );
    expect(await partitionsOf(session, "public.ids")).toEqual([
      "ids_first FROM (MINVALUE) TO ('150')",
      "ids_p150 FROM ('150') TO ('200')",
      "ids_p200 FROM ('200') TO ('300')",
      "ids_p300 FROM ('300') TO ('400')",
      "ids_p400 FROM ('400') TO ('500')",
      "ids_p500 FROM ('500') TO ('600')",
      "ids_rest DEFAULT",
    ]);
    expect(await scalar(session, "select count(*) from only public.ids_rest")).toBe(1);
    expect(report.created.total).toBe(9);
    expect(await partitionsOf(session, "public.dates")).toHaveLength(2);
    await session.query("insert into public.dates values (current_date)");
    await session.query("insert into public.times values (now() at time zone 'Asia/Kolkata')");
    // What the greatest id says, now that it is in a partition.
    const later = succeeded(
      await run(server, database, [
        { table: "public.ids", interval: 100, premake: 1, keep: 2, expired: "drop" },
      ]),
    );
    expect(later.report.retired.entries.map(({ partition }) => partition)).toEqual([
      '"public"."ids_first"',
      '"public"."ids_p150"',
    ]);
    await session.close();
  });

  it("begins days where the time zone does, over the change of the clocks", async () => {
    const { database, session } = await open();
    await daily(session, []);
    succeeded(await run(server, database, [{ ...events, premake: 370, timeZone: "America/New_York" }]));
    await session.query("set timezone = 'America/New_York'");
    const bounds = await partitionsOf(session, "public.events");
    expect(bounds).toHaveLength(371);
    expect(
      bounds.filter(
        (text) =>
          !/FROM \('\d{4}-\d\d-\d\d 00:00:00-0[45]'\) TO \('\d{4}-\d\d-\d\d 00:00:00-0[45]'\)$/.test(text),
      ),
    ).toEqual([]);
    await session.close();
  });

  it("refuses what it cannot do right, and says why", async () => {
    const { database, session } = await open();
    await session.query("create table public.plain (id int)");
    await session.query("create table public.u (id uuid) partition by range (id)");
    await session.query("create table public.l (id int) partition by list (id)");
    await session.query("create table public.two (id int, b int) partition by range (id, b)");
    await session.query("create table public.expression (id int) partition by range ((id + 1))");
    await session.query("create table public.twice (at date, k int) partition by range (at)");
    await session.query(
      "create table public.twice_1 partition of public.twice for values from ('2000-01-01') to ('2001-01-01') partition by list (k)",
    );
    const tables = ["plain", "u", "l", "two", "expression", "twice", "absent"].map((name) => ({
      table: `public.${name}`,
      interval: "year",
    }));
    const { result, report } = await run(server, database, [...tables, tables[0] as Tables[0]]);
    expect(result.outcome).toBe("failed");
    expect(report.refused.entries.map(({ table, why }) => `${table}: ${why.split(":")[0]}`)).toEqual([
      "public.plain: it is not a partitioned table",
      "public.u: its key is a uuid",
      "public.l: it is not partitioned by RANGE of one column",
      "public.two: it is not partitioned by RANGE of one column",
      "public.expression: it is not partitioned by RANGE of one column",
      'public.twice: its partition "public"."twice_1" is partitioned itself',
      "public.absent: there is no such table",
      "public.plain: it is declared twice",
    ]);
    await session.close();
  });

  it("takes hostile names for names", async () => {
    const database = await server.createDatabase(`we"ird \\ ';${major}`);
    const session = await server.connect(database);
    const schema = `s"c ' \\ $1 ${"ü".repeat(20)}`;
    const table = `t"; drop table x; -- \n ${"é".repeat(19)}`;
    const q = (name: string) => `"${name.replaceAll('"', '""')}"`;
    await session.query(`create schema ${q(schema)}`);
    await session.query(
      `create table ${q(schema)}.${q(table)} ("k""e'y" timestamptz not null, "b\\" int) partition by range ("k""e'y")`,
    );
    await session.query(`create table ${q(schema)}."d'e""f" partition of ${q(schema)}.${q(table)} default`);
    await session.query(
      "create function public.nop() returns trigger language plpgsql as 'begin return new; end'",
    );
    await session.query(
      `create trigger "t'r""" after insert on ${q(schema)}.${q(table)} for each row execute function public.nop()`,
    );
    await session.query(`insert into ${q(schema)}.${q(table)} values (now(), 1)`);
    const declared = {
      table: `${q(schema)}.${q(table)}`,
      interval: "month",
      keep: 1,
      expired: "archive",
      archiveSchema: schema,
    };
    const { report } = succeeded(await run(server, database, [declared]));
    expect(report.created.total).toBe(5);
    expect(report.created.entries.map(({ movedRows }) => movedRows)).toContain(1);
    for (const { partition } of report.created.entries)
      expect(Buffer.byteLength(partition)).toBeLessThanOrEqual(63);
    expect(describePartitions(report).every((line) => !line.includes("\n"))).toBe(true);
    const again = succeeded(await run(server, database, [declared]));
    expect(again.report.created.total).toBe(0);
    await session.close();
  });

  it("works as master and as the maintenance role; who may not is told so by name", async () => {
    const declaredTable = { ...events, keep: 3, expired: "drop" };
    const sections = { partitions: { tables: [declaredTable] } };
    const { database, names, master, as } = await installed(server, { sections });
    await as(names.migrations, (session) => daily(session, [-9]));
    const maintenance = { user: names.maintenance, password };
    const { report } = succeeded(await run(server, database, [declaredTable], { login: maintenance }));
    expect(report.created.total).toBeGreaterThan(2);
    expect(report.retired.total).toBe(1);
    await as(undefined, async (session) => {
      const owners = await session.query<{ owner: string }>(
        "select distinct pg_get_userbyid(relowner)::text as owner from pg_class where relname like 'events%' and relkind in ('r', 'p')",
      );
      expect(owners).toEqual([{ owner: names.owner }]);
    });
    // The application reads and writes through the table, as before.
    await as(names.app, (session) => session.query("insert into public.events values (1, now())"));
    const asMaster = succeeded(
      await run(server, database, [{ ...declaredTable, premake: 4 }], { login: master }),
    );
    expect(asMaster.report.created.total).toBe(2);
    const denied = await run(server, database, [declaredTable], {
      login: { user: names.monitoring, password },
    });
    expect(denied.result.outcome).toBe("failed");
    expect(denied.report.notPermitted.entries[0]?.why).toContain(
      `${names.monitoring} may not act for ${names.owner}, who owns it`,
    );
  });

  it("finishes what was interrupted: a pending DETACH CONCURRENTLY, and a partition that was to be dropped", async () => {
    const { database, session } = await open();
    await daily(session, [-9, -8, 0]);
    const reader = await server.connect(database);
    await reader.query("begin");
    await reader.query("select count(*) from public.events");
    // The reader's transaction keeps the server from finishing: what it leaves is real.
    const blocked = await run(server, database, [{ ...events, keep: 3, expired: "drop" }], {
      settings: { lockTimeoutSeconds: 1 },
    });
    expect(blocked.report.retired.total).toBe(0);
    expect(blocked.report.findings.entries.map(({ key }) => key)).toContain("detach-pending:public.events");
    await reader.query("rollback");
    await reader.close();
    const { report } = succeeded(await run(server, database, [{ ...events, keep: 3, expired: "drop" }]));
    expect(report.notes.join()).toContain("that was interrupted is complete");
    expect(report.retired.entries.map(({ outcome }) => outcome)).toEqual(["dropped", "dropped"]);
    expect(report.findings.entries).toEqual([]);
    expect(await scalar(session, "select count(*) from pg_class where relname like 'events_m%'")).toBe(0);
    await session.close();
  });

  it("names large tables that are not partitioned, and how they could be", async () => {
    const { database, session } = await open();
    await session.query("create table public.large (id bigint primary key, at date not null, other int)");
    await session.query("insert into public.large select n, current_date from generate_series(1, 2000) n");
    await session.query("analyze public.large");
    const { report } = succeeded(await run(server, database, [], { settings: { adviseRows: 1500 } }));
    expect(report.advice.entries).toMatchObject([
      { table: '"public"."large"', rows: 2000, candidates: ["at", "id"] },
    ]);
    await session.close();
  });
});
