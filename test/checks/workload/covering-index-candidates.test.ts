import { describe, expect, it } from "vitest";
import { redundantIndexes } from "../../../lib/checks/indexes/redundant-indexes.ts";
import { coveringIndexCandidates } from "../../../lib/checks/workload/covering-index-candidates.ts";
import { coveringBody } from "../../../lib/checks/workload/covering-proofs.ts";
import { missingIndexes } from "../../../lib/checks/workload/missing-indexes.ts";
import type { Column } from "../../../lib/checks/workload/tables.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";
import { createLogin, expectMended, runCheck, runChecks } from "../../helpers/review.ts";
import { times, useWorkload } from "./use-workload.ts";

/** 150 orders of each customer, each on another page. */
const orders = (name: string) => `
create table ${name} as
select id, id % 100 as customer_id, (id % 5)::smallint as status, (id % 977)::numeric(8, 2) as total,
       timestamptz '2026-01-01' + id * interval '1 minute' as placed_at, 'k' || id % 7 as kind, repeat('x', 150) as note
  from generate_series(1, 15000) id`;

const base = [orders("public.orders"), "create index orders_customer on public.orders (customer_id)"];
const byCustomer = "select id, total from public.orders where customer_id = $1";
const nodeOf = async (session: Session, sql: string) => {
  const [row] = await session.query<{ "QUERY PLAN": [{ Plan: { "Node Type": string } }] }>(
    `explain (format json) ${sql}`,
  );
  return row?.["QUERY PLAN"][0].Plan["Node Type"];
};

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe.each(majors)("covering indexes of PostgreSQL %i", (major) => {
  const { server, database, another } = useWorkload(major);

  it("are proposed for searches that visit the table for narrow columns, once an index, and mend them", async () => {
    const session = await database(base);
    await times(session, 60, byCustomer, (turn) => [turn]);
    await times(
      session,
      60,
      "select o.id from public.orders o where customer_id = $1 order by id",
      (turn) => [turn],
    );
    await times(
      session,
      60,
      "select sum(total) as sum from public.orders where customer_id = $1 order by sum",
      (turn) => [turn],
    );
    const { findings, facts } = await runCheck(coveringIndexCandidates, session);
    expect(facts).toMatchObject({ searchesByIndex: 3 });
    expect(findings).toMatchObject([
      {
        key: "covering-index-candidates/public.orders_customer",
        severity: "medium",
        confidence: "likely",
        object: { schema: "public", table: "orders", index: "orders_customer" },
        evidence: {
          included: expect.arrayContaining(["id", "total"]),
          replacesTheIndex: true,
          allVisiblePercent: expect.any(Number),
          updatesOfTheseColumns: 0,
          provedBy: "the plan and the blocks as they are",
          planNow: expect.stringMatching(/ on orders/),
        },
        remediation: {
          sql: expect.stringMatching(
            /^CREATE INDEX CONCURRENTLY "orders_customer_id_[a-z_]+_idx" ON "public"\."orders" USING btree \(customer_id\) INCLUDE \("(id|total)", "(id|total)"\);\nDROP INDEX CONCURRENTLY "public"\."orders_customer";$/,
          ),
          lock: "SHARE UPDATE EXCLUSIVE on the table",
        },
      },
    ]);
    expect(findings[0]?.evidence.statements).toHaveLength(3);
    expect(Number(findings[0]?.evidence.blocksPerCallWithIndex)).toBeLessThan(20);
    expect(
      (await runChecks([missingIndexes, redundantIndexes], session)).results.flatMap((one) => one.findings),
    ).toEqual([]);
    await expectMended(coveringIndexCandidates, session, findings[0]);
    for (const statement of findings[0]?.fix?.up ?? []) await session.query(statement);
    expect(await nodeOf(session, "select id, total from public.orders where customer_id = 7")).toBe(
      "Index Only Scan",
    );
    expect((await runCheck(redundantIndexes, session)).findings).toEqual([]);
  });

  it("leave alone the index of a constraint, one that CLUSTER goes by, and one that may better be partial", async () => {
    const session = await database([
      orders("public.own"),
      "alter table public.own add constraint own_key unique (customer_id, id)",
      orders("public.sorted"),
      "create index by_customer on public.sorted (customer_id)",
      "alter table public.sorted cluster on by_customer",
      // A condition that pg_stat_statements shows: an index of fewer rows may be what it needs.
      orders("public.flagged"),
      "create index on public.flagged (customer_id)",
    ]);
    await times(
      session,
      40,
      "select id, status from public.own where customer_id = $1 and id > 0",
      (turn) => [turn],
    );
    await times(session, 40, "select total from public.sorted where customer_id = $1", (turn) => [turn]);
    await times(
      session,
      40,
      "select total from public.flagged where customer_id = $1 and placed_at is not null",
      (turn) => [turn],
    );
    const { findings } = await runCheck(coveringIndexCandidates, session);
    expect(findings.map(({ object, evidence }) => [object.table, evidence.replacesTheIndex]).sort()).toEqual([
      ["flagged", false],
      ["own", false],
      ["sorted", false],
    ]);
    const own = findings.find(({ object }) => object.table === "own");
    expect(own?.fix).toMatchObject({
      up: [
        `CREATE INDEX CONCURRENTLY "own_customer_id_id_status_idx" ON "public"."own" USING btree (customer_id, id) INCLUDE ("status");`,
      ],
      down: [`DROP INDEX CONCURRENTLY "public"."own_customer_id_id_status_idx";`],
    });
    await expectMended(coveringIndexCandidates, session, own);
  });

  it("are proposed with hostile names, expressions and predicates, and taken back as they were", async () => {
    const session = await database([
      `create schema "; drop table x; --"`,
      orders(`"; drop table x; --"."a.b""c'd$1ü ("`),
      `alter table "; drop table x; --"."a.b""c'd$1ü (" rename total to "$2 ""x)"`,
      `create index "USING btree (" on "; drop table x; --"."a.b""c'd$1ü (" (customer_id desc, (status * 2), upper(kind || '(')) include (status) with (fillfactor = 80) where placed_at is not null`,
    ]);
    await times(
      session,
      60,
      `select "$2 ""x)" from "; drop table x; --"."a.b""c'd$1ü (" where customer_id = $1 and placed_at is not null`,
      (turn) => [turn],
    );
    const { findings } = await runCheck(coveringIndexCandidates, session);
    expect(findings).toHaveLength(1);
    expect(findings[0]?.fix?.up[0]).toMatch(
      / USING btree \(customer_id DESC, \(\(?status \* 2\)?\), upper\(.*'\('::text\)\)\) INCLUDE \("status", "\$2 ""x\)", "placed_at"\) WITH \(fillfactor='80'\) WHERE \(placed_at IS NOT NULL\);$/,
    );
    await expectMended(coveringIndexCandidates, session, findings[0]);
  });

  it("are not what healthy searches need", async () => {
    const session = await database([
      ...base,
      "create unique index on public.orders (id)",
      "create table public.written as select * from public.orders",
      "create index on public.written (customer_id)",
      "create table public.moved as select * from public.orders",
      "create index on public.moved (customer_id)",
      "create table public.sorted as select * from public.orders order by customer_id",
      "create index on public.sorted (customer_id)",
    ]);
    // One row a call.
    await times(session, 60, "select total from public.orders where id = $1", (turn) => [turn]);
    // Wide columns, too many, whole rows, the row's own address; what the index has already.
    await times(session, 30, "select note from public.orders where customer_id = $1", (turn) => [turn]);
    await times(session, 30, "select * from public.orders where customer_id = $1", (turn) => [turn]);
    await times(session, 30, "select orders from public.orders where customer_id = $1", (turn) => [turn]);
    await times(session, 30, "select ctid, total from public.orders where customer_id = $1", (turn) => [
      turn,
    ]);
    await times(
      session,
      30,
      "select id, status, total, kind from public.orders where customer_id = $1",
      (turn) => [turn],
    );
    await times(session, 30, "select count(*) from public.orders where customer_id = $1", (turn) => [turn]);
    // Neighbours in the table: few pages.
    await times(session, 60, "select total from public.sorted where customer_id = $1", (turn) => [turn]);
    // Columns that are written as often as read.
    await times(session, 60, "select total from public.written where customer_id = $1", (turn) => [turn]);
    await times(session, 20, "update public.written set total = $2 where id = $1", (turn) => [turn, 3]);
    await session.query("vacuum public.written");
    // Pages that are not all-visible.
    await times(session, 60, "select total from public.moved where customer_id = $1", (turn) => [turn]);
    await session.query("update public.moved set status = 1 where id % 3 = 0");
    await session.query("update public.moved set status = 2 where id % 3 = 1");
    await session.query("vacuum public.moved");
    await session.query("update public.moved set status = 3 where id % 10 = 0");
    await session.query(
      "update pg_catalog.pg_class set relallvisible = relpages / 2 where relname = 'moved'",
    );
    const result = await runCheck(coveringIndexCandidates, session);
    expect(result).toMatchObject({
      verdict: "pass",
      findings: [],
      facts: { looked: 5, tooFewPagesAllVisible: 1 },
    });
  });

  it("are proposed for columns that are written now and then, with the cost", async () => {
    const session = await database(base);
    await times(session, 60, "select kind from public.orders where customer_id = $1", (turn) => [turn]);
    await times(session, 3, "update public.orders set kind = $2 where id = $1", (turn) => [
      turn + 1,
      "secret",
    ]);
    await session.query("vacuum public.orders");
    const { findings } = await runCheck(coveringIndexCandidates, session);
    expect(findings).toMatchObject([
      {
        evidence: { updatesOfTheseColumns: 3, withoutLengthLimit: ["kind"] },
        blastRadius: expect.stringMatching(
          /3 updates .* could not be HOT .* more than about 2,700 bytes in "kind"/,
        ),
      },
    ]);
    expect(JSON.stringify(findings)).not.toContain("secret");
  });

  it("cannot be told without rights or statistics", async () => {
    const session = await database(base);
    await times(session, 120, byCustomer, (turn) => [turn]);
    const login = await createLogin(server, session.database, ["pg_monitor"]);
    const other = await server.connect(session.database, login);
    expect(await runCheck(coveringIndexCandidates, other)).toMatchObject({
      verdict: "not-assessable",
      reason: `the role ${login.user} may not plan searches in 1 table (public.orders): GRANT pg_read_all_data TO "${login.user}";`,
    });
    await other.close();
    await session.query(
      "delete from pg_statistic where starelid = 'public.orders'::regclass and staattnum <> 2",
    );
    expect(await runCheck(coveringIndexCandidates, await another(session))).toMatchObject({
      verdict: "not-assessable",
      reason: 'how wide its columns are nobody has counted: ANALYZE "public"."orders";',
    });
    await session.query("drop extension pg_stat_statements");
    expect(await runCheck(coveringIndexCandidates, session)).toMatchObject({
      verdict: "not-assessable",
      reason: "no statement is counted here: CREATE EXTENSION pg_stat_statements;",
    });
  });
});

describe("the body of a covering index", () => {
  const included = [{ name: 'a")' }] as Column[];

  it("keeps keys, storage parameters and predicate, and drops uniqueness", () => {
    expect(
      coveringBody(
        `CREATE UNIQUE INDEX CONCURRENTLY "USING btree (" ON "s("."t)" USING btree ("x("" DESC", ((b || ')'::text)) text_pattern_ops) INCLUDE ("c)") NULLS NOT DISTINCT WITH (fillfactor='80') WHERE (d = '('::text);`,
        included,
      ),
    ).toBe(
      `USING btree ("x("" DESC", ((b || ')'::text)) text_pattern_ops) INCLUDE ("a"")") WITH (fillfactor='80') WHERE (d = '('::text)`,
    );
    expect(coveringBody("CREATE INDEX i ON s.t USING gin (a);", included)).toBeUndefined();
  });
});
