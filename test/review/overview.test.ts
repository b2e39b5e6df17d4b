import { describe, expect, it } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import type { Overview } from "../../lib/review/overview.ts";
import { review } from "../../lib/review/run.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { createLogin, flushStatistics, useStandby } from "../helpers/review.ts";
import { checkNamed } from "../helpers/review-report.ts";
import { installed } from "../install/installed.ts";

async function overviewOf(session: Session): Promise<Overview> {
  const { overview } = await review({
    session,
    config: configFor("any"),
    checks: [],
    budgetSeconds: 30,
    overview: true,
    signal: new AbortController().signal,
  });
  if (overview === undefined) throw new Error("no overview");
  expect(JSON.parse(JSON.stringify(overview))).toEqual(overview);
  return overview;
}

const hostile = `"; drop table x; --</script>'`;

describe.each(allMajors.filter((major) => [14, defaultMajor, 18].includes(major)))(
  "the overview on PostgreSQL %i",
  (major) => {
    const server = useServer(major);

    it("measures tables with their indexes and TOAST, partitions in their parent, whatever the names", async () => {
      const database = await server.createDatabase();
      const session = await server.connect(database);
      await session.query(`create schema "a b"`);
      await session.query(`create table "a b".${identifier(hostile)} (id int primary key, text text)`);
      await session.query(
        `insert into "a b".${identifier(hostile)} select n, repeat('x', 200) from generate_series(1, 5000) n`,
      );
      await session.query("create table public.sales (id int, day date) partition by range (day)");
      for (const year of [2024, 2025]) {
        await session.query(
          `create table public.sales_${year} partition of public.sales
           for values from ('${year}-01-01') to ('${year + 1}-01-01')`,
        );
      }
      await session.query(
        "insert into public.sales select n, '2024-06-01'::date + n % 2 * 366 from generate_series(1, 2000) n",
      );
      await session.query("create table public.never_analysed (id int)");
      await session.query(
        `analyze "a b".${identifier(hostile)}, public.sales, public.sales_2024, public.sales_2025`,
      );
      const { tables } = await overviewOf(session);
      await session.close();
      if ("reason" in tables) throw new Error(tables.reason);
      expect(tables.largest.map(({ table }) => table)).toEqual([hostile, "sales"]);
      expect(tables).toMatchObject({ tables: 3, unmeasured: 1 });
      const [first, second] = tables.largest;
      expect(first).toMatchObject({ schema: "a b" });
      expect(first?.heapBytes).toBeGreaterThan(1_000_000);
      expect(first?.indexBytes).toBeGreaterThanOrEqual(8192);
      // Its TOAST table has one block of index.
      expect(first?.toastBytes).toBe(8192);
      expect(second).toMatchObject({ indexBytes: 0, toastBytes: 0 });
      expect(tables.bytes).toBe(
        tables.largest.reduce((sum, one) => sum + one.heapBytes + one.toastBytes + one.indexBytes, 0),
      );
    });

    it("reads the load by day and the growth from the history, as the monitoring role", async () => {
      const shop = await installed(server);
      const none = await shop.as(shop.names.monitoring, overviewOf);
      expect(none.growth).toEqual({ reason: expect.stringContaining("collect-history") });
      expect(none.loadByDay).toEqual({ reason: expect.stringContaining("collect-history") });
      await shop.as(undefined, async (session) => {
        await session.query(
          `insert into pgkeep.history_day (day, taken_at, database_oid, server_started_at, database_bytes, size_basis,
                next_transaction_id, transaction_id_age, next_multixact_id, multixact_age, statements, statements_reset)
         select current_date - n, (current_date - n)::timestamptz, 1, '2020-01-01', 1000 - n, 'files', 1, 1, 1, 1, 3,
                case when n = 9 then '2020-01-01' else '2020-02-02' end::timestamptz
           from generate_series(0, 9) n`,
        );
        // One runs all the time, another has begun to, the third is run by a function.
        await session.query(
          `insert into pgkeep.history_statement
         select q, 10, current_date - n, q <> 3, (10 - n) * 10, 1, (10 - n) * 86400000.0, 0, 0,
                (10 - n) * 90, (10 - n) * 10, 0, 0, 0, null
           from generate_series(0, 9) n, generate_series(1, 3) q where q <> 2 or n < 2`,
        );
      });
      const { growth, loadByDay } = await shop.as(shop.names.monitoring, overviewOf);
      if ("reason" in growth || "reason" in loadByDay) throw new Error("nothing was read");
      expect(growth.days.map(({ bytes }) => bytes)).toEqual([
        991, 992, 993, 994, 995, 996, 997, 998, 999, 1000,
      ]);
      expect(growth.tables).toEqual([]);
      // The first day has none before it, the second began anew.
      expect(loadByDay.days).toHaveLength(8);
      expect(loadByDay.days.at(0)).toMatchObject({ busySessions: expect.closeTo(1, 1), hits: 90, reads: 10 });
      expect(loadByDay.days.at(-1)).toMatchObject({
        busySessions: expect.closeTo(2, 1),
        hits: 180,
        reads: 20,
      });
    });

    it("says what is missing where no history and no statements are kept", async () => {
      const session = await server.connect(await server.createDatabase());
      const { growth, loadByDay, load } = await overviewOf(session);
      await session.close();
      expect(growth).toEqual({ reason: expect.stringContaining("pgkeep install") });
      expect(loadByDay).toEqual({ reason: expect.stringContaining("pgkeep install") });
      expect(load).toEqual({ reason: expect.stringContaining("CREATE EXTENSION pg_stat_statements") });
    });

    it("names the costliest statements without their literals", async () => {
      const database = await server.createDatabase();
      const session = await server.connect(database);
      await session.query("create extension pg_stat_statements schema public");
      await session.query("select public.pg_stat_statements_reset()");
      await session.query("select count(*), 'a secret' from generate_series(1, 100000)");
      const { load } = await overviewOf(session);
      await session.close();
      if ("reason" in load) throw new Error(load.reason);
      expect(load.statements[0]).toMatchObject({ calls: 1, totalSeconds: expect.any(Number) });
      expect(load.totalSeconds).toBeGreaterThan(0);
      expect(JSON.stringify(load)).toContain("generate_series");
      expect(JSON.stringify(load)).not.toContain("a secret");
    });
  },
);

describe("the overview", () => {
  const server = useServer();

  it("tells a role that may only connect the sizes and the cache", async () => {
    const database = await server.createDatabase();
    const owner = await server.connect(database);
    await owner.query("create schema hidden");
    await owner.query("create table hidden.t as select n from generate_series(1, 10000) n");
    await owner.query("analyze hidden.t");
    await flushStatistics(owner);
    await owner.close();
    const session = await server.connect(database, await createLogin(server, database));
    const { tables, cache } = await overviewOf(session);
    await session.close();
    expect(tables).toMatchObject({ tables: 1, largest: [{ schema: "hidden", table: "t" }] });
    expect(cache).toMatchObject({ hits: expect.any(Number), since: expect.any(String) });
  });

  it("is not read when the review could not be completed, and only when asked for", async () => {
    const session = await server.connect(await server.createDatabase());
    const asked = {
      session,
      config: configFor("any"),
      checks: [checkNamed("never")],
      budgetSeconds: 0,
      signal: new AbortController().signal,
    };
    expect((await review(asked)).overview).toBeUndefined();
    const { overview } = await review({ ...asked, overview: true });
    await session.close();
    expect(overview?.tables).toEqual({ reason: expect.stringContaining("--budget") });
  });
});

describe("on a standby", () => {
  const pair = useStandby();

  it("is read as on the primary", async () => {
    await pair.primary.query("create table public.t as select n from generate_series(1, 10000) n");
    await pair.primary.query("analyze public.t");
    await pair.caughtUp();
    const { tables } = await overviewOf(pair.standby);
    expect(tables).toMatchObject({ largest: [{ schema: "public", table: "t" }] });
  });
});
