import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dataChecks } from "../../lib/checks/data/index.ts";
import { autovacuumParameters } from "../../lib/checks/space/autovacuum-parameters.ts";
import { bloatedTablesBeyond } from "../../lib/checks/space/bloated-tables.ts";
import { bloatedToastBeyond } from "../../lib/checks/space/bloated-toast.ts";
import { defaultPartitionRows } from "../../lib/checks/space/default-partition-rows.ts";
import { hotUpdates, hotUpdatesWithin } from "../../lib/checks/space/hot-updates.ts";
import { spaceChecks } from "../../lib/checks/space/index.ts";
import { partitioningCandidatesBeyond } from "../../lib/checks/space/partitioning-candidates.ts";
import { partitionsAhead } from "../../lib/checks/space/partitions-ahead.ts";
import { staleStatistics } from "../../lib/checks/space/stale-statistics.ts";
import {
  tablesNeedingVacuum,
  tablesNeedingVacuumBeyond,
} from "../../lib/checks/space/tables-needing-vacuum.ts";
import { transactionIdAge } from "../../lib/checks/space/transaction-id-age.ts";
import { unloggedTables } from "../../lib/checks/space/unlogged-tables.ts";
import { unusedTables, unusedTablesWithin } from "../../lib/checks/space/unused-tables.ts";
import { vacuumHeldBack, vacuumHeldBackBeyond } from "../../lib/checks/space/vacuum-held-back.ts";
import { packageRoot } from "../../lib/package-root.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { loadApplication } from "../../lib/sandbox/application/load.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import {
  createLogin,
  expectMended,
  flushStatistics,
  runCheck,
  runChecks,
  useStandby,
} from "../helpers/review.ts";

const run = async (session: Session, ...statements: string[]) => {
  for (const statement of statements) await session.query(statement);
};
const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));
const small = { smallestBytes: 2 ** 20, wastedBytes: 2 ** 20, wastedPercent: 40 };
const tables = bloatedTablesBeyond(small);
const toasts = bloatedToastBeyond(small);
const hostile = `"o""dd"."; drop table x; --"`;

describe.each(majors)("review of space on PostgreSQL %i", (major) => {
  // Nothing is vacuumed behind the test's back.
  const server = useServer(major, { settings: { autovacuum: "off", max_prepared_transactions: "5" } });

  it("finds nothing in a database that has it right", async () => {
    const session = await server.connect(await server.createDatabase());
    await run(
      session,
      "create table public.t (id bigint generated always as identity primary key, note text, flags int2, at timestamptz)",
      "insert into public.t (note, flags, at) select 'note ' || g, g % 3, now() from generate_series(1, 60000) g",
      "create table public.wide (body text)",
      "alter table public.wide alter column body set storage plain",
      "insert into public.wide select repeat('x', 5000) from generate_series(1, 1000)",
      "create table public.full_of_nulls (a bigint, b bigint, c text, d text, e int2, f bool, g bigint)",
      "insert into public.full_of_nulls (a, f) select g, true from generate_series(1, 60000) g",
      "create table public.long (id int, body text)",
      "alter table public.long alter column body set storage external",
      "insert into public.long select g, repeat('y', 5000) from generate_series(1, 1000) g",
      "create table public.loose (a int) with (fillfactor = 50)",
      "insert into public.loose select generate_series(1, 60000)",
      "vacuum (analyze) public.t, public.wide, public.full_of_nulls, public.long, public.loose",
    );
    await flushStatistics(session);
    for (const extension of ["", "create extension pgstattuple"]) {
      if (extension !== "") await session.query(extension);
      const { results } = await runChecks(spaceChecks, session);
      expect(results.flatMap(({ findings }) => findings)).toEqual([]);
      expect(await runCheck(tables, session)).toMatchObject({ verdict: "pass" });
      expect(await runCheck(toasts, session)).toMatchObject({ verdict: "pass" });
    }
    await session.close();
  });

  it("finds what holds back vacuum", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const anyAge = vacuumHeldBackBeyond({
      longSeconds: 0,
      forgottenSeconds: 86_400,
      manyTransactions: 1_000_000,
      dangerousTransactions: 2_000_000,
    });
    const old = await server.connect(database);
    await run(session, "create table public.t (a int)");
    await run(old, "set application_name = 'the; app'", "begin isolation level repeatable read", "select 1");
    expect((await runCheck(vacuumHeldBack, session)).findings).toEqual([]);
    const forgotten = await server.connect(database);
    await run(forgotten, "begin", "insert into public.t values (1)", `prepare transaction 'it''s "gid"'`);
    await run(session, "insert into public.t values (2)");
    const { findings } = await runCheck(anyAge, session);
    expect(findings.map(({ key, severity }) => [key, severity]).toSorted()).toEqual([
      [`vacuum-held-back/prepared transaction/it's "gid"`, "high"],
      [`vacuum-held-back/session/${old.user}/the; app`, "medium"],
    ]);
    const poor = await server.connect(database, await createLogin(server, database));
    expect((await runCheck(vacuumHeldBack, poor)).reason).toContain("GRANT pg_monitor TO");
    const monitor = await server.connect(database, await createLogin(server, database, ["pg_monitor"]));
    expect((await runCheck(anyAge, monitor)).findings.length).toBe(2);
    await run(forgotten, `rollback prepared 'it''s "gid"'`);
    await run(old, "rollback");
    expect((await runCheck(anyAge, session)).verdict).toBe("pass");
    for (const one of [session, old, forgotten, poor, monitor]) await one.close();
  });

  it("finds tables that wait for a vacuum by their own triggers, and statistics that are old or missing", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await run(
      session,
      'create schema "o""dd"',
      `create table ${hostile} (a int)`,
      `insert into ${hostile} select generate_series(1, 30000)`,
      "create table public.patient (a int) with (autovacuum_vacuum_threshold = 100000, autovacuum_analyze_threshold = 100000)",
      "insert into public.patient select generate_series(1, 30000)",
      `vacuum (analyze) ${hostile}, public.patient`,
      `update ${hostile} set a = a + 1`,
      "update public.patient set a = a + 1",
      "create table public.loaded (a int)",
      "insert into public.loaded select generate_series(1, 5000)",
      "create table public.parts (a int) partition by range (a)",
      "create table public.parts_1 partition of public.parts for values from (0) to (10000)",
      "insert into public.parts select generate_series(1, 5000)",
      "analyze public.parts_1",
    );
    await flushStatistics(session);
    const stale = await runCheck(staleStatistics, session);
    expect(
      stale.findings.map(({ key, severity, confidence }) => [key, severity, confidence]).toSorted(),
    ).toEqual([
      ['stale-statistics/o"dd.; drop table x; --', "medium", "likely"],
      ["stale-statistics/public.loaded", "medium", "certain"],
      ["stale-statistics/public.parts", "low", "certain"],
    ]);
    // Vacuumed a moment ago: autovacuum has not had its chance.
    expect((await runCheck(tablesNeedingVacuum, session)).findings).toEqual([]);
    const atOnce = tablesNeedingVacuumBeyond({
      ratio: 2,
      fewestDead: 10_000,
      fewestInserted: 1_000_000,
      recentSeconds: -1,
    });
    const { findings } = await runCheck(atOnce, session);
    expect(findings).toMatchObject([
      {
        key: 'tables-needing-vacuum/o"dd.; drop table x; --',
        severity: "low",
        evidence: {
          counters: [{ counter: "dead rows", value: 30000, trigger: 6050, ratio: 5 }],
          heldBackBy: [],
        },
      },
    ]);
    for (const finding of [...findings, ...stale.findings]) await session.query(finding.remediation.sql);
    await flushStatistics(session);
    expect((await runCheck(staleStatistics, session)).verdict).toBe("pass");
    expect((await runCheck(atOnce, session)).verdict).toBe("pass");
    const poor = await server.connect(database, await createLogin(server, database));
    expect((await runCheck(staleStatistics, poor)).verdict).toBe("pass");
    await run(session, "alter table public.patient set (autovacuum_freeze_max_age = 100000)");
    expect((await runCheck(transactionIdAge, session)).verdict).toBe("pass");
    // As if 150,000 transactions had passed since it was frozen.
    await run(
      session,
      "update pg_catalog.pg_class set relfrozenxid = (((txid_current() + 4294967296 - 150000) % 4294967296)::text)::xid where relname = 'patient'",
    );
    expect((await runCheck(transactionIdAge, session)).findings).toMatchObject([
      { key: "transaction-id-age/relation/public.patient", severity: "medium" },
    ]);
    await poor.close();
    await session.close();
  });

  it("finds tables and long values that are mostly free, measured where it can be", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await run(
      session,
      'create schema "o""dd"',
      `create table ${hostile} (id int, note text, "long" text)`,
      `alter table ${hostile} alter column "long" set storage external`,
      `insert into ${hostile} select g, repeat('n', 100), case when g % 10 = 0 then repeat('l', 4000) end from generate_series(1, 30000) g`,
      `delete from ${hostile} where id % 100 <> 1`,
      `vacuum (analyze, truncate off) ${hostile}`,
    );
    // Without the extension they are suspected; the chunks of long values are all gone.
    const [suspected] = (await runCheck(tables, session)).findings;
    expect(suspected).toMatchObject({
      severity: "low",
      confidence: "suspected",
      evidence: { notMeasured: "the extension pgstattuple is not installed: CREATE EXTENSION pgstattuple;" },
    });
    expect((await runCheck(toasts, session)).findings).toMatchObject([{ confidence: "suspected" }]);
    await run(session, "create extension pgstattuple schema public");
    const { findings } = await runCheck(tables, session);
    expect(findings).toMatchObject([
      { key: 'bloated-tables/o"dd.; drop table x; --', confidence: "certain", evidence: { rows: 300 } },
    ]);
    expect(findings[0]?.evidence.wastedPercent).toBeGreaterThan(95);
    expect((await runCheck(toasts, session)).findings).toMatchObject([{ confidence: "certain" }]);
    // No budget, a lock, no right: only suspected, and nobody waits.
    expect((await runCheck(tables, session, { budgetSeconds: 1 })).findings).toMatchObject([
      {
        confidence: "suspected",
        evidence: { notMeasured: "no time was left for it: give more with --budget" },
      },
    ]);
    const other = await server.connect(database);
    await run(other, "begin", `lock table ${hostile} in access exclusive mode`);
    expect((await runCheck(tables, session)).findings).toMatchObject([
      { confidence: "suspected", evidence: { notMeasured: "it was locked" } },
    ]);
    await run(other, "rollback");
    const poor = await server.connect(database, await createLogin(server, database));
    expect(await runCheck(tables, poor)).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching(
        /^1 large table without statistics that login_\d+ may see.*GRANT pg_stat_scan_tables TO "login/,
      ),
    });
    const monitor = await server.connect(
      database,
      await createLogin(server, database, ["pg_monitor", "pg_read_all_data"]),
    );
    expect((await runCheck(tables, monitor)).findings).toMatchObject([{ confidence: "certain" }]);
    await run(
      session,
      ...(findings[0]?.remediation.sql.split("\n").filter((line) => !line.startsWith("--")) ?? []),
    );
    expect((await runCheck(tables, session)).verdict).toBe("pass");
    expect((await runCheck(toasts, session)).verdict).toBe("pass");
    for (const one of [session, other, poor, monitor]) await one.close();
  });

  it("finds rows in default partitions, and partitions by time that end", async () => {
    const session = await server.connect(await server.createDatabase());
    const range = (table: string, from: string, to: string, name = `${table}_${from.length}${to.length}`) =>
      `do $$ begin execute format('create table public.%I partition of public.%I for values from (%L) to (%L)', '${name}', '${table}', date_trunc('day', now()) + interval '${from}', date_trunc('day', now()) + interval '${to}'); end $$`;
    await run(
      session,
      // Ends in a day, without a default partition.
      'create table public."week; --" (at timestamptz not null, a int) partition by range (at)',
      range("week; --", "-6 days", "1 day", "week_1"),
      // Ended yesterday, and has got rows into its default partition.
      "create table public.ended (at timestamp not null) partition by range (at)",
      range("ended", "-8 days", "-1 days", "ended_1"),
      "create table public.ended_rest partition of public.ended default",
      "insert into public.ended values (now())",
      // Ended yesterday, and still gets rows.
      "create table public.failing (day date not null) partition by range (day)",
      range("failing", "-8 days", "-1 days", "failing_1"),
      "insert into public.failing select now() - interval '3 days'",
      // Enough ahead, an archive, open at the end, by month.
      "create table public.fine (at timestamptz not null) partition by range (at)",
      range("fine", "-1 days", "1 day", "fine_1"),
      range("fine", "1 day", "3 days", "fine_2"),
      "create table public.fine_rest partition of public.fine default",
      "create table public.archive (at timestamptz not null) partition by range (at)",
      range("archive", "-900 days", "-800 days", "archive_1"),
      "create table public.open (at timestamptz not null) partition by range (at)",
      "create table public.open_1 partition of public.open for values from (minvalue) to (maxvalue)",
      "create table public.month (at timestamptz not null) partition by range (at)",
      range("month", "-20 days", "10 days", "month_1"),
      // A list has its others by right.
      "create table public.list (kind text, at timestamptz) partition by list (kind)",
      "create table public.list_rest partition of public.list default",
      "insert into public.list values ('other', now())",
    );
    await flushStatistics(session);
    expect(
      (await runCheck(partitionsAhead, session)).findings.map(({ key, severity, confidence }) => [
        key,
        severity,
        confidence,
      ]),
    ).toEqual([
      ["partitions-ahead/public.ended", "medium", "likely"],
      ["partitions-ahead/public.failing", "high", "likely"],
      ["partitions-ahead/public.week; --", "medium", "certain"],
    ]);
    expect((await runCheck(defaultPartitionRows, session)).findings).toMatchObject([
      {
        key: "default-partition-rows/public.ended",
        evidence: { defaultPartition: '"public"."ended_rest"', rows: 1 },
      },
    ]);
    // Nobody's lock stands in the way of what only reads the catalog.
    const other = await server.connect(session.database);
    await run(other, "begin", "lock table public.ended, public.failing in access exclusive mode");
    await run(session, "set timezone = 'Asia/Tokyo'");
    expect((await runCheck(partitionsAhead, session)).findings).toHaveLength(3);
    await run(other, "rollback");
    await other.close();
    await session.close();
  });

  it("finds tables that a crash empties, unless their names say so", async () => {
    const session = await server.connect(await server.createDatabase());
    await run(
      session,
      'create schema "o""dd"',
      `create unlogged table ${hostile} (a int primary key)`,
      `insert into ${hostile} values (1)`,
      "create unlogged table public.page_cache (a int)",
      "insert into public.page_cache values (1)",
      "create unlogged table public.nothing_yet (a int)",
    );
    await flushStatistics(session);
    const { findings, facts } = await runCheck(unloggedTables, session);
    expect(findings.map(({ key, severity }) => [key, severity])).toEqual([
      ['unlogged-tables/o"dd.; drop table x; --', "medium"],
    ]);
    expect(facts.unlogged).toBe(3);
    await expectMended(unloggedTables, session, findings[0]);
    await session.close();
  });

  it("finds busy tables whose updates enter every index anew", async () => {
    const session = await server.connect(await server.createDatabase());
    const any = hotUpdatesWithin({ updatesPerDay: 1, updates: 1_000, shortestDays: 0 });
    await run(
      session,
      'create schema "o""dd"',
      `create table ${hostile} (a int primary key, b int)`,
      `insert into ${hostile} select g, g from generate_series(1, 2000) g`,
      "create table public.loose (a int primary key, b int) with (fillfactor = 40)",
      "insert into public.loose select g, g from generate_series(1, 2000) g",
      "create table public.indexed (a int primary key, b int) with (fillfactor = 40)",
      "create index on public.indexed (b)",
      "insert into public.indexed select g, g from generate_series(1, 2000) g",
      `update ${hostile} set b = b + 1`,
      "update public.loose set b = b + 1",
      "update public.indexed set b = b + 1",
    );
    await flushStatistics(session);
    // In seconds nobody knows what a day is like.
    expect((await runCheck(hotUpdates, session)).verdict).toBe("pass");
    const { findings } = await runCheck(any, session);
    expect(findings.map(({ key, fix }) => [key, fix?.up]).toSorted()).toEqual([
      ['hot-updates/o"dd.; drop table x; --', [`ALTER TABLE ${hostile} SET (fillfactor = 90);`]],
      ["hot-updates/public.indexed", undefined],
    ]);
    for (const { remediation } of findings) {
      await run(session, ...remediation.sql.split("\n").filter((line) => !line.startsWith("--")));
    }
    await session.close();
  });

  it("finds large tables that nobody uses, once the counters are old enough", async () => {
    const session = await server.connect(await server.createDatabase());
    const any = unusedTablesWithin({ shortestDays: 0, smallestBytes: 8192 });
    await run(
      session,
      'create schema "o""dd"',
      `create table ${hostile} (a int primary key)`,
      "create table public.used (a int)",
      "create table public.log (a int)",
      "create table public.parts (a int) partition by range (a)",
      "create table public.parts_1 partition of public.parts for values from (0) to (1000000)",
      `insert into ${hostile} select generate_series(1, 1000)`,
      "insert into public.used select generate_series(1, 1000)",
      "insert into public.log select generate_series(1, 1000)",
      "insert into public.parts select generate_series(1, 1000)",
      `vacuum analyze ${hostile}, public.used, public.log, public.parts`,
    );
    await flushStatistics(session);
    await run(
      session,
      "select pg_stat_reset()",
      "select count(*) from public.used",
      "insert into public.log values (1)",
    );
    await flushStatistics(session);
    const { findings } = await runCheck(any, session);
    expect(findings.map(({ key, confidence }) => [key, confidence]).toSorted()).toEqual([
      ['unused-tables/o"dd.; drop table x; --', "suspected"],
      ["unused-tables/public.parts", "suspected"],
    ]);
    const early = await runCheck(unusedTablesWithin({ shortestDays: 31, smallestBytes: 8192 }), session);
    expect(early).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching(/^reads are counted since .* ask again when that is 31 days$/),
    });
    expect((await runCheck(unusedTables, session)).verdict).toBe("pass");
    for (const { remediation } of findings) {
      await run(session, ...remediation.sql.split("\n").filter((line) => !line.startsWith("--")));
      await run(session, remediation.rollback);
    }
    await session.close();
  });

  it("finds large tables that grow by time, and those that need autovacuum parameters of their own", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const any = partitioningCandidatesBeyond({ smallestBytes: 2 ** 40, fewestRows: 10_000 });
    await run(
      session,
      'create table public."ev; --" ("the time" timestamptz not null, id bigint, primary key (id))',
      `insert into public."ev; --" select now() + g * interval '1 second', g from generate_series(1, 20000) g`,
      "create table public.shuffled (at timestamptz not null)",
      "insert into public.shuffled select now() + (g * 7919 % 20000) * interval '1 second' from generate_series(1, 20000) g",
      "create table public.changing (at timestamptz not null)",
      "insert into public.changing select now() + g * interval '1 second' from generate_series(1, 20000) g",
      "update public.changing set at = at",
      `analyze public."ev; --", public.shuffled, public.changing`,
    );
    await flushStatistics(session);
    const { findings } = await runCheck(any, session);
    expect(findings).toMatchObject([
      {
        key: "partitioning-candidates/public.ev; --",
        confidence: "suspected",
        object: { column: "the time" },
        evidence: { correlation: 1, growthPerDay: null },
      },
    ]);
    // With the history that collect-history keeps, it says how fast.
    await run(
      session,
      "create schema pgkeep",
      readFileSync(join(packageRoot, "sql", "install", "006-history.sql"), "utf8"),
      `insert into pgkeep.history_day (day, taken_at, database_oid, server_started_at, database_bytes, size_basis,
         next_transaction_id, transaction_id_age, next_multixact_id, multixact_age)
       select d::date, d, 1, now(), 1, 'estimate', 1, 1, 1, 1
         from generate_series(date_trunc('day', now()) - interval '10 days', date_trunc('day', now()), interval '5 days') d`,
      `insert into pgkeep.history_table_before
       select 'public."ev; --"'::regclass, current_date - 1, 100, 0, 1, 1, 0, 1, 0, 0, 0, 0, '{}', '{}', '{}', '{}', '{}'`,
      `insert into pgkeep.history_table
       select 'public."ev; --"'::regclass, null, current_date - 10, null, current_date, 'r', 1380, 0, 1, 1, 0, 1, 0, 0, 0, 0,
              'public', 'ev; --', '{}', '{}', '{}', '{}', '{}', '{}'`,
    );
    expect((await runCheck(any, session)).findings[0]?.evidence).toMatchObject({
      growthPerDay: "1 MiB",
      growthMeasuredOverDays: 10,
    });
    const poor = await server.connect(database, await createLogin(server, database));
    expect(await runCheck(any, poor)).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("GRANT pg_read_all_data TO"),
    });
    await poor.close();
    // As large as the advice is for, without the rows.
    await run(
      session,
      `delete from public."ev; --" where id <= 10`,
      "update pg_catalog.pg_class set reltuples = 30000000 where relname = 'ev; --'",
    );
    await flushStatistics(session);
    const advice = await runCheck(autovacuumParameters, session);
    expect(advice.findings).toMatchObject([{ key: "autovacuum-parameters/public.ev; --", severity: "low" }]);
    expect(advice.findings[0]?.fix?.up.join()).toContain("autovacuum_vacuum_scale_factor");
    await expectMended(autovacuumParameters, session, advice.findings[0]);
    await session.close();
  });
});

describe("review of space and data", () => {
  const server = useServer(defaultMajor, { settings: { autovacuum: "off" } });

  it("finds nothing in the sample application, however closely bloat is looked for", async () => {
    const session = await server.connect(await server.createDatabase());
    await loadApplication(session);
    await flushStatistics(session);
    const { results } = await runChecks([...spaceChecks, ...dataChecks], session);
    expect(results.flatMap(({ findings }) => findings)).toEqual([]);
    const everything = { smallestBytes: 0, wastedBytes: 16 * 8192, wastedPercent: 30 };
    for (const check of [bloatedTablesBeyond(everything), bloatedToastBeyond(everything)]) {
      const { findings, facts } = await runCheck(check, session);
      expect(findings).toEqual([]);
      expect(facts.measured).toBe(0);
    }
    await session.close();
  });

  it("finds nothing in an empty database, and in what extensions and pgkeep own", async () => {
    const session = await server.connect(await server.createDatabase());
    await run(
      session,
      "create schema pgkeep",
      "create unlogged table pgkeep.own (id serial primary key, email text)",
      "insert into pgkeep.own values (1, 'a')",
      "create unlogged table public.of_extension (id serial primary key, email text)",
      "insert into public.of_extension select g, 'a' from generate_series(1, 20000) g",
      "delete from public.of_extension",
      "create extension pg_trgm schema public",
      "alter extension pg_trgm add table public.of_extension",
    );
    await flushStatistics(session);
    const { results } = await runChecks([...spaceChecks, ...dataChecks], session);
    expect(results.flatMap(({ findings }) => findings)).toEqual([]);
    await session.close();
  });
});

describe("review of space on a standby", () => {
  const pair = useStandby();

  it("measures bloat there too, and leaves to the primary what only it counts", async () => {
    await run(
      pair.primary,
      "create extension if not exists pgstattuple",
      "create table public.t (id int, note text)",
      "insert into public.t select g, repeat('n', 100) from generate_series(1, 30000) g",
      "delete from public.t where id % 100 <> 1",
      "vacuum (analyze, truncate off) public.t",
    );
    await pair.caughtUp();
    expect((await runCheck(tables, pair.standby)).findings).toMatchObject([
      { key: "bloated-tables/public.t", confidence: "certain" },
    ]);
    const { results } = await runChecks(spaceChecks, pair.standby);
    expect(results.flatMap(({ findings }) => findings)).toEqual([]);
    expect(results.find(({ check }) => check === "tables-needing-vacuum")?.reason).toContain(
      "ask the primary",
    );
  });

  it("asks the replica before it calls a table unused", async () => {
    await run(
      pair.primary,
      "create table public.reported (a int)",
      "create table public.idle (a int)",
      "insert into public.reported select generate_series(1, 1000)",
      "insert into public.idle select generate_series(1, 1000)",
      "vacuum analyze public.reported, public.idle",
    );
    await flushStatistics(pair.primary);
    await pair.primary.query("select pg_stat_reset()");
    await pair.caughtUp();
    await pair.standby.query("select count(*) from public.reported");
    await flushStatistics(pair.standby);
    await flushStatistics(pair.primary);
    const any = unusedTablesWithin({ shortestDays: 0, smallestBytes: 8192 });
    const found = async (options = {}) =>
      (await runCheck(any, pair.primary, options)).findings
        .map(({ object }) => object.table)
        .filter((table) => table !== "t");
    expect((await found()).toSorted()).toEqual(["idle", "reported"]);
    expect(await found({ replicas: [{ name: "reports", session: pair.standby }] })).toEqual(["idle"]);
  });
});
