import { readdir } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../lib/clock.ts";
import { swapTables } from "../../lib/logical/swap.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { createMasterUser, giveDatabaseToMaster } from "../../lib/sandbox/master.ts";
import { type RestoreTableRequest, restoreTable } from "../../lib/table-restore/restore-table.ts";
import { useArchivedPrimary } from "../helpers/backup-places.ts";
import { oldestAndNewest } from "../helpers/postgres.ts";

const hostile = `o'r"d%ers \\ $1;--`;
const hostileSql = `"${hostile.replaceAll('"', '""')}"`;
const master = { user: "master", password: "a 'master' password" };

describe.each(oldestAndNewest)("PostgreSQL %i: a table of an earlier moment", (major) => {
  const primary = useArchivedPrimary(major);
  /** Everything below happens after this moment; what was there then must come back. */
  let then: Date;

  const asMaster = <T>(
    body: (session: Session) => Promise<T>,
    port = primary.places.primary.port,
  ): Promise<T> =>
    open(port).then(async (session) => {
      try {
        return await body(session);
      } finally {
        await session.close();
      }
    });
  const open = (port: number) =>
    connect(
      { host: "127.0.0.1", port, database: "shop", ...master },
      { statementTimeoutMilliseconds: 0, lockTimeoutMilliseconds: 1_000 },
    );
  const bring = (
    name: string,
    options: Partial<RestoreTableRequest> = {},
    schema = "shop",
  ): ReturnType<typeof restoreTable> =>
    restoreTable({
      backups: sandboxBackups(primary.places),
      clock: systemClock,
      connectPrimary: () => open(primary.places.primary.port),
      connectRestored: ({ port }) => open(port),
      table: { schema, name },
      target: { kind: "time", time: then },
      dryRun: false,
      signal: new AbortController().signal,
      progress: () => {},
      ...options,
    });
  const nothingLeft = async () => expect(await readdir(primary.places.scratchDirectory)).toEqual([]);

  beforeAll(async () => {
    const session = await primary.connect();
    await createMasterUser(session, master);
    await giveDatabaseToMaster(session, master.user);
    await session.close();
    await asMaster(prepareTables);
    await sandboxBackups(primary.places).create("pgkeep-shop-20260101t000000z");
    await asMaster(async (here) => {
      await here.query("insert into shop.orders (customer, status, total) values ('late', 'paid', 1)");
      await here.query("select pg_sleep(0.05)");
      then = new Date();
      await here.query("select pg_sleep(0.05)");
    });
  });

  it("brings a mistakenly emptied table back beside it, every type as it was, and swaps it in", async () => {
    const before = await asMaster((session) =>
      session.query(`select md5(string_agg(t::text, '' order by id)) as md5 from shop.kinds t`),
    );
    await asMaster((session) => session.query("delete from shop.kinds"));
    const result = await bring("kinds");
    expect(result).toMatchObject({ how: "beside", differences: [], leftOut: [], contents: { rows: 203 } });
    expect(result.restored.name).toMatch(/^kinds_restored_\d{8}t\d{6}z$/);
    expect(result.backupId).toBe("pgkeep-shop-20260101t000000z");
    expect(result.rtoSeconds).toBeGreaterThanOrEqual(result.restoreSeconds);
    await nothingLeft();
    const { name } = result.restored;
    await asMaster(async (session) => {
      expect(await session.query("select from shop.kinds")).toEqual([]);
      const there = await session.query(
        `select md5(string_agg(t::text, '' order by id)) as md5 from shop."${name}" t`,
      );
      expect(there).toEqual(before);
      await swapTables(session, {
        schema: "shop",
        original: "kinds",
        restored: name,
        keepAs: "kinds_before",
        lockTimeoutSeconds: 2,
        dryRun: false,
      });
      expect(
        await session.query("select md5(string_agg(t::text, '' order by id)) as md5 from shop.kinds t"),
      ).toEqual(before);
      // A number that was given out is not given out again, and the key is still one.
      await session.query("insert into shop.kinds (label) values ('after')");
      const [next] = await session.query<{ id: number }>("select id from shop.kinds where label = 'after'");
      expect(next?.id).toBeGreaterThan(203);
    });
  });

  it("takes only the rows that meet a condition, whatever hides in it, and changes nothing with it", async () => {
    await asMaster((session) => session.query("update shop.orders set total = 0"));
    const result = await bring("orders", {
      where: "status = 'paid' and total > 0 -- not the empty ones",
      as: "rescued",
    });
    expect(result.contents?.rows).toBe(34);
    await asMaster(async (session) => {
      expect(
        await session.query("select count(*) as count, min(total)::float8 as least from shop.rescued"),
      ).toEqual([{ count: 34, least: 1 }]);
      expect(await session.query("select count(*) as count from shop.orders where total = 0")).toEqual([
        { count: 101 },
      ]);
    });
    for (const [where, problem] of [
      ["true); drop table shop.orders; select (true", /multiple commands/],
      ["true) union select (true", /each UNION/],
      ["nextval('shop.orders_id_seq') > 0", /read-only transaction/],
      ["colour = 'red'", /column "colour" does not exist/],
    ] as const) {
      await expect(bring("orders", { where })).rejects.toThrow(problem);
    }
    await nothingLeft();
    await asMaster((session) => session.query("drop table shop.rescued"));
  });

  it("reads a hostile name, a partitioned table, and a table that has other columns now", async () => {
    const odd = await bring(hostile, { as: `${hostile}2` });
    expect(odd).toMatchObject({ how: "beside", contents: { rows: 1 } });

    await asMaster((session) => session.query("delete from shop.events"));
    const events = await bring("events", { as: "events_then" });
    expect(events).toMatchObject({ how: "beside", differences: [], contents: { rows: 300 } });

    await asMaster((session) =>
      session.query(
        "alter table shop.changed drop column gone; alter table shop.changed add column fresh int not null default 7; alter table shop.changed alter column amount type text",
      ),
    );
    const changed = await bring("changed", { as: "changed_then" });
    expect(changed.differences).toEqual([
      "the column gone is gone since then",
      "the column amount was integer then and is text now",
      "the column fresh was added since then",
    ]);
    await asMaster(async (session) => {
      expect(await session.query("select * from shop.changed_then")).toEqual([
        { id: 1, gone: "still here", amount: 5, twice: 10 },
      ]);
    });

    await asMaster((session) =>
      session.query("alter table shop.strict add constraint positive check (n > 10) not valid"),
    );
    const strict = await bring("strict", { as: "strict_then" });
    expect(strict).toMatchObject({ contents: { rows: 2 } });
    expect(strict.differences[0]).toMatch(/do not fit it as it is now.*positive/);
    await nothingLeft();
  });

  it("brings a dropped table back in its place with its key, indexes, identity and sequence", async () => {
    await asMaster((session) => session.query("drop table shop.dropped cascade"));
    const result = await bring("dropped");
    expect(result).toMatchObject({
      how: "in-place",
      restored: { schema: "shop", name: "dropped" },
      contents: { rows: 50 },
    });
    expect(result.leftOut).toEqual(
      ["ALTER TABLE", "trigger"].map((text) => expect.stringMatching(new RegExp(text, "i"))),
    );
    await asMaster(async (session) => {
      await session.query("insert into shop.dropped (note) values ('next')");
      expect(await session.query("select id, serial from shop.dropped where note = 'next'")).toEqual([
        { id: 51, serial: 51 },
      ]);
      const indexes = await session.query(
        "select indexname::text as name from pg_indexes where tablename = 'dropped' order by 1",
      );
      expect(indexes).toEqual([
        { name: "dropped_note" },
        { name: "dropped_pkey" },
        { name: "dropped_serial_key" },
      ]);
      await expect(session.query("insert into shop.dropped (note) values ('')")).rejects.toThrow(
        /dropped_note_check/,
      );
    });
  });

  it("says why not, before the long part where it can, and leaves nothing", async () => {
    await expect(bring("absent")).rejects.toMatchObject({ code: "not-found" });
    await expect(bring("totals")).rejects.toThrow(/shop.totals is a view/);
    await expect(bring("orders", { as: "kinds" })).rejects.toThrow(/shop.kinds exists already/);
    await expect(bring("orders", { as: "x".repeat(64) })).rejects.toMatchObject({ code: "usage" });
    await expect(bring("orders", {}, "nowhere")).rejects.toThrow(/the schema nowhere is not there/);
    await expect(bring("secured")).rejects.toThrow(/row-level security/);
    await expect(
      bring("orders", { target: { kind: "backup", backupId: "pgkeep-none" } }),
    ).rejects.toMatchObject({ code: "not-found" });
    const early = { target: { kind: "time", time: new Date("2020-01-01") } } as const;
    await expect(bring("orders", early)).rejects.toMatchObject({ code: "restore-failed" });
    await expect(bring("orders", { ...early, dryRun: true })).rejects.toMatchObject({
      code: "restore-failed",
    });
    expect(await bring("orders", { dryRun: true })).toMatchObject({ how: "beside", contents: null });
    const ending = new AbortController();
    const broken = bring("orders", {
      signal: ending.signal,
      progress: () => ending.abort(new Error("enough")),
    });
    await expect(broken).rejects.toThrow(/aborted|enough/);
    await nothingLeft();
  });
});

async function prepareTables(session: Session): Promise<void> {
  await session.query(`
    create schema shop;
    create type shop.mood as enum ('fine', 'so "so"', 'b,a\\d');
    create type shop.pair as (a int, b text);
    create domain shop.positive as int check (value > 0);
    create table shop.orders (id bigserial primary key, customer text, status text, total numeric);
    insert into shop.orders (customer, status, total)
      select 'c' || n, case n % 3 when 0 then 'paid' else 'open' end, n from generate_series(1, 100) n;
    create table shop.kinds (
      id bigint generated always as identity primary key, label text collate "C" default 'x' not null,
      dropped int, bin bytea, list int[], texts text[], mood shop.mood, moods shop.mood[], pair shop.pair, pairs shop.pair[],
      sure shop.positive, span int4range, doc jsonb, raw json, x xml, stamp timestamptz, wall timestamp, day date,
      clock timetz, gap interval, cash money, f4 float4, f8 float8, n numeric, flag boolean, addr inet, u uuid, b bit varying,
      pt point, big text, reg regclass, search tsvector,
      doubled numeric generated always as (n * 2) stored);
    alter table shop.kinds drop column dropped;
    create index on shop.kinds (label, n);
    insert into shop.kinds (bin, list, texts, mood, moods, pair, pairs, sure, span, doc, raw, x, stamp, wall, day, clock, gap,
                            cash, f4, f8, n, flag, addr, u, b, pt, big, reg, search)
    values (decode('00ff5c0a0d09', 'hex'), '{1,NULL,3}', array['a,b', 'NULL', NULL, '', E'\\\\N', '{}'], 'so "so"',
            array['fine', 'b,a\\d']::shop.mood[], row(1, E'tab\\there')::shop.pair, array[row(null, ''), null]::shop.pair[], 5,
            '[1,9)', '{"k": [1, "\\u00e9"]}', '{"a":1,  "a":2}', '<a>&amp;</a>', '2026-01-02 03:04:05.678901+13',
            'infinity', '0044-03-15 BC', '01:02:03.4+05:30', '1 mon -2 days 03:04:05.6', '1234.5', 0.1, 'nan', 'nan', true,
            '10.0.0.1/8', '00000000-0000-0000-0000-000000000001', b'10101', '(1.5,-2)', repeat('größe', 100000),
            'shop.orders', 'a:1 fat:2'),
           (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
            null, null, null, null, null, null, null, null, null, null, null, null),
           (E'\\\\x', '{}', '{}', 'fine', '{}', row(null, null), '{}', 1, 'empty', 'null', 'null', null, '-infinity', 'epoch',
            'infinity', '00:00+00', '0', '-0.01', '-0', 1.0000000000000002, 1e-200, false, '::1', null, b'', null,
            E'line\\nbreak \\\\. \\r end\\\\', 0, '');
    insert into shop.kinds (n, label) select n, 'row ' || n from generate_series(1, 200) n;
    create table shop.${hostileSql} (${hostileSql} int primary key, "where" text);
    insert into shop.${hostileSql} values (1, 'x');
    create table shop.events (at date not null, id int not null, primary key (at, id)) partition by range (at);
    create table shop.events_1 partition of shop.events for values from ('2026-01-01') to ('2026-02-01');
    create table shop.events_2 partition of shop.events default;
    insert into shop.events select date '2026-01-01' + n % 60, n from generate_series(1, 300) n;
    create table shop.changed (id int primary key, gone text, amount int, twice int generated always as (amount * 2) stored);
    alter table shop.changed drop column twice;
    alter table shop.changed add column twice int;
    insert into shop.changed values (1, 'still here', 5, 10);
    create table shop.strict (n int);
    insert into shop.strict values (1), (2);
    create table shop.dropped (id int generated by default as identity primary key, serial serial unique,
                               note text check (note <> ''), parent int references shop.dropped);
    create index dropped_note on shop.dropped (lower(note)) where note is not null;
    insert into shop.dropped (note) select 'n' || n from generate_series(1, 50) n;
    create function shop.quiet() returns trigger language plpgsql as 'begin return new; end';
    create trigger quiet before insert on shop.dropped for each row execute function shop.quiet();
    create view shop.totals as select sum(total) from shop.orders;
    create table shop.secured (id int);
    alter table shop.secured enable row level security, force row level security;
    create policy nobody on shop.secured using (false);`);
}
