import { describe, expect, it } from "vitest";
import {
  partialIndexCandidates,
  partialIndexesBeyond,
} from "../../../lib/checks/indexes/partial-index-candidates.ts";
import { unusedIndexesWithin } from "../../../lib/checks/indexes/unused-indexes.ts";
import { missingIndexes } from "../../../lib/checks/workload/missing-indexes.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { hasDebianExtension, useDebianServer } from "../../helpers/debian-postgres.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";
import { times, useWorkload } from "../workload/use-workload.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));
const anySize = partialIndexesBeyond({ leastRows: 1000, leastBytes: 1, shortestDays: 0 });

describe.each(majors)("indexes of all rows of which few are looked for, PostgreSQL %i", (major) => {
  const { server, database, another } = useWorkload(major);

  async function found(session: Session) {
    await flushStatistics(session);
    return runCheck(anySize, session);
  }
  /** Without waiting for counters: that its indexes are used has been flushed before. */
  const indexesFound = async (session: Session) =>
    (await runCheck(anySize, session)).findings
      .map(({ object, evidence }) => [object.index, evidence.rareRows])
      .sort();
  /** The plan of a statement whose values are not known, with no table read as a whole. */
  async function planOf(session: Session, types: string, sql: string, values: string): Promise<string> {
    await session.query("set plan_cache_mode = force_generic_plan");
    await session.query("set enable_seqscan = off");
    await session.query(`prepare asked(${types}) as ${sql}`);
    const rows = await session.query(`explain execute asked(${values})`);
    await session.query("deallocate asked");
    await session.query("reset enable_seqscan");
    await session.query("reset plan_cache_mode");
    return JSON.stringify(rows);
  }

  const rows = (fewest = 50) => `
    create table public."jo'b""s; --" (
      id int primary key, "de""leted; --" timestamptz, boss int, done boolean not null, run_at timestamptz not null,
      processed_at timestamptz, queue int not null, note text);
    insert into public."jo'b""s; --"
    select g, case when g % ${fewest} = 0 then now() - g * interval '1 minute' end, case when g % ${fewest} = 0 then g % 500 end,
           g % ${fewest} <> 0, now() - g * interval '1 minute', case when g % ${fewest} <> 0 then now() end, g % 200, 'x'
      from generate_series(1, 20000) g`;
  const deleted = `create index "i ""deleted; --" on public."jo'b""s; --" ("de""leted; --")`;
  const byDeleted = `select id from public."jo'b""s; --" where "de""leted; --" between $1 and $2`;
  const someDeleted = () => ["2000-01-01", "2000-01-02"];

  it("are those that are mostly null: a smaller one does the same, also for what a foreign key looks up", async () => {
    const session = await database([
      rows(),
      deleted,
      `create index i_boss on public."jo'b""s; --" (boss, id) include (queue) with (fillfactor = 80)`,
      `create table public.bosses as select g as id from generate_series(0, 499) g`,
      "alter table public.bosses add primary key (id)",
      `alter table public."jo'b""s; --" add constraint boss_of foreign key (boss) references public.bosses on delete set null`,
    ]);
    await times(session, 120, byDeleted, someDeleted);
    await times(session, 5, "delete from public.bosses where id = $1", (turn) => [turn * 50]);
    const { findings } = await found(session);
    expect(findings).toMatchObject([
      {
        severity: "low",
        confidence: "likely",
        object: { schema: "public", table: "jo'b\"s; --", index: "i_boss" },
        evidence: { rareRows: '"boss" IS NOT NULL', statementsWithTheCondition: 0 },
        remediation: {
          sql: expect.stringContaining(
            `CREATE INDEX CONCURRENTLY "jo'b""s; --_boss_id_part_idx" ON public."jo'b""s; --" USING btree (boss, id) INCLUDE (queue) WITH (fillfactor='80') WHERE "boss" IS NOT NULL;`,
          ),
          lock: expect.stringMatching(/^SHARE UPDATE EXCLUSIVE/),
          rollback: expect.stringContaining("DROP INDEX CONCURRENTLY"),
        },
      },
      {
        confidence: "likely",
        object: { index: 'i "deleted; --', column: 'de"leted; --' },
        evidence: {
          sharePercent: 2,
          calls: 120,
          statementsWithTheCondition: 1,
          planNow: expect.stringContaining('i "deleted; --'),
        },
      },
    ]);
    for (const finding of findings) await expectMended(anySize, session, finding);
    for (const finding of findings)
      for (const statement of finding.fix?.up ?? []) await session.query(statement);
    await session.query("analyze");
    expect((await found(session)).findings).toEqual([]);
    expect(
      await planOf(session, "timestamptz", byDeleted.replace("between $1 and $2", "= $1"), "null"),
    ).toMatch(/Index.*_part_idx/);
    // As ri_triggers.c asks.
    const asked = `select 1 from only public."jo'b""s; --" x where $1 operator(pg_catalog.=) boss for key share of x`;
    expect(await planOf(session, "int", asked, "null")).toContain("_boss_id_part_idx");
    await times(session, 5, "delete from public.bosses where id = $1", (turn) => [turn * 50 + 10]);
    await flushStatistics(session);
    const [used] = await session.query<{ scans: number }>(
      "select idx_scan as scans from pg_stat_user_indexes where indexrelname ~ '_boss_id_part_idx$'",
    );
    expect(used?.scans).toBe(5);
  });

  it("are needed whole when some statement looks for the nulls, wants them in order, or may", async () => {
    const session = await database([rows(), deleted]);
    const table = `public."jo'b""s; --"`;
    await times(session, 20, byDeleted, someDeleted);
    await flushStatistics(session);
    for (const other of [
      `select id from ${table} where "de""leted; --" is null and id < 5`,
      `select id from ${table} order by "de""leted; --" desc limit 5`,
      `select max("de""leted; --") from ${table}`,
      `select id from ${table} where "de""leted; --" = now() or id = 7`,
      `select id from ${table} where coalesce("de""leted; --", now()) = '2026-01-01'`,
      `update ${table} set note = note where "de""leted; --" is null and id = 3`,
      `select 1 from public.other o left join ${table} a on a.processed_at = o.at where a."de""leted; --" is null`,
      `declare c cursor with hold for select id from ${table} order by "de""leted; --"`,
      `select id from public.of_jobs limit 1`,
    ]) {
      await session.query(
        `drop view if exists public.of_jobs; drop table if exists public.other; create table public.other (at timestamptz); create view public.of_jobs as select * from ${table} order by "de""leted; --"`,
      );
      await session.query("select public.pg_stat_statements_reset()");
      await times(session, 120, byDeleted, someDeleted);
      expect(await indexesFound(session), "without").toEqual([
        ['i "deleted; --', '"de""leted; --" IS NOT NULL'],
      ]);
      await session.query(other);
      expect(await indexesFound(session), other).toEqual([]);
      await session.query("close all");
    }
  });

  it("are those whose statements all have one condition, which few rows fulfil", async () => {
    const session = await database([
      rows(20),
      `create index i_queue on public."jo'b""s; --" (queue, run_at desc)`,
      `create index i_done on public."jo'b""s; --" (done, run_at)`,
    ]);
    const table = `public."jo'b""s; --"`;
    await times(
      session,
      60,
      `select id from ${table} where processed_at is null and queue = $1 order by run_at desc limit 3`,
      (turn) => [turn],
    );
    await times(session, 60, `select j.id, j.note from ${table} j where not j.done and j.run_at < $1`, () => [
      "2000-01-01",
    ]);
    await flushStatistics(session);
    // The other index has run_at too, but no plan reads it for that.
    expect(await indexesFound(session)).toEqual([
      ["i_done", 'NOT "done"'],
      ["i_queue", '"processed_at" IS NULL'],
    ]);
    await session.query("drop index public.i_queue");
    await session.query("set random_page_cost = 1");
    await times(session, 5, `select count(*) from ${table} where run_at < $1`, () => ["2000-01-01"]);
    expect(await indexesFound(session), "one reads it by its second column").toEqual([]);
    await session.query(`create index i_queue on ${table} (queue, run_at desc)`);
    await session.query("select public.pg_stat_statements_reset()");
    await times(
      session,
      60,
      `select id from ${table} where processed_at is null and queue = $1 limit 3`,
      (turn) => [turn],
    );
    await times(session, 60, `select id from ${table} where not done and run_at < $1`, () => ["2000-01-01"]);
    const both = await found(session);
    expect(both.findings.map(({ object, evidence }) => [object.index, evidence.rareRows]).sort()).toEqual([
      ["i_done", 'NOT "done"'],
      ["i_queue", '"processed_at" IS NULL'],
    ]);
    // A column that is alike in every row of the new index finds nothing in it.
    expect(both.findings.map(({ fix }) => fix?.up[0]).sort()).toEqual([
      `CREATE INDEX CONCURRENTLY "jo'b""s; --_done_run_at_part_idx" ON public."jo'b""s; --" USING btree (run_at) WHERE NOT "done";`,
      `CREATE INDEX CONCURRENTLY "jo'b""s; --_queue_run_at_part_idx" ON public."jo'b""s; --" USING btree (queue, run_at DESC) WHERE "processed_at" IS NULL;`,
    ]);
    expect(
      both.findings.map(({ blastRadius }) => /"processed_at" can be HOT no more/.test(blastRadius)),
    ).toEqual(both.findings.map(({ object }) => object.index === "i_queue"));
    for (const finding of both.findings) await expectMended(anySize, session, finding);
    const queue = both.findings.find(({ object }) => object.index === "i_queue");
    for (const statement of queue?.fix?.up ?? []) await session.query(statement);
    expect(
      await planOf(
        session,
        "int",
        `select id from ${table} where processed_at is null and queue = $1`,
        "null",
      ),
    ).toContain("_queue_run_at_part_idx");
  });

  it("are needed whole by what has another condition, or none, and where updates would be HOT no more", async () => {
    const session = await database([
      rows(),
      `create index i_queue on public."jo'b""s; --" (queue)`,
      `alter table public."jo'b""s; --" set (fillfactor = 50)`,
      `vacuum full public."jo'b""s; --"`,
    ]);
    const table = `public."jo'b""s; --"`;
    const waiting = `select id from ${table} where processed_at is null and queue = $1`;
    await times(session, 120, waiting, (turn) => [turn]);
    await flushStatistics(session);
    expect(await indexesFound(session)).toEqual([["i_queue", '"processed_at" IS NULL']]);
    for (const other of [
      `select id from ${table} where queue = $1`,
      `select id from ${table} where queue = $1 and (processed_at is null or done)`,
      `select id from ${table} where queue = $1 and processed_at is not null`,
      `update ${table} set processed_at = now() where id = $1`,
    ]) {
      await session.query("select public.pg_stat_statements_reset()");
      await times(session, 120, waiting, (turn) => [turn]);
      await session.query(other, [50]);
      expect(await indexesFound(session), other).toEqual([]);
    }
    await session.query("select public.pg_stat_statements_reset()");
    await times(session, 5, waiting, (turn) => [turn]);
    expect(await indexesFound(session), "called five times").toEqual([]);
  });

  it("are left alone where more than queries needs them, or another check advises about them", async () => {
    const session = await database([
      `create table public.t (id int not null, u int unique, v int, w int, x int, y int, z int, half int, never int);
       insert into public.t select g, n, n, n, n, n, n, case when g % 2 = 0 then g end, null
         from generate_series(1, 20000) g, lateral (select case when g % 50 = 0 then g end as n) few`,
      "create unique index t_v on public.t (v)",
      "create index t_w on public.t (w)",
      "cluster public.t using t_w",
      "create index t_x on public.t (x)",
      "create index t_x2 on public.t (x)",
      "create index t_y on public.t (y) where y is not null",
      "create index t_unread on public.t (z)",
      "create index t_half on public.t (half)",
      "create index t_never on public.t (never)",
      `create table public.parts (id int, v int) partition by range (id);
       create table public.parts_1 partition of public.parts for values from (0) to (100000);
       insert into public.parts select g, case when g % 50 = 0 then g end from generate_series(1, 20000) g;
       create index parts_v on public.parts (v)`,
      "create index parts_1_v on public.parts_1 (v, id)",
    ]);
    for (const column of ["u", "v", "w", "x", "y", "half"]) {
      await times(session, 20, `select id from public.t where ${column} = $1`, (turn) => [turn]);
    }
    await times(session, 20, "select id from public.parts where v = $1", (turn) => [turn]);
    await flushStatistics(session);
    expect(await indexesFound(session)).toEqual([]);
    await session.query("drop index public.t_x2");
    await times(session, 20, "select id from public.t where x = $1", (turn) => [turn]);
    await flushStatistics(session);
    expect(await indexesFound(session)).toEqual([["t_x", '"x" IS NOT NULL']]);
  });

  it("are suspected only where statements may be unseen: in functions, in a short time, without the extension", async () => {
    const session = await database([rows(), deleted]);
    await times(session, 120, byDeleted, someDeleted);
    await flushStatistics(session);
    expect((await runCheck(anySize, session)).findings).toMatchObject([{ confidence: "likely" }]);
    const longer = partialIndexesBeyond({ leastRows: 1000, leastBytes: 1, shortestDays: 7 });
    expect((await runCheck(longer, session)).findings).toMatchObject([
      {
        confidence: "suspected",
        evidence: { notCertainBecause: ["statements are counted for less than 7 days"] },
      },
    ]);
    await session.query(
      `create function public.count_all() returns bigint language plpgsql as $$ begin return (select count(*) from public."jo'b""s; --"); end $$`,
    );
    expect((await runCheck(anySize, session)).findings).toMatchObject([{ confidence: "suspected" }]);
    await session.query("drop extension pg_stat_statements");
    expect(await runCheck(anySize, session)).toMatchObject({
      verdict: "findings",
      reason: expect.stringContaining("CREATE EXTENSION pg_stat_statements"),
      findings: [{ confidence: "suspected", object: { index: 'i "deleted; --' } }],
    });
    expect(await runCheck(partialIndexCandidates, session)).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("which rows statements look for is not known"),
    });
  });

  it("are nothing in a sound schema, and cannot be told without statistics or the right to read them", async () => {
    const session = await database([rows(2), `create index on public."jo'b""s; --" (queue)`, deleted]);
    await times(session, 120, `select id from public."jo'b""s; --" where queue = $1`, (turn) => [turn]);
    await times(session, 20, byDeleted, someDeleted);
    expect(await found(session)).toMatchObject({
      verdict: "pass",
      good: ["No large index is kept for a few of its rows."],
    });
    const open = await another(session);
    await open.query(`begin; lock table public."jo'b""s; --" in access exclusive mode`);
    expect(await found(session)).toMatchObject({ verdict: "pass" });
    await open.query("rollback");
    for (const [memberships, reason] of [
      [[], /hidden from .*GRANT pg_monitor TO.*GRANT pg_read_all_data TO/],
      [["pg_monitor"], /GRANT pg_read_all_data TO/],
    ] as const) {
      const guest = await server.connect(
        session.database,
        await createLogin(server, session.database, memberships),
      );
      const result = await runCheck(anySize, guest);
      await guest.close();
      expect(result).toMatchObject({ verdict: "not-assessable", reason: expect.stringMatching(reason) });
    }
    await session.query("create table public.new as select g as id from generate_series(1, 2000) g");
    await flushStatistics(session);
    expect(await found(session)).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("not analysed yet"),
    });
  });

  it("are those of a boolean that is nearly always the same, without knowing a statement too", async () => {
    const session = await database([rows(), `create index i_done on public."jo'b""s; --" (done)`]);
    const table = `public."jo'b""s; --"`;
    await times(session, 120, `select id from ${table} where not done`);
    await flushStatistics(session);
    expect(await indexesFound(session)).toEqual([["i_done", 'NOT "done"']]);
    // It may be either of the two.
    await session.query(`select id from ${table} where done = $1`, [true]);
    expect(await indexesFound(session)).toEqual([]);
    await session.query("drop extension pg_stat_statements");
    const { findings } = await found(session);
    expect(findings).toMatchObject([{ confidence: "suspected", evidence: { rareRows: 'NOT "done"' } }]);
    await expectMended(anySize, session, findings[0]);
  });

  it("are not proposed: an index that is missing is one of few rows from the start", async () => {
    const session = await database(rows(20));
    const table = `public."jo'b""s; --"`;
    const waiting = `select id from ${table} where processed_at is null and queue = $1`;
    await times(session, 60, waiting, (turn) => [turn]);
    const { findings } = await runCheck(missingIndexes, session);
    expect(findings).toMatchObject([
      {
        confidence: "likely",
        evidence: { rareRows: '"processed_at" IS NULL', sharePercent: expect.closeTo(5, 0) },
        remediation: {
          sql: `CREATE INDEX CONCURRENTLY "jo'b""s; --_queue_idx" ON "public"."jo'b""s; --" ("queue") WHERE "processed_at" IS NULL;`,
        },
      },
    ]);
    await expectMended(missingIndexes, session, findings[0]);
    await times(session, 60, `select note from ${table} where queue = $1`, (turn) => [turn]);
    const whole = await runCheck(missingIndexes, session);
    expect(whole.findings.map(({ remediation }) => remediation.sql)).toEqual([
      `CREATE INDEX CONCURRENTLY "jo'b""s; --_queue_idx" ON "public"."jo'b""s; --" ("queue");`,
    ]);
  });

  it("are not those that nothing reads: these are unused", async () => {
    const session = await database([rows(), deleted]);
    await times(session, 120, `select id from public."jo'b""s; --" where id = $1`, (turn) => [turn]);
    expect(await indexesFound(session)).toEqual([]);
    const unused = unusedIndexesWithin({
      shortestDays: 0,
      enoughDays: 31,
      forgottenDays: 180,
      smallestBytes: 1,
    });
    expect((await runCheck(unused, session)).findings).toMatchObject([
      { object: { index: 'i "deleted; --' } },
    ]);
  });
});

const missing = hasDebianExtension("hypopg") ? "" : " (skipped: postgresql-15-hypopg is not installed)";

describe.skipIf(missing !== "")(`indexes of all rows, planned with hypopg${missing}`, () => {
  const server = useDebianServer();

  it("are proved by the plan with the index of a few rows beside the old one", async () => {
    const first = await server.connect();
    await first.query("create database jobs");
    await first.close();
    const session = await server.connect("jobs");
    await session.query("create extension pg_stat_statements with schema public");
    await session.query("create extension hypopg with schema public");
    await session.query(
      `create table public.jobs as
       select g as id, g % 200 as queue, case when g % 20 <> 0 then now() end as processed_at,
              case when g % 20 = 0 then g end as boss, repeat('x', 60) as note from generate_series(1, 20000) g`,
    );
    await session.query("create index jobs_queue on public.jobs (queue)");
    await session.query("create index jobs_boss on public.jobs (boss) with (fillfactor = 70)");
    await session.query("vacuum analyze public.jobs");
    await session.query("select public.pg_stat_statements_reset()");
    await times(
      session,
      60,
      "select id, note from public.jobs where processed_at is null and queue = $1",
      (turn) => [turn],
    );
    await times(session, 60, "select id, note from public.jobs where boss = $1", (turn) => [turn * 20]);
    await flushStatistics(session);
    const { findings } = await runCheck(anySize, session);
    for (const [index, rareRows] of [
      ["jobs_queue", '"processed_at" IS NULL'],
      ["jobs_boss", '"boss" IS NOT NULL'],
    ] as const) {
      expect(findings.find(({ object }) => object.index === index)).toMatchObject({
        confidence: "likely",
        evidence: {
          rareRows,
          provedBy: "hypopg",
          planNow: expect.stringMatching(/^(?:Index|Bitmap Heap) Scan on jobs.*cost \d+$/),
          planWithIndex: expect.stringMatching(/^(?:Index|Bitmap Heap) Scan on jobs.*cost \d+$/),
        },
      });
    }
    expect(findings).toHaveLength(2);
    expect(await session.query("select 1 from public.hypopg()")).toEqual([]);
    for (const finding of findings) await expectMended(anySize, session, finding);
    await session.query("drop index public.jobs_queue");
    await session.query("select public.pg_stat_statements_reset()");
    await times(
      session,
      60,
      "select id, note from public.jobs where processed_at is null and queue = $1",
      (turn) => [turn],
    );
    const proposed = await runCheck(missingIndexes, session);
    expect(proposed.findings).toMatchObject([
      {
        confidence: "certain",
        evidence: { rareRows: '"processed_at" IS NULL', provedBy: "hypopg" },
        remediation: {
          sql: 'CREATE INDEX CONCURRENTLY "jobs_queue_idx" ON "public"."jobs" ("queue") WHERE "processed_at" IS NULL;',
        },
      },
    ]);
    await expectMended(missingIndexes, session, proposed.findings[0]);
    await session.close();
  });
});
