import { describe, expect, it } from "vitest";
import { workloadChecks } from "../../../lib/checks/workload/index.ts";
import { slowStatements } from "../../../lib/checks/workload/slow-statements.ts";
import { statementsEvicted } from "../../../lib/checks/workload/statements-evicted.ts";
import { identifier } from "../../../lib/postgres/identifiers.ts";
import { defaultMajor } from "../../helpers/postgres.ts";
import { runCheck, runChecks, useStandby } from "../../helpers/review.ts";
import { times, useWorkload } from "./use-workload.ts";

describe("what bounds the view of the workload", () => {
  const { server, database, another, closeAfterTest } = useWorkload(defaultMajor, {
    "pg_stat_statements.max": "100",
    "pg_stat_statements.track": "all",
  });

  it("is room: statements that had to be forgotten are told", async () => {
    const session = await database("create table public.t (a int)");
    expect(await runCheck(statementsEvicted, session)).toMatchObject({
      verdict: "pass",
      good: ["pg_stat_statements has room for every statement (100)."],
    });
    for (let turn = 0; turn < 250; turn++)
      await session.query(`select ${"a + ".repeat(turn)}a from public.t`);
    const { findings } = await runCheck(statementsEvicted, session);
    expect(findings).toMatchObject([
      {
        severity: "low",
        evidence: { max: 100 },
        remediation: { sql: "ALTER SYSTEM SET pg_stat_statements.max = 10000;" },
      },
    ]);
  });

  it("is length: texts of megabytes are neither fetched nor parsed", async () => {
    const session = await database("create table public.t (a int)");
    await times(session, 120, "select a from public.t where a = $1", (turn) => [turn]);
    const long = Array.from({ length: 400_000 }, (_, n) => `a as a${n}_secret`).slice(0, 1_600);
    await session.query(`select ${long.join(", ")}, '${"x".repeat(5_000_000)}' as big from public.t`);
    const result = await runCheck(slowStatements, session);
    expect(result).toMatchObject({ verdict: "pass", facts: { tooLongToRead: 1, ofTheApplication: 1 } });
  });

  it("is length all together: 50 MB of texts are said to be unread, and cost neither time nor memory", async () => {
    const session = await database("create table public.t (a int)");
    for (let turn = 0; turn < 10; turn++) {
      await session.query(`select ${"a + ".repeat(turn)} /* ${"x".repeat(5_000_000)} */ a from public.t`);
    }
    const before = process.memoryUsage().rss;
    const result = await runCheck(slowStatements, session);
    expect(result).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching(/; 10 statements longer than 8 kB were not read$/),
      facts: { tooLongToRead: 10, ofTheApplication: 0 },
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(25_000_000);
  });

  it("is the encoding: bytes of another database that are no text here cost the texts, not the review", async () => {
    const session = await database("create table public.t (a int)");
    await times(session, 120, "select a from public.t where a = $1", (turn) => [turn]);
    const name = `${session.database}_ascii`;
    await session.query(
      `create database ${identifier(name)} encoding 'SQL_ASCII' template template0 locale 'C'`,
    );
    const ascii = await server.connect(name);
    closeAfterTest(ascii);
    await ascii.query("create extension pg_stat_statements with schema public");
    await ascii.query("create table public.t (a int)");
    await times(ascii, 120, "select a from public.t where a = $1", (turn) => [turn]);
    await ascii.query(String.raw`do $$ begin execute E'select 1 as "caf\xe9"'; end $$`);
    const there = await runCheck(slowStatements, ascii);
    expect(there).toMatchObject({ verdict: "pass", facts: { notParsed: expect.any(Number) } });
    const here = await runCheck(slowStatements, session);
    expect(here).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringMatching(
        /bytes that are no text in this one's encoding: SELECT "public"\."pg_stat_statements_reset"\(0, oid, 0\)/,
      ),
    });
  });

  it("is not a name: anything can be called anything", async () => {
    const session = await database([
      `create schema "; drop table x; --"`,
      `create table "; drop table x; --"."a.b""c'd$1ü" ("$2 ""x" int, "select" text)`,
      `insert into "; drop table x; --"."a.b""c'd$1ü" select n % 3000, repeat('y', 60) from generate_series(1, 15000) n`,
    ]);
    await times(
      session,
      120,
      `select "select" from "; drop table x; --"."a.b""c'd$1ü" where "$2 ""x" = $1`,
      (turn) => [turn],
    );
    const other = await another(session);
    const report = await runChecks(workloadChecks, other);
    const found = report.results.flatMap(({ findings }) => findings);
    expect(found).toMatchObject([
      {
        check: "missing-indexes",
        object: { schema: "; drop table x; --", table: `a.b"c'd$1ü`, column: `$2 "x` },
      },
    ]);
    for (const statement of found[0]?.fix?.up ?? []) await session.query(statement);
    expect((await runChecks(workloadChecks, other)).results.flatMap(({ findings }) => findings)).toEqual([]);
  });
});

describe("the workload of a standby", () => {
  const pair = useStandby(defaultMajor);

  it("is its own, and looked at without writing", async () => {
    await pair.primary.query("create extension if not exists pg_stat_statements with schema public");
    await pair.primary.query(
      "create table public.items as select n as id, n % 3000 as kind, repeat('z', 60) as body from generate_series(1, 15000) n",
    );
    await pair.primary.query("analyze public.items");
    await pair.caughtUp();
    await times(pair.standby, 120, "select body from public.items where kind = $1", (turn) => [turn]);
    const report = await runChecks(workloadChecks, pair.standby);
    const found = report.results.flatMap(({ findings }) => findings);
    expect(found.filter(({ check }) => check === "missing-indexes")).toMatchObject([
      { object: { table: "items", column: "kind" } },
    ]);
    expect(
      report.results.map(({ reason }) => reason ?? "").filter((reason) => reason.includes("failed")),
    ).toEqual([]);
  });
});
