import { describe, expect, it } from "vitest";
import { concludeReview } from "../../lib/checks/review-check.ts";
import type { DatabaseError } from "../../lib/postgres/errors.ts";
import { SqlState } from "../../lib/postgres/sqlstate.ts";
import { type ReviewRequest, review } from "../../lib/review/run.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { createLogin, useStandby } from "../helpers/review.ts";
import { checkNamed, findingOf } from "../helpers/review-report.ts";

const asked = (request: Pick<ReviewRequest, "session"> & Partial<ReviewRequest>): ReviewRequest => ({
  config: configFor("any"),
  budgetSeconds: 30,
  signal: new AbortController().signal,
  ...request,
});
const verdicts = ({ results }: Awaited<ReturnType<typeof review>>) =>
  results.map(({ check, verdict }) => `${check} ${verdict}`);

describe.each(allMajors.filter((major) => [14, defaultMajor, 18].includes(major)))(
  "a review on PostgreSQL %i",
  (major) => {
    const server = useServer(major);

    it("goes on when one check fails, for want of a right or by a timeout, and says why", async () => {
      const database = await server.createDatabase();
      const login = await createLogin(server, database);
      const session = await server.connect(database, login);
      const report = await review(
        asked({
          session,
          checks: [
            checkNamed("forbidden", async ({ session }) => {
              await session.query("select * from pg_authid");
              return concludeReview({});
            }),
            checkNamed("slow", async ({ session }) => {
              await session.query("select pg_sleep(60)");
              return concludeReview({});
            }),
            checkNamed("broken", async () => {
              throw new TypeError("cannot read it");
            }),
            checkNamed("found", async () => concludeReview({ findings: [findingOf({ check: "found" })] })),
            { ...checkNamed("statistics"), needs: { memberOf: ["pg_read_all_stats"] } },
            { ...checkNamed("extended"), needs: { extensions: ['p"g'] } },
            checkNamed("fine"),
          ],
        }),
      );
      await session.close();
      expect(verdicts(report)).toEqual([
        "forbidden not-assessable",
        "slow not-assessable",
        "broken not-assessable",
        "found findings",
        "statistics not-assessable",
        "extended not-assessable",
        "fine pass",
      ]);
      const reasons = report.results.map(({ reason }) => reason ?? "");
      expect(reasons[0]).toContain("permission denied for table pg_authid");
      expect(reasons[1]).toContain("statement timeout");
      expect(reasons[2]).toBe("the check failed: cannot read it");
      expect(reasons[4]).toBe(
        `the role ${login.user} lacks the rights of pg_read_all_stats: GRANT pg_monitor TO "${login.user}";`,
      );
      expect(reasons[5]).toBe('the extension p"g is not installed: CREATE EXTENSION "p""g";');
      expect(report).not.toHaveProperty("incomplete");
      expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    });

    it("lists the thousand gravest findings of a check, and counts the others", async () => {
      const session = await server.connect(await server.createDatabase());
      const many = Array.from({ length: 1_500 }, (_, n) =>
        findingOf({ check: "many", key: `many/${n}`, severity: n === 1_499 ? "critical" : "low" }),
      );
      const report = await review(
        asked({
          session,
          checks: [
            checkNamed("many", async () => concludeReview({ findings: many, facts: { notListed: 7 } })),
          ],
        }),
      );
      await session.close();
      const [result] = report.results;
      expect(result?.findings.length).toBe(1_000);
      expect(result?.findings[0]?.key).toBe("many/1499");
      expect(result?.facts).toEqual({ notListed: 507 });
    });

    it("can write nothing, even as superuser", async () => {
      const session = await server.connect(await server.createDatabase());
      const attempts = [
        "create table public.t ()",
        "create temporary table t2 (a int)",
        "select nextval('public.s')",
        "insert into public.kept values (1)",
        "do $$ begin delete from public.kept; end $$",
        "comment on table public.kept is 'written'",
      ];
      await session.query("create sequence public.s");
      await session.query("create table public.kept (a int)");
      const codes: unknown[] = [];
      await review(
        asked({
          session,
          checks: attempts.map((sql, index) =>
            checkNamed(`attempt-${index}`, async (context) => {
              await context.session
                .query(sql)
                .catch((error) => codes.push((error as DatabaseError).sqlState));
              return concludeReview({});
            }),
          ),
        }),
      );
      await session.close();
      expect(codes).toEqual(attempts.map(() => SqlState.readOnlyTransaction));
    });

    it("keeps what it has when the server vanishes half-way, and asks no more", async () => {
      const session = await server.connect(await server.createDatabase());
      const asks: string[] = [];
      const report = await review(
        asked({
          session,
          progress: ({ name }) => asks.push(name),
          checks: [
            checkNamed("before", async () => concludeReview({ findings: [findingOf({ check: "before" })] })),
            checkNamed("during", async ({ session }) => {
              await session.query("select pg_terminate_backend(pg_backend_pid())");
              return concludeReview({});
            }),
            checkNamed("after"),
            checkNamed("last"),
          ],
        }),
      );
      await session.close();
      expect(asks).toEqual(["before", "during"]);
      expect(verdicts(report)).toEqual([
        "before findings",
        "during not-assessable",
        "after not-assessable",
        "last not-assessable",
      ]);
      expect(report.incomplete).toMatch(/terminating connection|connection was lost/);
      expect(report.results[3]?.reason).toBe(report.incomplete);
    });

    it("goes on without a replica that vanishes", async () => {
      const database = await server.createDatabase();
      const session = await server.connect(database);
      const replica = await server.connect(database);
      const report = await review(
        asked({
          session,
          replicas: [{ name: "east", session: replica }],
          checks: [
            checkNamed("asks", async ({ replicas }) => {
              await replicas[0]?.session.query("select pg_terminate_backend(pg_backend_pid())");
              return concludeReview({});
            }),
            checkNamed("after"),
          ],
        }),
      );
      await session.close();
      await replica.close();
      expect(verdicts(report)).toEqual(["asks not-assessable", "after pass"]);
      expect(report.results[0]?.reason).toContain("the replica east is lost");
      expect(report).not.toHaveProperty("incomplete");
    });

    it("leaves out what the budget does not allow, and says so", async () => {
      const session = await server.connect(await server.createDatabase());
      const spend = checkNamed("spends", async ({ session, budget }) => {
        await session.query("select pg_sleep($1)", [budget.left() / 1000 + 0.01]);
        return concludeReview({});
      });
      const report = await review(
        asked({ session, budgetSeconds: 0.2, checks: [spend, checkNamed("late")] }),
      );
      await session.close();
      expect(verdicts(report)).toEqual(["spends pass", "late not-assessable"]);
      expect(report.incomplete).toBe("the budget of 0.2 s was used up; give more with --budget");
    });

    it("bounds a check that does not look at its budget", async () => {
      const session = await server.connect(await server.createDatabase());
      let count = 0;
      const endless = checkNamed("endless", async ({ session }) => {
        for (;;) {
          await session.query("select pg_sleep(0.02)");
          count += 1;
        }
      });
      const report = await review(
        asked({ session, budgetSeconds: 0.2, checks: [endless, checkNamed("late")] }),
      );
      await session.close();
      expect(count).toBeGreaterThan(0);
      expect(verdicts(report)).toEqual(["endless not-assessable", "late not-assessable"]);
      expect(report.incomplete).toBe("the budget of 0.2 s was used up; give more with --budget");
      expect(report.results[0]?.reason).toBe(report.incomplete);
      expect(report.seconds).toBeLessThan(2);
    });

    it("loads once what several checks need, and fails each when that fails", async () => {
      const session = await server.connect(await server.createDatabase());
      let loads = 0;
      const needs = (name: string) =>
        checkNamed(name, async (context) => {
          await context.once("shared", async () => {
            loads += 1;
            await context.session.query("select 1 / 0");
          });
          return concludeReview({});
        });
      const report = await review(
        asked({ session, checks: [needs("one"), needs("two"), checkNamed("three")] }),
      );
      await session.close();
      expect(loads).toBe(1);
      expect(verdicts(report)).toEqual(["one not-assessable", "two not-assessable", "three pass"]);
    });

    it("reads bytes that are no UTF-8 from a database without an encoding", async () => {
      const session = await server.connect("postgres");
      await session.query(
        "create database bytes template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'",
      );
      await session.close();
      const bytes = await server.connect("bytes");
      const text = "convert_from('\\x73656c65637420ff'::bytea, 'SQL_ASCII')";
      await bytes.query(`create table public.statements as select ${text} as query`);
      await bytes.query(`do $$ begin execute 'create table public."t' || ${text} || '" ()'; end $$`);
      const report = await review(
        asked({
          session: bytes,
          checks: [
            checkNamed("reads", async ({ session }) => {
              const rows = await session.query<{ query: string }>(
                "select query from public.statements union all select relname from pg_class where relname like 't%select%'",
              );
              return concludeReview({ facts: { texts: rows.map(({ query }) => query) } });
            }),
          ],
        }),
      );
      await bytes.close();
      expect(report.results[0]?.facts).toEqual({ texts: ["select \ufffd", "tselect \ufffd"] });
    });
  },
);

describe("a review of a standby", () => {
  const pair = useStandby();

  it("leaves out what only the primary can tell", async () => {
    const report = await review(
      asked({
        session: pair.standby,
        replicas: [{ name: "other", session: pair.primary }],
        checks: [
          { ...checkNamed("primary-only"), needs: { primary: true } },
          checkNamed("anywhere", async ({ session, replicas }) => {
            await session.query("select 1");
            const [row] = await (replicas[0]?.session.query<{ readOnly: string }>(
              `select current_setting('default_transaction_read_only') as "readOnly"`,
            ) ?? []);
            return concludeReview({ facts: { readOnly: row?.readOnly ?? "" } });
          }),
        ],
      }),
    );
    expect(report.server.isStandby).toBe(true);
    expect(verdicts(report)).toEqual(["primary-only not-assessable", "anywhere pass"]);
    expect(report.results[0]?.reason).toBe("a standby cannot tell: ask the primary");
    expect(report.results[1]?.facts).toEqual({ readOnly: "on" });
    expect(report.replicas).toEqual(["other"]);
  });
});
