import { describe, expect, it } from "vitest";
import { maskLiterals } from "../../lib/checks/mask-literals.ts";
import { type Collected, type CollectRequest, collectHistory } from "../../lib/history/collect.ts";
import { tableGrowth } from "../../lib/history/growth.ts";
import { readDays, readTableHistory } from "../../lib/history/read.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, oldestAndNewest, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "../install/installed.ts";
import { daysPass } from "./time.ts";

const collect = (session: Session, more: Partial<CollectRequest> = {}): Promise<Collected> =>
  collectHistory({
    session,
    keepDays: 400,
    keepStatementSnapshots: 35,
    statements: 100,
    mask: maskLiterals,
    dryRun: false,
    ...more,
  });

const asMonitoring = <T>(shop: Installed, body: (session: Session) => Promise<T>) =>
  shop.as(shop.names.monitoring, body);

describe.each(allMajors)("collecting history on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off", max_prepared_transactions: "5" } });

  // Views and pg_stat_statements differ by version; the rest of what is done with them does not.
  const outermost = it.runIf(oldestAndNewest.includes(major));

  const shopWith = async (sql: string): Promise<Installed> => {
    const shop = await installed(server);
    await shop.asMaster((session) => run(session, sql));
    return shop;
  };
  const run = async (session: Session, sql: string) => {
    await session.query("set search_path to public");
    for (const statement of sql.split(";").filter((one) => one.trim() !== "")) await session.query(statement);
  };

  it("keeps sizes, counters and key positions as the monitoring role", async () => {
    const shop = await shopWith(
      `create table orders (id int generated always as identity primary key, note text);
       insert into orders (note) select repeat('x', 500) from generate_series(1, 1000);
       vacuum analyze orders`,
    );
    const collected = await asMonitoring(shop, collect);
    expect(collected).toMatchObject({
      again: false,
      tablesChanged: 0,
      tablesGone: 0,
      notes: [],
      keyColumns: 1,
    });
    expect(collected.statements.kept).toBeGreaterThan(0);
    const [orders] = await asMonitoring(shop, (session) =>
      readTableHistory(session, { names: [{ schema: "public", table: "orders" }] }),
    );
    const [actual] = await shop.asMaster((session) =>
      session.query<{ heap: number; index: number }>(
        "select pg_relation_size('public.orders') as heap, pg_relation_size('public.orders_pkey') as index",
      ),
    );
    expect(orders?.samples).toHaveLength(1);
    expect(orders?.samples[0]).toMatchObject({
      day: collected.day,
      heapBytes: actual?.heap,
      indexBytes: actual?.index,
      rows: 1000,
      keys: [{ number: 1, value: 1000 }],
    });
    expect(Object.values(orders?.indexNames ?? {})).toEqual(["orders_pkey"]);
    const [day] = await asMonitoring(shop, readDays);
    expect(day?.nextTransactionId).toBeGreaterThan(100);
    expect(day?.nextMultixactId).toBeGreaterThan(0);
    expect(day?.sizeBasis).toBe("files");
  });

  outermost("keeps a table that does not change once, and replaces the same day", async () => {
    const shop = await shopWith(
      "create table still (a int); create table busy (id int primary key); vacuum still; vacuum busy",
    );
    // Until 14, what a session has counted arrives after a while.
    const vacuums = () =>
      shop.as(undefined, (session) =>
        session.query(
          "select vacuum_count::int as n from pg_stat_user_tables where schemaname = 'public' order by relname",
        ),
      );
    await expect.poll(vacuums, { timeout: 5000 }).toEqual([{ n: 1 }, { n: 1 }]);
    await asMonitoring(shop, collect);
    await shop.as(undefined, daysPass);
    await shop.asMaster((session) =>
      run(session, "insert into busy select generate_series(1, 5000); vacuum busy"),
    );
    await asMonitoring(shop, collect);
    const second = await asMonitoring(shop, collect);
    expect(second.again).toBe(true);
    const count = await shop.as(undefined, (session) =>
      session.query(
        `select h.table_name, (select count(*) from pgkeep.history_table_before b where b.table_oid = h.table_oid) as before
           from pgkeep.history_table h where h.schema_name = 'public' order by 1`,
      ),
    );
    expect(count).toEqual([
      { table_name: "busy", before: 1 },
      { table_name: "still", before: 0 },
    ]);
    const [busy, still] = await asMonitoring(shop, (session) =>
      readTableHistory(session, {
        names: [
          { schema: "public", table: "busy" },
          { schema: "public", table: "still" },
        ],
      }),
    );
    expect(busy?.samples.map(({ rows }) => rows)).toEqual([0, 5000]);
    expect(still?.samples.map(({ bytes }) => bytes)).toEqual([0, 0]);
    expect(await asMonitoring(shop, readDays)).toHaveLength(2);
  });

  outermost(
    "takes a table that was created again under the same name for a new one, and survives missed days",
    async () => {
      const shop = await shopWith(
        "create table t (a int); insert into t select generate_series(1, 10000); vacuum t",
      );
      await asMonitoring(shop, collect);
      await shop.as(undefined, (session) => daysPass(session, 5));
      await shop.asMaster((session) => run(session, "drop table t; create table t (a int); vacuum t"));
      const collected = await asMonitoring(shop, collect);
      expect(collected).toMatchObject({ tablesAdded: 1, tablesGone: 1 });
      const histories = await asMonitoring(shop, (session) =>
        readTableHistory(session, { names: [{ schema: "public", table: "t" }] }),
      );
      expect(histories.map(({ samples, goneDay }) => [samples.map(({ rows }) => rows), goneDay])).toEqual([
        [[10000], collected.day],
        [[0], null],
      ]);
      const growth = await asMonitoring(shop, (session) =>
        tableGrowth(session, { names: [{ schema: "public", table: "t" }] }),
      );
      expect(growth.map(({ bytes, grownBytes }) => [bytes, grownBytes])).toEqual([[0, 0]]);
    },
  );

  outermost("sums up partitions in their topmost parent, those that were dropped included", async () => {
    const shop = await shopWith(
      `create table m (id int, at int) partition by range (at);
       create table m1 partition of m for values from (0) to (10);
       create table m2 partition of m for values from (10) to (20) partition by range (at);
       create table m21 partition of m2 for values from (10) to (15);
       insert into m select i, i % 15 from generate_series(1, 15000) i;
       vacuum analyze m`,
    );
    await asMonitoring(shop, collect);
    const before = await asMonitoring(shop, (session) =>
      tableGrowth(session, { names: [{ schema: "public", table: "m" }] }),
    );
    await shop.as(undefined, daysPass);
    await shop.asMaster((session) => run(session, "drop table m1"));
    await asMonitoring(shop, collect);
    const after = await asMonitoring(shop, (session) =>
      tableGrowth(session, { names: [{ schema: "public", table: "m" }] }),
    );
    expect(before[0]).toMatchObject({ table: "m", partitions: 2, rows: 15000 });
    expect(after[0]).toMatchObject({ table: "m", partitions: 2, rows: 5000 });
    expect(after[0]?.grownBytes).toBe((after[0]?.bytes ?? 0) - (before[0]?.bytes ?? 0));
    expect(after[0]?.shrank?.fromBytes).toBe(before[0]?.bytes);
  });

  it("counts on through a reset of the statistics", async () => {
    const shop = await shopWith("create table t (a int)");
    const step = async (rows: number, counted: number) => {
      await shop.as(undefined, async (session) => {
        if (counted === rows) await session.query("select pg_stat_reset()");
        await session.query(`insert into public.t select generate_series(1, ${rows})`);
      });
      // Statistics of a session arrive when it ends, on 14 after a while.
      await expect
        .poll(
          async () =>
            (
              await shop.as(undefined, (session) =>
                session.query<{ n: number }>(
                  "select n_tup_ins as n from pg_stat_user_tables where relname = 't'",
                ),
              )
            )[0]?.n,
          { timeout: 5000 },
        )
        .toBe(counted);
      await asMonitoring(shop, collect);
      await shop.as(undefined, daysPass);
    };
    await step(100, 100);
    await step(1000, 1100);
    await step(30, 30);
    const [growth] = await asMonitoring(shop, (session) =>
      tableGrowth(session, { names: [{ schema: "public", table: "t" }] }),
    );
    expect(growth).toMatchObject({ rowsInserted: 1030, countersReset: true });
  });

  outermost("never waits behind a lock, and says which sequence it could not read", async () => {
    const shop = await shopWith(
      "create table t (id serial, a int); insert into t (a) select 1 from generate_series(1, 50); create table u (id serial); insert into u default values",
    );
    const locker = await server.connect(shop.database);
    try {
      await locker.query("set search_path to public");
      await locker.query("begin");
      await locker.query("lock table t in access exclusive mode");
      await locker.query("alter sequence t_id_seq cache 5");
      const began = performance.now();
      const collected = await asMonitoring(shop, collect);
      expect(performance.now() - began).toBeLessThan(15_000);
      expect(collected.notes).toEqual(['sequence "public.t_id_seq" was locked by somebody else']);
    } finally {
      await locker.query("rollback");
      await locker.close();
    }
    const [t, u] = await asMonitoring(shop, (session) =>
      readTableHistory(session, {
        names: [
          { schema: "public", table: "t" },
          { schema: "public", table: "u" },
        ],
      }),
    );
    expect(t?.samples[0]?.keys).toEqual([]);
    expect(u?.samples[0]?.keys).toEqual([{ number: 1, value: 1 }]);
  });

  outermost("takes a table with a leftover index of its TOAST table for one", async () => {
    const shop = await shopWith("create table t (id int primary key, long text)");
    const writer = await server.connect(shop.database);
    await writer.query("begin");
    await writer.query("insert into public.t values (1)");
    const rebuilt = shop.as(undefined, async (session) => {
      await session.query("set lock_timeout = '100ms'");
      await session.query("reindex table concurrently public.t");
    });
    await expect(rebuilt).rejects.toThrow("lock timeout");
    await writer.query("commit");
    await writer.close();
    await asMonitoring(shop, collect);
    const [toast] = await shop.as(undefined, (session) =>
      session.query(
        `select count(*)::int as indexes from pg_index x join pg_class c on c.reltoastrelid = x.indrelid
          where c.oid = 'public.t'::regclass`,
      ),
    );
    expect(toast).toEqual({ indexes: 2 });
    const tables = await asMonitoring(shop, (session) =>
      readTableHistory(session, { names: [{ schema: "public", table: "t" }] }),
    );
    expect(tables.map(({ samples }) => samples[0]?.indexes.length)).toEqual([2]);
  });

  it("keeps no literal and no password of any statement", async () => {
    const shop = await shopWith("create table t (a int)");
    await shop.as(undefined, async (session) => {
      await session.query("set search_path to public");
      await session.query("create role hostile_secret login password 'sesame-4711'");
      await session.query("drop role hostile_secret");
      await session.query("select count(*) from t where a = 471147");
      await session.query("comment on table t is 'sesame-4711'");
      await session.query("do $x$ begin perform 'sesame-4711'; end $x$");
    });
    await asMonitoring(shop, (session) => collect(session, { statements: 5000 }));
    const texts = await asMonitoring(shop, (session) =>
      session.query<{ query: string }>("select query from pgkeep.history_statement_text"),
    );
    const all = texts.map(({ query }) => query).join("\n");
    expect(all).toContain("comment on table t is");
    expect(all).toContain("from t where a =");
    expect(all).not.toMatch(/sesame|471147/);
  });

  it("keeps the top statements only, for as many days as are asked for", async () => {
    const shop = await shopWith("create table t (a int)");
    for (let day = 0; day < 4; day += 1) {
      await asMonitoring(shop, (session) =>
        collect(session, { keepStatementSnapshots: 2, statements: 3, keepDays: 3 }),
      );
      if (day < 3) await shop.as(undefined, daysPass);
    }
    const [left] = await shop.as(undefined, (session) =>
      session.query(
        `select (select count(distinct day) from pgkeep.history_statement) as snapshots,
                (select max(n) from (select count(*) as n from pgkeep.history_statement group by day) d) as each,
                (select count(*) from pgkeep.history_day) as days,
                (select count(*) from pgkeep.history_statement_text t
                  where not exists (select from pgkeep.history_statement s where s.query_id = t.query_id)) as orphans,
                (select count(*) from pgkeep.history_table_before
                  where until_day < (select min(day) from pgkeep.history_day)) as older`,
      ),
    );
    expect(left).toEqual({ snapshots: 2, each: 3, days: 3, orphans: 0, older: 0 });
  });

  outermost("loses one day, not the history, to a clock that was years ahead", async () => {
    const shop = await shopWith("create table t (a int); vacuum t");
    for (let day = 0; day < 3; day += 1) {
      await asMonitoring(shop, collect);
      await shop.as(undefined, daysPass);
    }
    // As if the last run had believed to be in ten years.
    await shop.as(undefined, (session) =>
      run(
        session,
        `
      update pgkeep.history_day set day = day + 3650 where day = (select max(day) from pgkeep.history_day);
      update pgkeep.history_table set since_day = since_day + 3650, first_day = first_day + 3650 where table_name = 't'`,
      ),
    );
    const collected = await asMonitoring(shop, collect);
    expect(collected.notes).toEqual([
      "1 later days were removed: the server's clock is behind what it was before",
    ]);
    expect(await asMonitoring(shop, readDays)).toHaveLength(3);
    const [t] = await asMonitoring(shop, (session) =>
      readTableHistory(session, { names: [{ schema: "public", table: "t" }] }),
    );
    expect(t?.samples.at(-1)?.day).toBe(collected.day);
  });

  outermost("begins anew in another database that came from a copy of this one", async () => {
    const shop = await shopWith("create table t (a int); vacuum t");
    await asMonitoring(shop, collect);
    await shop.as(undefined, daysPass);
    await shop.as(undefined, (session) => run(session, "update pgkeep.history_day set database_oid = 1"));
    const collected = await asMonitoring(shop, collect);
    expect(collected.tablesAdded).toBe(collected.tables);
    expect(collected.notes).toEqual(["the tables noted before were another database's: they count as gone"]);
  });

  outermost("changes nothing on a dry run", async () => {
    const shop = await shopWith("create table t (a int)");
    const collected = await asMonitoring(shop, (session) => collect(session, { dryRun: true }));
    expect(collected.tablesAdded).toBeGreaterThan(0);
    expect(await asMonitoring(shop, readDays)).toEqual([]);
  });

  outermost("takes any name", async () => {
    const shop = await installed(server);
    const name = `a"b'c\n; drop table x; -- é\\`;
    await shop.asMaster(async (session) => {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      await session.query(`create schema ${quoted}`);
      await session.query(`create table ${quoted}.${quoted} (${quoted} serial primary key)`);
      await session.query(`insert into ${quoted}.${quoted} default values`);
    });
    const collected = await asMonitoring(shop, collect);
    expect(collected.notes).toEqual([]);
    const [found] = await asMonitoring(shop, (session) =>
      readTableHistory(session, { names: [{ schema: name, table: name }] }),
    );
    expect(found?.samples[0]?.keys).toEqual([{ number: 1, value: 1 }]);
  });

  outermost("says what is missing without the extension, and to a role without rights", async () => {
    const shop = await shopWith("create table t (a int)");
    await shop.as(undefined, (session) => session.query("drop extension pg_stat_statements"));
    const collected = await asMonitoring(shop, collect);
    expect(collected.notes).toEqual([
      "no statements: the extension pg_stat_statements is not installed in this database (`pgkeep install`)",
    ]);
    expect(await shop.as(shop.names.maintenance, readDays)).toHaveLength(1);
    await expect(shop.as(shop.names.app, readDays)).rejects.toMatchObject({ code: "insufficient-privilege" });
  });
});
