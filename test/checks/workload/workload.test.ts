import { describe, expect, it } from "vitest";
import { workloadChecks } from "../../../lib/checks/workload/index.ts";
import { missingIndexes } from "../../../lib/checks/workload/missing-indexes.ts";
import { slowStatements } from "../../../lib/checks/workload/slow-statements.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors } from "../../helpers/postgres.ts";
import { createLogin, expectMended, runCheck, runChecks } from "../../helpers/review.ts";
import { times, useWorkload } from "./use-workload.ts";

describe.each(allMajors)("the workload of PostgreSQL %i", (major) => {
  const { server, database, another, closeAfterTest } = useWorkload(major);

  describe("what is counted", () => {
    it("is not assessable without the extension, and says what installs it", async () => {
      const session = await server.connect(await server.createDatabase());
      closeAfterTest(session);
      expect(await runCheck(slowStatements, session)).toMatchObject({
        verdict: "not-assessable",
        reason: "no statement is counted here: CREATE EXTENSION pg_stat_statements;",
      });
    });

    it("is not assessable when too little was seen", async () => {
      const session = await database("create table public.t (a int)");
      await times(session, 3, "select a from public.t where a = $1", (turn) => [turn]);
      expect(await runCheck(slowStatements, session)).toMatchObject({
        verdict: "not-assessable",
        reason: expect.stringMatching(
          /^only 3 calls of the application's statements were counted.*: ask again after a usual day$/,
        ),
        facts: { ofTheApplication: 1 },
      });
    });

    it("is in part hidden from a role without pg_monitor, and says so", async () => {
      const session = await database("create table public.t (a int)");
      await times(session, 120, "select a from public.t where a = $1", (turn) => [turn]);
      for (const [memberships, verdict] of [
        [[], "not-assessable"],
        [["pg_monitor"], "pass"],
      ] as const) {
        const login = await createLogin(server, session.database, memberships);
        const other = await server.connect(session.database, login);
        const report = await runChecks(workloadChecks, other);
        expect(report.results.flatMap(({ reason }) => (/fail/.test(reason ?? "") ? [reason] : []))).toEqual(
          [],
        );
        const [result] = report.results;
        expect(result).toMatchObject({ verdict });
        if (verdict === "not-assessable") {
          expect(result?.reason).toMatch(/statements of other roles are hidden from .*: GRANT pg_monitor TO/);
        }
        await other.close();
      }
    });

    it("says when it is switched off", async () => {
      const session = await database("create table public.t (a int)");
      await session.query("set pg_stat_statements.track = none");
      await session.query("set compute_query_id = off");
      expect((await runCheck(slowStatements, session)).reason).toMatch(
        /pg_stat_statements\.track = top; .*compute_query_id = auto;/,
      );
    });

    it.runIf(major === 14)("is read from version 1.8 of the extension too", async () => {
      const session = await database("create table public.t (a int)", { version: "1.8" });
      await times(session, 120, "select a from public.t where a = $1", (turn) => [turn]);
      expect(await runCheck(slowStatements, session)).toMatchObject({ verdict: "pass" });
    });
  });

  /** Several calls at once, each from a connection of its own. */
  async function together(session: Session, calls: Record<string, number>): Promise<void> {
    await Promise.all(
      Object.entries(calls).flatMap(([sql, count]) =>
        Array.from({ length: count }, async () => {
          const other = await another(session);
          await other.query(sql);
        }),
      ),
    );
  }

  describe("slow statements", () => {
    it.runIf(major === allMajors.at(-1))(
      "are found with their numbers and where they come from, and without their data",
      async () => {
        const session = await database("create table public.t as select 'a' as a");
        const slow =
          "select a, pg_sleep(1.01) from public.t where a <> 'secret' /*controller='orders',action='show'*/";
        await together(session, { [slow]: 5, "select pg_sleep(1.01), relname from pg_class limit 1": 5 });
        const { findings, facts } = await runCheck(slowStatements, session);
        expect(findings).toMatchObject([
          {
            severity: "medium",
            confidence: "certain",
            origin: "controller=orders action=show",
            object: { schema: "public", table: "t" },
            evidence: { calls: 5, rowsPerCall: 1 },
          },
        ]);
        expect(JSON.stringify(findings)).not.toContain("secret");
        expect(facts).toMatchObject({ slow: 1 });
      },
    );

    it("are not those that are fast, nor maintenance", async () => {
      const session = await database("create table public.t as select generate_series(1, 10) as a");
      await times(session, 2, "analyze public.t");
      await times(session, 120, "select a from public.t where a = $1", (turn) => [turn]);
      expect(await runCheck(slowStatements, session)).toMatchObject({ verdict: "pass", findings: [] });
    });
  });

  // Before 16, plans without values come from prepared statements.
  describe.runIf(allMajors.length === 1 || [14, 16, 18].includes(major))(
    "missing indexes by plans alone",
    () => {
      const orders = (name: string) =>
        `create table ${name} as select id, id % 3000 as "customer id", (id % 5)::text as status,
              timestamptz '2026-01-01' + id * interval '1 minute' as placed_at, repeat('x', 60) as note
         from generate_series(1, 20000) id`;
      const analyze = (session: Session) => session.query("analyze");

      it("are proposed for a large table that is read as a whole for few rows, and mend it", async () => {
        const session = await database(`create schema "s.""1"`);
        await session.query(orders(`"s.""1"."or;ders"`));
        await analyze(session);
        await times(
          session,
          120,
          `select o.note from "s.""1"."or;ders" o where o."customer id" = $1 and o.placed_at > now() - interval '400 days' order by o.id limit 5`,
          (turn) => [turn],
        );
        const { findings } = await runCheck(missingIndexes, session);
        expect(findings).toMatchObject([
          {
            confidence: "likely",
            object: { schema: `s."1`, table: "or;ders", column: "customer id" },
            evidence: { planNow: expect.stringContaining("Seq Scan on or;ders") },
            remediation: {
              sql: `CREATE INDEX CONCURRENTLY "or;ders_customer id_idx" ON "s.""1"."or;ders" ("customer id");`,
            },
          },
        ]);
        await expectMended(missingIndexes, session, findings[0]);
      });

      it("are proposed once for a partitioned table, built part by part", async () => {
        const session = await database(
          "create table public.p (id int, customer int, note text) partition by range (id)",
        );
        await session.query("create table public.p1 partition of public.p for values from (0) to (15000)");
        await session.query("create table public.p2 partition of public.p default");
        await session.query(
          "insert into public.p select id, id % 3000, repeat('x', 60) from generate_series(1, 30000) id",
        );
        await analyze(session);
        await session.query("set search_path to public");
        await times(session, 120, "select note from p where customer = $1", (turn) => [turn]);
        await session.query("set search_path to pg_catalog");
        const { findings } = await runCheck(missingIndexes, session);
        expect(findings).toMatchObject([{ object: { schema: "public", table: "p", column: "customer" } }]);
        expect(findings[0]?.fix?.up).toHaveLength(5);
        await expectMended(missingIndexes, session, findings[0]);
      });

      it("are not what small tables, unselective columns and indexed look-ups need", async () => {
        const session = await database(orders("public.orders"));
        await session.query("create table public.small as select generate_series(1, 2000) as a");
        await session.query("create index on public.orders (id)");
        await session.query("create index on public.orders (lower(note))");
        await analyze(session);
        await times(session, 60, "select note from public.orders where id = $1 and status = $2", (turn) => [
          turn,
          "1",
        ]);
        await times(session, 60, "select count(*) from public.orders where status = $1", () => ["1"]);
        await times(session, 60, "select 1 from public.small where a = $1", (turn) => [turn]);
        await times(
          session,
          60,
          "select count(*) from public.orders o, public.small s where o.id = s.a and s.a = $1",
          (turn) => [turn],
        );
        expect(await runCheck(missingIndexes, session)).toMatchObject({ verdict: "pass", findings: [] });
      });

      it("cannot be told by a role that may not read the tables, nor for sure without statistics", async () => {
        const session = await database(orders("public.orders"));
        await times(session, 120, 'select note from public.orders where "customer id" = $1', (turn) => [
          turn,
        ]);
        const login = await createLogin(server, session.database, ["pg_monitor"]);
        const other = await server.connect(session.database, login);
        expect(await runCheck(missingIndexes, other)).toMatchObject({
          verdict: "not-assessable",
          reason: `the role ${login.user} may not plan look-ups in 1 table (public.orders): GRANT pg_read_all_data TO "${login.user}";`,
        });
        await other.close();
        await session.query("delete from pg_statistic where starelid = 'public.orders'::regclass");
        const { findings } = await runCheck(missingIndexes, session);
        expect(findings.map(({ confidence }) => confidence)).toEqual(["suspected"]);
      });

      it("never plan what could run a function of somebody else's", async () => {
        const session = await database(orders("public.orders"));
        await session.query("create sequence public.witness");
        await session.query(
          "create function public.trap(a int) returns int immutable language plpgsql as $$ begin perform nextval('public.witness'); return a; end $$",
        );
        await session.query("create table public.trapped as select * from public.orders");
        await session.query("create index on public.trapped (public.trap(id))");
        await analyze(session);
        await times(session, 60, "select note from public.orders where id = public.trap($1)", (turn) => [
          turn,
        ]);
        await times(session, 60, "select note from public.trapped where id = $1", (turn) => [turn]);
        const last = async () => (await session.query("select last_value from public.witness"))[0];
        const before = await last();
        const { findings } = await runCheck(missingIndexes, session);
        expect(await last()).toEqual(before);
        expect(findings.map(({ object }) => object.table)).toEqual(["orders"]);
      });
    },
  );
});
