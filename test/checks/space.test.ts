import { describe, expect, it } from "vitest";
import { bloatedTablesBeyond } from "../../lib/checks/space/bloated-tables.ts";
import { bloatedToastBeyond } from "../../lib/checks/space/bloated-toast.ts";
import { spaceChecks } from "../../lib/checks/space/index.ts";
import { staleStatistics } from "../../lib/checks/space/stale-statistics.ts";
import {
  tablesNeedingVacuum,
  tablesNeedingVacuumBeyond,
} from "../../lib/checks/space/tables-needing-vacuum.ts";
import { transactionIdAge } from "../../lib/checks/space/transaction-id-age.ts";
import { vacuumHeldBack, vacuumHeldBackBeyond } from "../../lib/checks/space/vacuum-held-back.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { createLogin, flushStatistics, runCheck, runChecks, useStandby } from "../helpers/review.ts";

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
    expect((await runCheck(tables, session, { budgetSeconds: 2 })).findings).toMatchObject([
      {
        confidence: "suspected",
        evidence: { notMeasured: expect.stringContaining("than the budget allows") },
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
});
