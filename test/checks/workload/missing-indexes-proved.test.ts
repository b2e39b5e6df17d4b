import { afterEach, describe, expect, it } from "vitest";
import { coveringIndexCandidates } from "../../../lib/checks/workload/covering-index-candidates.ts";
import { missingIndexes } from "../../../lib/checks/workload/missing-indexes.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { hasDebianExtension, useDebianServer } from "../../helpers/debian-postgres.ts";
import { expectMended, runCheck, runChecks } from "../../helpers/review.ts";

const missing = hasDebianExtension("hypopg") ? "" : " (skipped: postgresql-15-hypopg is not installed)";

describe.skipIf(missing !== "")(`missing indexes, proved with hypopg${missing}`, () => {
  const server = useDebianServer();
  const open: Session[] = [];
  afterEach(() => Promise.all(open.splice(0).map((session) => session.close())));
  let made = 0;

  async function shop(): Promise<Session> {
    const session = await server.connect();
    open.push(session);
    const name = `shop_${++made}`;
    await session.query(`create database ${name}`);
    const inside = await server.connect(name);
    open.push(inside);
    await inside.query("create extension pg_stat_statements with schema public");
    await inside.query("create extension hypopg with schema public");
    await inside.query(
      `create table public.orders as select id, id % 3000 as customer_id, (id % 5)::text as status,
              timestamptz '2026-01-01' + id * interval '1 minute' as placed_at, repeat('x', 60) as note
         from generate_series(1, 30000) id`,
    );
    await inside.query("alter table public.orders add primary key (id)");
    await inside.query("vacuum analyze public.orders");
    await inside.query("select public.pg_stat_statements_reset()");
    return inside;
  }

  const times = async (session: Session, count: number, sql: string, values: (turn: number) => unknown[]) => {
    for (let turn = 0; turn < count; turn++) await session.query(sql, values(turn));
  };

  it("proposes one index for statements that it serves, proved, and mends by it", async () => {
    const session = await shop();
    await times(
      session,
      60,
      "select id, note from public.orders where customer_id = $1 order by placed_at desc limit 5",
      (turn) => [turn],
    );
    await times(session, 60, "select count(*) from public.orders where customer_id = $1", (turn) => [turn]);
    const { findings, facts } = await runCheck(missingIndexes, session);
    expect(facts).toMatchObject({ proved: "with hypopg" });
    expect(findings).toMatchObject([
      {
        severity: "high",
        confidence: "certain",
        object: { schema: "public", table: "orders" },
        evidence: { provedBy: "hypopg", planNow: expect.stringContaining("Seq Scan on orders") },
        remediation: {
          sql: expect.stringMatching(/^CREATE INDEX CONCURRENTLY "orders_customer_id/),
          lock: "SHARE UPDATE EXCLUSIVE on the table",
        },
      },
    ]);
    expect(findings[0]?.evidence.statements).toHaveLength(2);
    expect(Number(findings[0]?.evidence.estimatedBytes)).toBeGreaterThan(100_000);
    expect(await session.query("select 1 from public.hypopg()")).toEqual([]);
    await expectMended(missingIndexes, session, findings[0]);
  });

  it("proves what UPDATE and FOR UPDATE look for, without planning them", async () => {
    const session = await shop();
    await times(
      session,
      60,
      "update public.orders set status = $2 where customer_id = $1 and id > $3",
      (turn) => [turn, "9", 0],
    );
    await session.query("vacuum analyze public.orders");
    const { findings } = await runCheck(missingIndexes, session);
    expect(findings).toMatchObject([{ confidence: "certain", object: { column: "customer_id" } }]);
  });

  it("proposes nothing that the planner would not use", async () => {
    const session = await shop();
    await times(
      session,
      60,
      "select count(*) from public.orders where status <> $1 and customer_id >= $2",
      () => ["1", 0],
    );
    await times(session, 60, "select note from public.orders where id = $1", (turn) => [turn]);
    expect(await runCheck(missingIndexes, session)).toMatchObject({ verdict: "pass", findings: [] });
  });

  const visits = `create table public.visits as
    select id, id % 100 as kind, id % 10000 as person, timestamptz '2026-01-01' + id * interval '1 minute' as at,
           repeat('x', 100) as note from generate_series(1, 30000) id`;

  it("proves that a search needs no table with its columns in the index, which then mends it", async () => {
    const session = await shop();
    await session.query(visits);
    await session.query("create index by_kind on public.visits (abs(kind) desc, at)");
    await session.query("vacuum analyze public.visits");
    await times(session, 60, "select id, kind from public.visits where abs(kind) = $1", (turn) => [turn]);
    const { findings, facts } = await runCheck(coveringIndexCandidates, session);
    expect(facts).toMatchObject({ proved: "with hypopg", searchesByIndex: 1 });
    expect(findings).toMatchObject([
      {
        confidence: "certain",
        evidence: {
          included: ["id", "kind"],
          provedBy: "hypopg",
          planWithIndex: expect.stringMatching(/^Index Only Scan on visits/),
        },
      },
    ]);
    expect((await runCheck(missingIndexes, session)).findings).toEqual([]);
    expect(await session.query("select 1 from public.hypopg()")).toEqual([]);
    await expectMended(coveringIndexCandidates, session, findings[0]);
  });

  it("leaves to a missing index what one serves better", async () => {
    const session = await shop();
    await session.query(visits);
    await session.query("create index by_kind on public.visits (kind)");
    await session.query("vacuum analyze public.visits");
    const search = "select id from public.visits where kind = $1 and person = $2";
    await times(session, 60, search, (turn) => [turn, turn]);
    const report = await runChecks([missingIndexes, coveringIndexCandidates], session);
    expect(report.results.map(({ findings }) => findings.map(({ object }) => object.column))).toEqual([
      ["person"],
      [],
    ]);
    expect(report.results[1]?.facts).toMatchObject({ searchesByIndex: 1 });
  });
});
