import { open } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "./installed.ts";

describe.each(allMajors)("functions that prove data without showing it, on PostgreSQL %i", (major) => {
  const server = useServer(major);
  let shop: Installed;
  let drill: Session;

  beforeAll(async () => {
    shop = await installed(server, { database: "shop" });
    await owner("create schema store");
  });

  const owner = (...statements: string[]) =>
    shop.as(shop.names.migrations, async (session) => {
      for (const statement of statements) await session.query(statement);
    });
  const superuser = (sql: string) => shop.as(undefined, (session) => session.query(sql));
  /** What the drill's role gets; `name` is looked up without any right on its schema. */
  const ask = <T>(call: string, name: string, database = shop.database): Promise<T> =>
    (async () => {
      drill = await server.connect(database, { user: shop.names.drill, password: "correct horse" });
      try {
        const rows = await drill.query<{ answer: T }>(
          `select ${call} as answer from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'store' and c.relname = $1`,
          [name],
        );
        expect(rows.length, `one answer about ${name}`).toBe(1);
        return (rows[0] as { answer: T }).answer;
      } finally {
        await drill.close();
      }
    })();
  const rowsOf = (name: string) => ask<number>("pgkeep.table_rows(c.oid)", name);
  const hashOf = (name: string) => ask<string>("pgkeep.table_hash(c.oid)", name);

  it("count the rows of tables, partitioned tables and materialised views, children not twice", async () => {
    await owner(
      "create table store.plain (a int)",
      "insert into store.plain select generate_series(1, 7)",
      "create table store.child () inherits (store.plain)",
      "insert into store.child values (8)",
      "create table store.parted (a int) partition by range (a)",
      "create table store.parted_1 partition of store.parted for values from (0) to (5)",
      "create table store.parted_2 partition of store.parted for values from (5) to (9)",
      "insert into store.parted select generate_series(0, 8)",
      "create materialized view store.kept as select * from store.plain",
      "create table store.empty ()",
      "insert into store.empty default values",
      'create table store."t ""o.p\n" (t text, "t.*" text)',
      'insert into store."t ""o.p\n" values (null, \'\')',
    );
    expect(await rowsOf("plain")).toBe(7);
    expect(await rowsOf("child")).toBe(1);
    expect(await rowsOf("parted")).toBe(9);
    expect(await rowsOf("parted_1")).toBe(5);
    expect(await rowsOf("kept")).toBe(8);
    expect(await rowsOf("empty")).toBe(1);
    expect(await rowsOf('t "o.p\n')).toBe(1);
    expect(await hashOf("empty")).toMatch(/^1:/);
    expect(await hashOf('t "o.p\n')).toMatch(/^1:/);
  });

  it("hash contents, not order: equal for equal rows, different for any other", async () => {
    const table =
      "create table store.%s (id int, note text, at timestamptz, amount float8, raw bytea, doc jsonb)";
    const rows = `select g, 'note ' || g, timestamptz '2026-01-01 00:00Z' + g * interval '1 hour',
      g / 7.0, decode(lpad(g::text, 4, '0'), 'hex'), jsonb_build_object('g', g) from generate_series(1, 500) g`;
    for (const name of ["h1", "h2", "h3", "h4"]) await owner(table.replace("%s", name));
    await owner(
      `insert into store.h1 ${rows}`,
      `insert into store.h2 ${rows} order by g desc`,
      `insert into store.h3 ${rows}`,
      "update store.h3 set note = note || ' ' where id = 250",
      // The same values, but two rows have swapped one of them.
      `insert into store.h4 ${rows}`,
      "update store.h4 set note = case id when 1 then 'note 2' else 'note 1' end where id in (1, 2)",
    );
    const first = await hashOf("h1");
    expect(first).toMatch(/^500:-?\d+$/);
    expect(await hashOf("h2")).toBe(first);
    expect(await hashOf("h3")).not.toBe(first);
    expect(await hashOf("h4")).not.toBe(first);
    await owner(
      "delete from store.h2 where id = 1",
      "insert into store.h2 select * from store.h2 where id = 2",
    );
    expect(await hashOf("h2")).not.toBe(first);
  });

  it("hash the same whatever the session's settings are", async () => {
    await owner(
      "create table store.formats (at timestamptz, day date, span interval, amount float8, raw bytea, price money, ref regclass)",
      "insert into store.formats values (now(), '2026-02-03', '1 mon 2 days 03:04', 0.1 + 0.2, '\\x01ff', 12.5, 'store.formats')",
    );
    const hashes = await shop.as(shop.names.drill, async (session) => {
      const hash = async () =>
        await session.query("select pgkeep.table_hash(oid) as hash from pg_class where relname = 'formats'");
      const before = await hash();
      for (const setting of [
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Kathmandu'",
        "extra_float_digits = -3",
        "bytea_output = 'escape'",
        "quote_all_identifiers = on",
        "search_path = pg_catalog, pg_temp",
      ])
        await session.query(`set ${setting}`);
      return [before, await hash()];
    });
    expect(hashes[1]).toEqual(hashes[0]);
  });

  it("see the caller's snapshot", async () => {
    await owner("create table store.moving (a int)");
    await shop.as(shop.names.drill, (session) =>
      session.transaction(
        async () => {
          const count = () =>
            session.query(
              "select pgkeep.table_rows(oid) as n, pgkeep.table_hash(oid) as h from pg_class where relname = 'moving'",
            );
          const before = await count();
          await owner("insert into store.moving values (1)");
          expect(await count()).toEqual(before);
        },
        { isolation: "repeatable read", readOnly: true },
      ),
    );
    expect(await rowsOf("moving")).toBe(1);
  });

  it("refuse what is not a table of the application, and say so by name", async () => {
    await owner("create view store.seen as select 1 as a", "create sequence store.numbers");
    const wrong = { sqlState: "42809", message: expect.stringContaining("store.seen is not a table") };
    await expect(rowsOf("seen")).rejects.toMatchObject(wrong);
    await expect(hashOf("seen")).rejects.toMatchObject(wrong);
    await shop.as(shop.names.drill, async (session) => {
      for (const call of [
        "pgkeep.table_hash('pg_authid'::regclass)",
        "pgkeep.table_rows('information_schema.sql_features'::regclass)",
      ])
        await expect(session.query(`select ${call}`)).rejects.toMatchObject({ sqlState: "42809" });
      for (const call of [
        "pgkeep.table_rows(4::oid)",
        "pgkeep.table_rows(null)",
        "pgkeep.table_hash(null)",
        "pgkeep.check_index(null)",
        "pgkeep.check_heap(null)",
      ])
        await expect(session.query(`select ${call}`)).rejects.toMatchObject({ sqlState: "42P01" });
      await expect(session.query("select pgkeep.validate_foreign_key(4)")).rejects.toMatchObject({
        sqlState: "42704",
      });
    });
  });

  it("count rows that row security hides from others, and where it hides them from the owner too they say so", async () => {
    await owner(
      "create table store.guarded (a int)",
      "insert into store.guarded values (1), (2)",
      "alter table store.guarded enable row level security",
      "create policy few on store.guarded using (a = 1)",
    );
    expect(await rowsOf("guarded")).toBe(2);
    await owner("alter table store.guarded force row level security");
    await expect(rowsOf("guarded")).rejects.toMatchObject({
      code: "insufficient-privilege",
      message: expect.stringContaining("guarded"),
    });
  });

  it("say what they may not read", async () => {
    await superuser("create table store.unreadable (a int)");
    await superuser(`revoke pg_read_all_data from pgkeep${major >= 16 ? " granted by rds_superuser" : ""}`);
    await superuser("revoke shop_reader from pgkeep").catch(() => {});
    try {
      await expect(rowsOf("unreadable")).rejects.toMatchObject({ code: "insufficient-privilege" });
    } finally {
      await shop.apply();
    }
    expect(await rowsOf("unreadable")).toBe(0);
  });

  describe("foreign keys", () => {
    const orphansOf = (name: string) =>
      ask<number>(
        "(select pgkeep.validate_foreign_key(k.oid) from pg_constraint k where k.conrelid = c.oid and k.contype = 'f' and k.conparentid = 0)",
        name,
      );
    /** Only with triggers off can a row break its key, as a damaged table might hold it. */
    const unchecked = (sql: string) =>
      superuser(`set session_replication_role = replica; ${sql}; set session_replication_role = origin`);

    it("have no orphans where the server says so", async () => {
      await owner(
        "create table store.parent (id int primary key)",
        "insert into store.parent values (1), (2)",
        "create table store.good (parent_id bigint references store.parent)",
        "insert into store.good values (1), (1), (null)",
      );
      expect(await orphansOf("good")).toBe(0);
    });

    it("count orphans across types and nulls", async () => {
      await owner("create table store.bad (parent_id bigint references store.parent)");
      await unchecked("insert into store.bad values (1), (3), (3), (null)");
      expect(await orphansOf("bad")).toBe(2);
    });

    it("treat composite keys as MATCH SIMPLE and MATCH FULL mean it", async () => {
      await owner(
        'create table store.pair (a int, "b b" text, primary key (a, "b b"))',
        "insert into store.pair values (1, 'x')",
        'create table store.simple (a int, b text, foreign key (a, b) references store.pair (a, "b b"))',
        'create table store.swapped (b text, a int, foreign key (b, a) references store.pair ("b b", a))',
        'create table store."full" (a int, b text, foreign key (a, b) references store.pair match full)',
      );
      const rows = "values (1, 'x'), (1, null), (null, null), (2, null), (2, 'x'), (1, 'y')";
      await unchecked(`insert into store.simple ${rows}`);
      await unchecked(`insert into store."full" ${rows}`);
      await unchecked("insert into store.swapped values ('x', 1), ('y', 1), ('x', null)");
      expect(await orphansOf("simple")).toBe(2);
      expect(await orphansOf("swapped")).toBe(1);
      expect(await orphansOf("full")).toBe(4);
    });

    it("are compared with the key's own operators, types and collations", async () => {
      await owner(
        "create collation store.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "create domain store.code as varchar(5)",
        "create table store.words (w text collate store.blind primary key)",
        "insert into store.words values ('Straße')",
        // From 18 on both sides must have the same collation when it is not deterministic.
        `create table store.uses (w varchar(20) collate ${major >= 18 ? "store.blind" : '"C"'} references store.words)`,
        "insert into store.uses values ('Straße'), ('straße')",
        "create table store.codes (c store.code primary key)",
        "insert into store.codes values ('ab')",
        "create table store.coded (c text references store.codes)",
        "insert into store.coded values ('ab')",
        "create type store.mood as enum ('good', 'bad')",
        "create table store.moods (m store.mood primary key, l int[] unique)",
        "insert into store.moods values ('good', '{1,2}')",
        "create table store.moody (m store.mood references store.moods)",
        "insert into store.moody values ('good')",
        "create table store.listed (l int[] references store.moods (l))",
        "insert into store.listed values ('{1,2}')",
      );
      await unchecked("insert into store.uses values ('other')");
      await unchecked("insert into store.coded values ('zz')");
      await unchecked("insert into store.moody values ('bad')");
      await unchecked("insert into store.listed values ('{2,1}')");
      for (const table of ["uses", "coded", "moody", "listed"]) expect(await orphansOf(table)).toBe(1);
    });

    it("of and to partitioned tables are judged whole", async () => {
      await owner(
        "create table store.times (id int primary key) partition by range (id)",
        "create table store.times_1 partition of store.times for values from (0) to (10)",
        "create table store.times_2 partition of store.times for values from (10) to (20)",
        "insert into store.times values (1), (11)",
        "create table store.events (time_id int references store.times) partition by list (time_id)",
        "create table store.events_1 partition of store.events for values in (1, 11)",
        "create table store.events_2 partition of store.events default",
        "insert into store.events values (1), (11)",
      );
      await unchecked("insert into store.events values (5)");
      expect(await orphansOf("events")).toBe(1);
    });

    if (major >= 18)
      it("with periods are not compared", async () => {
        await superuser("create extension if not exists btree_gist schema public");
        await owner(
          "create table store.stays (room int, during daterange, primary key (room, during without overlaps))",
          "create table store.cleans (room int, during daterange, foreign key (room, period during) references store.stays (room, period during))",
        );
        await expect(orphansOf("cleans")).rejects.toMatchObject({ sqlState: "0A000" });
      });
  });

  describe("sequences", () => {
    const stateOf = (name: string) =>
      ask<Record<string, unknown>[]>("(select json_agg(s) from pgkeep.sequence_state(c.oid) s)", name);

    it("are ahead of every column that draws from them", async () => {
      await owner(
        "create table store.tickets (id serial, other int default nextval('store.tickets_id_seq'), label text default 'T' || nextval('store.tickets_id_seq'))",
        "insert into store.tickets (id) values (default), (default)",
      );
      expect(await stateOf("tickets_id_seq")).toEqual([
        expect.objectContaining({
          table_name: "store.tickets",
          column_name: "id",
          last_value: 6,
          is_called: true,
          next_value: 7,
          ahead: true,
        }),
        expect.objectContaining({ column_name: "label", column_extreme: null, ahead: null }),
        expect.objectContaining({ column_name: "other", ahead: true }),
      ]);
      await owner("update store.tickets set other = 99 where id = (select max(id) from store.tickets)");
      expect(await stateOf("tickets_id_seq")).toEqual([
        expect.objectContaining({ column_name: "id", ahead: true }),
        expect.objectContaining({ column_name: "label" }),
        expect.objectContaining({ column_name: "other", column_extreme: 99, ahead: false }),
      ]);
    });

    it("that count down, cycle, or were never used are judged as such", async () => {
      await owner(
        "create table store.down (id int generated by default as identity (increment -1))",
        "insert into store.down values (default), (default)",
        "create table store.round (id int generated by default as identity (cycle))",
        "insert into store.round values (500)",
        "create table store.fresh (id bigserial)",
        "create table store.taken (id bigserial)",
        "insert into store.taken values (1)",
        "create sequence store.free",
      );
      expect(await stateOf("down_id_seq")).toEqual([
        expect.objectContaining({ last_value: -2, next_value: -3, column_extreme: -2, ahead: true }),
      ]);
      expect(await stateOf("round_id_seq")).toEqual([expect.objectContaining({ ahead: null })]);
      expect(await stateOf("fresh_id_seq")).toEqual([
        expect.objectContaining({ is_called: false, next_value: 1, column_extreme: null, ahead: true }),
      ]);
      expect(await stateOf("taken_id_seq")).toEqual([expect.objectContaining({ ahead: false })]);
      expect(await stateOf("free")).toBeNull();
      await owner("insert into store.down values (-10)");
      expect(await stateOf("down_id_seq")).toEqual([expect.objectContaining({ ahead: false })]);
    });
  });

  describe("damage", () => {
    const problemsOf = (name: string, database?: string) =>
      ask<string[] | null>("(select array_agg(p.problem) from pgkeep.check_heap(c.oid) p)", name, database);
    const indexProblem = (name: string, database?: string) =>
      ask<string | null>("pgkeep.check_index(c.oid)", name, database);

    it("is not found where there is none", async () => {
      await owner(
        "create table store.sound (id int primary key, long text, tags text[])",
        "insert into store.sound select g, repeat(md5(g::text), 200), array[g::text] from generate_series(1, 200) g",
        "create index sound_long on store.sound (lower(left(long, 50)))",
        "create index sound_tags on store.sound using gin (tags)",
        "create index sound_brin on store.sound using brin (id)",
      );
      expect(await problemsOf("sound")).toBeNull();
      expect(await indexProblem("sound_pkey")).toBeNull();
      expect(await indexProblem("sound_long")).toBeNull();
      const unknown = { sqlState: "0A000", message: expect.stringContaining("store.sound_") };
      if (major >= 18) expect(await indexProblem("sound_tags")).toBeNull();
      else await expect(indexProblem("sound_tags")).rejects.toMatchObject(unknown);
      await expect(indexProblem("sound_brin")).rejects.toMatchObject(unknown);
      await expect(indexProblem("sound")).rejects.toMatchObject({ sqlState: "42809" });
      await expect(problemsOf("sound_pkey")).rejects.toMatchObject({ sqlState: "42809" });
    });

    it("is an index that lacks a row of its table", async () => {
      await owner("create table store.lacking (id int)", "create index lacking_id on store.lacking (id)");
      const ready = (is: boolean) =>
        superuser(`update pg_index set indisready = ${is} where indexrelid = 'store.lacking_id'::regclass`);
      await owner("insert into store.lacking values (1)");
      await ready(false);
      await owner("insert into store.lacking values (2)");
      await ready(true);
      expect(await indexProblem("lacking_id")).toMatch(/lacks matching index tuple/);
    });

    it("is a page that cannot be read, of a table and of an index", async () => {
      await owner(
        "create table store.torn (id int primary key)",
        "insert into store.torn select generate_series(1, 1000)",
      );
      // A copy of the files, none of which is in the buffers yet, can be damaged on disk.
      const copy = "damaged";
      const maintenance = await server.connect("postgres");
      const strategy = major >= 15 ? " strategy file_copy" : "";
      await maintenance.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'shop'",
      );
      await maintenance.query(`create database ${identifier(copy)} template shop${strategy}`);
      await maintenance.query(`grant connect on database ${copy} to ${shop.names.drill}`);
      const [{ oid }] = (await maintenance.query<{ oid: number }>(
        "select oid from pg_database where datname = 'damaged'",
      )) as [{ oid: number }];
      await maintenance.close();
      const files = (await superuser(
        "select relname, relfilenode from pg_class where relname in ('torn', 'torn_pkey')",
      )) as { relname: string; relfilenode: number }[];
      for (const { relfilenode } of files) {
        const file = await open(join(server.dataDirectory, "base", String(oid), String(relfilenode)), "r+");
        await file.write(Buffer.alloc(16, 0xff), 0, 16, 8192);
        await file.close();
      }
      expect(await problemsOf("torn", copy)).toEqual([expect.stringMatching(/invalid page in block 1 of/)]);
      expect(await indexProblem("torn_pkey", copy)).toMatch(/invalid page in block 1 of/);
    });

    it("is not assessable without amcheck, or without the right to call it", async () => {
      await superuser("revoke execute on all functions in schema public from pgkeep");
      await superuser("revoke execute on all functions in schema public from rds_superuser cascade");
      await expect(problemsOf("sound")).rejects.toMatchObject({ code: "insufficient-privilege" });
      const report = await shop.apply();
      expect(report.blocked.map(({ reason }) => reason)).toContain(
        "pgkeep lacks EXECUTE on public.bt_index_check(regclass,boolean)",
      );
      await superuser("drop extension amcheck");
      await expect(indexProblem("sound_pkey")).rejects.toMatchObject({
        sqlState: "0A000",
        message: expect.stringContaining("amcheck"),
      });
      const without = await shop.apply();
      const [missing] = without.blocked.filter(({ reason }) => reason.includes("amcheck"));
      expect(missing).toMatchObject({ reason: "extension amcheck is not installed", needs: "a superuser" });
      await superuser(missing?.sql as string);
      expect(await problemsOf("sound")).toBeNull();
      expect(await indexProblem("sound_pkey")).toBeNull();
      expect((await shop.apply()).outcome).toBe("unchanged");
    });
  });
});
