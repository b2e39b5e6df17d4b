import { describe, expect, it } from "vitest";
import { maskLiterals } from "../../../lib/checks/mask-literals.ts";
import { cartesianJoins } from "../../../lib/checks/workload/cartesian-joins.ts";
import { deepOffset } from "../../../lib/checks/workload/deep-offset.ts";
import { implicitCasts } from "../../../lib/checks/workload/implicit-casts.ts";
import { workloadChecks } from "../../../lib/checks/workload/index.ts";
import { jsonPathFilters } from "../../../lib/checks/workload/json-path-filters.ts";
import { leadingWildcardLike } from "../../../lib/checks/workload/leading-wildcard-like.ts";
import { nPlusOne } from "../../../lib/checks/workload/n-plus-one.ts";
import { nonSargablePredicates } from "../../../lib/checks/workload/non-sargable-predicates.ts";
import { oneRowWritesWithin } from "../../../lib/checks/workload/one-row-writes.ts";
import { repeatedLookups, repeatedLookupsWithin } from "../../../lib/checks/workload/repeated-lookups.ts";
import { selectStar } from "../../../lib/checks/workload/select-star.ts";
import { unboundedResults } from "../../../lib/checks/workload/unbounded-results.ts";
import { collectHistory } from "../../../lib/history/collect.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { loadApplication } from "../../../lib/sandbox/application/load.ts";
import { runWorkload } from "../../../lib/sandbox/application/workload.ts";
import { allMajors } from "../../helpers/postgres.ts";
import { expectMended, flushStatistics, runCheck, runChecks } from "../../helpers/review.ts";
import { daysPass } from "../../history/time.ts";
import { installed } from "../../install/installed.ts";
import { meanwhile, times, useWorkload } from "./use-workload.ts";

const people = (name: string) => `
create table ${name} as
select id, 'Person' || id || '@Example.com' as email, (id % 100)::char(8) as code, timestamptz '2026-01-01' + id * interval '1 minute' as seen,
       timestamp '2026-01-01' + id * interval '1 minute' as local, repeat('x', 40) as note,
       jsonb_build_object('kind', id % 100, 'tags', jsonb_build_array(id % 7)) as data
  from generate_series(1, 12000) id`;

/** Catalogs and plans that differ do so between the oldest and the newest. */
const majors = allMajors.filter((_, at) => at === 0 || at === allMajors.length - 1);
/** What takes seconds, because it observes, is tried once. */

describe.each(majors)("statements of PostgreSQL %i", (major) => {
  const { server, database, another } = useWorkload(major);

  it("with a function around a column are found, and an index on the expression mends it", async () => {
    const session = await database([people(`public."pe'ople"`), `create index on public."pe'ople" (email)`]);
    await times(session, 60, `select id from public."pe'ople" where lower(email) = $1`, (turn) => [
      `person${turn}`,
    ]);
    await times(session, 60, `select id from public."pe'ople" p where p.seen::date = $1`, () => [
      "2026-01-02",
    ]);
    const { findings } = await runCheck(nonSargablePredicates, session);
    expect(findings).toMatchObject([
      { confidence: "likely", object: { table: "pe'ople" } },
      { confidence: "likely", object: { table: "pe'ople" } },
    ]);
    const [lower, date] = ["email", "seen"].map((name) =>
      findings.find(({ object }) => object.column === name),
    );
    expect(lower?.fix?.up).toEqual([
      `CREATE INDEX CONCURRENTLY "pe'ople_email_lower_idx" ON "public"."pe'ople" (("lower"("email")));`,
    ]);
    expect(date).not.toHaveProperty("fix");
    expect(date?.remediation.sql).toContain(`"seen" >= start AND "seen" < end`);
    await expectMended(nonSargablePredicates, session, lower);
  });

  it("with a type that the column's index cannot compare are found", async () => {
    const session = await database([
      people("public.people"),
      "alter table public.people add amount numeric default 1",
      "create index on public.people (amount)",
      "create index on public.people (id)",
      "create index on public.people (code)",
      "create index on public.people (seen)",
    ]);
    await times(session, 60, "select note from public.people where id = $1::numeric", (turn) => [turn]);
    await times(session, 60, "select note from public.people where code = $1::text", (turn) => [
      String(turn),
    ]);
    await times(session, 60, "select note from public.people where amount = $1::int", () => [1]);
    await times(session, 60, "select note from public.people where id = $1::bigint", (turn) => [turn]);
    await times(session, 60, "select note from public.people where seen = $1::date", () => ["2026-01-02"]);
    const { findings } = await runCheck(implicitCasts, session);
    expect(findings.map(({ object, evidence }) => [object.column, evidence.otherType]).sort()).toEqual([
      ["code", "text"],
      ["id", "numeric"],
    ]);
  });

  it("with LIKE inside of texts are found, and trigrams mend it", async () => {
    const session = await database([people("public.people"), "create index on public.people (email)"]);
    await times(session, 60, "select id from public.people where email ilike $1", (turn) => [`%n${turn}@%`]);
    await times(session, 60, "select id from public.people where email = $1", (turn) => [`${turn}`]);
    const { findings } = await runCheck(leadingWildcardLike, session);
    expect(findings).toMatchObject([{ confidence: "likely", object: { column: "email" } }]);
    expect(findings[0]?.fix?.up[0]).toBe('CREATE EXTENSION IF NOT EXISTS "pg_trgm" WITH SCHEMA "public";');
    await expectMended(leadingWildcardLike, session, findings[0]);
    await times(session, 60, "select id from public.people where note ilike $1", () => ["%y%"]);
    const both = (await runCheck(leadingWildcardLike, session)).findings;
    expect(both).toHaveLength(2);
    const up = both.flatMap(({ fix }) => fix?.up ?? []);
    const down = [...both].reverse().flatMap(({ fix }) => fix?.down ?? []);
    for (const statement of [...up, ...down]) await session.query(statement);
  });

  it("with filters inside of documents are found, and an index over them mends it", async () => {
    const session = await database([people("public.people")]);
    await times(session, 60, "select id from public.people where data @> $1", (turn) => [{ kind: turn }]);
    await times(session, 60, "select id from public.people where data ->> 'kind' = $1", (turn) => [
      `${turn}`,
    ]);
    const { findings } = await runCheck(jsonPathFilters, session);
    expect(findings.map(({ evidence }) => evidence.operator).sort()).toEqual(["->>", "@>"]);
    expect(JSON.stringify(findings)).not.toContain("kind");
    const contained = findings.find(({ evidence }) => evidence.operator === "@>");
    expect(contained?.remediation.sql).toContain('USING gin ("data" jsonb_path_ops)');
    await expectMended(jsonPathFilters, session, contained);
  });

  it("that join without a condition are found, and those tied by anything are not", async () => {
    const session = await database([
      "create table public.a as select id, id % 10 as x from generate_series(1, 1500) id",
      "create table public.b as select id, id % 10 as a_id from generate_series(1, 1500) id",
    ]);
    await times(session, 30, "select count(*) from public.a, public.b where a.x > $1 and b.a_id < $2", () => [
      8, 1,
    ]);
    for (const tied of [
      "select count(*) from public.a, public.b where a.id = b.a_id and a.x > $1",
      "select count(*) from public.a join public.b on a_id = x where a.id < $1",
      "select count(*) from public.a, public.b where a.id = $1 and b.id > 5",
      "select count(*) from public.a, public.b where exists (select 1 from public.a c where c.id = a.id and c.x = b.id) and a.id < $1",
      "select count(*) from public.a left join lateral (select b.id from public.b where b.a_id = a.id limit 1) l on true where a.id < $1",
      "select count(*) from public.a natural join public.b where a.id < $1",
    ]) {
      await times(session, 12, tied, () => [3]);
    }
    const { findings } = await runCheck(cartesianJoins, session);
    expect(findings).toMatchObject([
      { confidence: "likely", evidence: { tables: ["public.a", "public.b"], pairs: 2_250_000 } },
    ]);
  });

  it("that skip, fetch or carry too much are found, and modest ones are not", async () => {
    const session = await database([
      people("public.people"),
      "create index on public.people (id)",
      "create table public.shuffled as select * from public.people order by md5(id::text)",
      "create index on public.shuffled (id)",
      "create table public.pages as select id, (select string_agg(md5((id * 1000 + n)::text), '') from generate_series(1, 150) n) as body from generate_series(1, 200) id",
    ]);
    await times(session, 20, "select note from public.shuffled order by id limit 10 offset $1", () => [
      11_000,
    ]);
    await times(session, 60, "select note from public.people order by id limit 10 offset $1", (turn) => [
      turn,
    ]);
    await times(session, 12, "select id, note from public.people where id > $1", () => [10_000]);
    await times(session, 12, "select id from public.people where id > $1 limit 2000", () => [10]);
    await times(session, 12, "select count(*) from public.people where id > $1", () => [10]);
    await times(session, 100, "select * from public.pages where id <= $1", () => [30]);
    await times(session, 100, "select id from public.pages where id <= $1", () => [30]);
    const report = await runChecks([deepOffset, unboundedResults, selectStar], session);
    const found = report.results.map(({ check, findings }) => [
      check,
      findings.map(({ object }) => object.table),
    ]);
    expect(found).toEqual([
      ["deep-offset", ["shuffled"]],
      ["unbounded-results", ["people"]],
      ["select-star", ["pages"]],
    ]);
    expect(report.results[1]?.findings[0]).toMatchObject({ evidence: { rowsPerCall: 2000 } });
    expect(report.results[2]?.findings[0]).toMatchObject({ evidence: { wideColumns: ["body"] } });
  });

  it("that look up each row of a list are suspected, when both were seen between two looks", async () => {
    const session = await database([
      "create table public.authors (id int primary key, name text)",
      "create table public.books (id int primary key, author_id int references public.authors, title text)",
      "insert into public.authors select n, 'A' || n from generate_series(1, 50) n",
      "insert into public.books select n, n % 50 + 1, 'B' || n from generate_series(1, 500) n",
    ]);
    expect(await runCheck(nPlusOne, session)).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("--observe 60s"),
    });
    const client = await another(session);
    const seen = runCheck(nPlusOne, session, { observeSeconds: 1.5 });
    const { findings } = await meanwhile(seen, async (turn) => {
      const books = await client.query<{ author_id: number }>(
        "select id, author_id from public.books where id > $1 order by id limit 10 /*controller='books'*/",
        [turn % 100],
      );
      for (const { author_id } of books) {
        await client.query("select name from public.authors where id = $1 /*controller='books'*/", [
          author_id,
        ]);
      }
      await client.query("select title from public.books where id = $1", [turn % 100]);
    });
    expect(findings).toMatchObject([
      {
        confidence: "suspected",
        origin: "controller=books",
        object: { schema: "public", table: "authors", column: "id" },
        evidence: { list: expect.stringContaining("from public.books") },
      },
    ]);
  });

  it("that write row by row what comes in bulk are found", async () => {
    const session = await database(["create table public.log (id int, note text)"]);
    const client = await another(session);
    // Commits from before would be counted when they are told.
    for (const one of [session, client]) await flushStatistics(one);
    await client.query("begin");
    const seen = await meanwhile(
      runCheck(oneRowWritesWithin({ fewestCalls: 100 }), session, { observeSeconds: 2 }),
      (turn) => client.query("insert into public.log (id, note) values ($1, $2)", [turn, "x"]),
    );
    await client.query("commit");
    expect(seen.findings).toMatchObject([
      { confidence: "likely", object: { schema: "public", table: "log" }, evidence: { observed: true } },
    ]);
  });

  it("that fetch what hardly changes again and again are suspected", async () => {
    const session = await database([
      "create table public.settings as select n as key, 'v' as value from generate_series(1, 5) n",
    ]);
    await flushStatistics(session);
    await session.query("select pg_stat_reset()");
    await times(session, 1_100, "select value from public.settings where key = $1", (turn) => [turn % 5]);
    expect((await runCheck(repeatedLookups, session)).findings).toEqual([]);
    const { findings } = await runCheck(repeatedLookupsWithin({ fewestCalls: 1_000 }), session);
    expect(findings).toMatchObject([{ confidence: "suspected", object: { table: "settings" } }]);
  });

  it("that look up each row of a list are suspected by the history, when nobody observes", async () => {
    const shop = await installed(server);
    await shop.asMaster(async (session) => {
      await session.query("create table public.authors (id int primary key, name text)");
      await session.query(
        "create table public.books (id int primary key, author_id int references public.authors, title text)",
      );
      await session.query("insert into public.authors select n, 'A' || n from generate_series(1, 50) n");
      await session.query(
        "insert into public.books select n, n % 50 + 1, 'B' || n from generate_series(1, 500) n",
      );
    });
    const page = async (session: Session, turn: number) => {
      const books = await session.query<{ author_id: number }>(
        "select author_id from public.books where id > $1 order by id limit 10",
        [turn],
      );
      for (const { author_id } of books) {
        await session.query("select name from public.authors where id = $1", [author_id]);
      }
    };
    const browse = (turns: number) =>
      shop.asMaster(async (session) => {
        for (let turn = 0; turn < turns; turn++) await page(session, turn);
      });
    await browse(3);
    await shop.as(shop.names.monitoring, (session) =>
      collectHistory({
        session,
        keepDays: 400,
        keepStatementSnapshots: 35,
        statements: 5_000,
        mask: maskLiterals,
        dryRun: false,
      }),
    );
    await shop.as(undefined, (session) => daysPass(session, 1));
    await browse(20);
    const result = await shop.as(shop.names.monitoring, (session) => runCheck(nPlusOne, session));
    expect(result).toMatchObject({ facts: { twoLooksBy: "history" } });
    expect(result.findings).toMatchObject([
      {
        object: { table: "authors", column: "id" },
        evidence: { betweenTheLooks: { callsOfTheLookup: 200, callsOfTheList: 20, rowsOfTheList: 200 } },
      },
    ]);
  });

  it("of an application that is in order are not found fault with", async () => {
    const session = await database([
      "create table public.pgbench_branches (bid int primary key, bbalance int, filler char(88))",
      "create table public.pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84))",
      "create table public.pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84))",
      "create table public.pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
      "insert into public.pgbench_branches values (1, 0)",
      "insert into public.pgbench_tellers select n, 1, 0 from generate_series(1, 10) n",
      "insert into public.pgbench_accounts select n, 1, 0 from generate_series(1, 20000) n",
    ]);
    const client = await another(session);
    const bench = async (turn: number) => {
      await client.query("begin");
      await client.query("update public.pgbench_accounts set abalance = abalance + $1 where aid = $2", [
        1,
        turn,
      ]);
      await client.query("select abalance from public.pgbench_accounts where aid = $1", [turn]);
      await client.query("update public.pgbench_tellers set tbalance = tbalance + $1 where tid = $2", [
        1,
        turn % 10,
      ]);
      await client.query(
        "update public.pgbench_branches set bbalance = bbalance + $1 where bid = $2",
        [1, 1],
      );
      await client.query(
        "insert into public.pgbench_history (tid, bid, aid, delta, mtime) values ($1, $2, $3, $4, current_timestamp)",
        [turn % 10, 1, turn, 1],
      );
      await client.query("end");
    };
    const report = await meanwhile(runChecks(workloadChecks, session, { observeSeconds: 1.5 }), bench);
    expect(report.results.flatMap(({ findings }) => findings)).toEqual([]);
    const unseen = report.results.filter(({ verdict }) => verdict !== "pass");
    expect(unseen).toEqual([]);
  });

  it("of the sandbox's application are not found fault with", async () => {
    const session = await database();
    await loadApplication(session, { scale: 1 });
    await session.query("select public.pg_stat_statements_reset()");
    const login = server.superuser;
    const use = (seed: number) =>
      runWorkload({
        database: session.database,
        primary: { host: "127.0.0.1", port: server.port },
        logins: { writer: login, reporting: login },
        routing: async () => undefined,
        operations: 300,
        seed,
      });
    const other = await another(session);
    const report = await meanwhile(runChecks(workloadChecks, other, { observeSeconds: 2 }), (turn) =>
      use(turn + 1),
    );
    expect(report.results.flatMap(({ findings }) => findings)).toEqual([]);
    expect(report.results.filter(({ verdict }) => verdict !== "pass")).toEqual([]);
  });
});
