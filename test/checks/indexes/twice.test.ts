import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { duplicateIndexes } from "../../../lib/checks/indexes/duplicate-indexes.ts";
import { redundantIndexes } from "../../../lib/checks/indexes/redundant-indexes.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe.each(majors)("indexes that are there twice, PostgreSQL %i", (major) => {
  const server = useServer(major);
  let session: Session;
  let database: string;
  beforeAll(async () => {
    database = await server.createDatabase();
    session = await server.connect(database);
  });
  afterAll(() => session?.close());

  const indexesFound = async (check: typeof duplicateIndexes) =>
    (await runCheck(check, session)).findings.map(({ object }) => object.index).sort();

  async function schema(statements: string): Promise<void> {
    await session.query("drop schema if exists s cascade");
    await session.query("create schema s");
    await session.query(statements);
  }

  it("passes on a database without tables, and praises one with indexes only", async () => {
    await schema("create table s.t (a int)");
    expect(await runCheck(duplicateIndexes, session)).toMatchObject({ verdict: "pass", good: [] });
    await schema("create table s.t (a int primary key, b int); create index on s.t (b, a)");
    expect(await runCheck(duplicateIndexes, session)).toMatchObject({
      verdict: "pass",
      good: ["No index is there twice."],
    });
    expect(await runCheck(redundantIndexes, session)).toMatchObject({ verdict: "pass" });
  });

  it("leaves indexes that differ in anything that matters", async () => {
    await schema(`
      create table s.t (a text, b int, c int, d int4range, j jsonb);
      create index t_plain on s.t (a);
      create index t_pattern on s.t (a text_pattern_ops);
      create index t_collation on s.t (a collate "C");
      create index t_nulls on s.t (a nulls first);
      create index t_hash on s.t using hash (a);
      create index t_lower on s.t (lower(a));
      create index t_upper on s.t (upper(a));
      create index t_part on s.t (a) where b > 1;
      create index t_part2 on s.t (a) where b > 2;
      create index t_ba on s.t (b, a);
      create index t_mixed on s.t (b, a desc);
      create index t_brin on s.t using brin (b);
      create index t_gin on s.t using gin (j);
      create index t_gin_path on s.t using gin (j jsonb_path_ops);
      create index t_wide on s.t (c) include (b);
      create index t_expr_wide on s.t (lower(a), upper(a));
    `);
    expect(await indexesFound(duplicateIndexes)).toEqual([]);
    // lower(a) is the beginning of lower(a), upper(a); a column that only an INCLUDE list holds is no beginning.
    expect(await indexesFound(redundantIndexes)).toEqual(["t_lower"]);
  });

  it("finds the second of two, never what a constraint, a foreign key, CLUSTER or replica identity needs", async () => {
    await schema(`
      create table s.t (id int primary key, code text not null unique, a int, b int not null, c int not null);
      create unique index t_id_again on s.t (id);
      create unique index t_code_again on s.t (code);
      create index t_a on s.t (a) where b > 1 and lower(code) like 'x%';
      create index t_a_again on s.t (a)   where b > 1 and lower(code) like 'x%';
      create index t_b on s.t (b) include (a, c);
      create index t_b_again on s.t (b) include (c, a);
      create unique index t_bc on s.t (b, c);
      create unique index t_bc_again on s.t (b, c);
      create table s.child (b int, c int, foreign key (b, c) references s.t (b, c));
      create index t_c on s.t (c);
      create index t_c_clustered on s.t (c);
      alter table s.t cluster on t_c_clustered;
      create unique index t_ca on s.t (c, b, id);
      create unique index t_ca_identity on s.t (c, b, id);
      alter table s.t replica identity using index t_ca_identity;
    `);
    expect(await indexesFound(duplicateIndexes)).toEqual([
      "t_a_again",
      "t_b_again",
      "t_bc_again",
      "t_c",
      "t_ca",
      "t_code_again",
      "t_id_again",
    ]);
  });

  it.runIf(major >= 15)("tells apart whether nulls are distinct (a choice from 15 on)", async () => {
    await schema(`
      create table s.t (a int);
      create unique index t_a on s.t (a);
      create unique index t_a_nulls on s.t (a) nulls not distinct;
      create unique index t_a_again on s.t (a);
    `);
    expect(await indexesFound(duplicateIndexes)).toEqual(["t_a_again"]);
    expect(await indexesFound(redundantIndexes)).toEqual([]);
  });

  it("names the one that stays, and its statements mend it and take it back", async () => {
    await schema(`
      create table s."ta'ble.""x" (a int, "b;--" text);
      create index "first" on s."ta'ble.""x" (a, "b;--" desc) where a > 3;
      create index "se'cond\n""; drop table x; --" on s."ta'ble.""x" (a, "b;--" desc) where a > 3;
    `);
    const { findings } = await runCheck(duplicateIndexes, session);
    expect(findings).toMatchObject([
      {
        severity: "low",
        confidence: "certain",
        object: { schema: "s", table: "ta'ble.\"x", index: "se'cond\n\"; drop table x; --" },
        evidence: { keeps: "first" },
      },
    ]);
    await expectMended(duplicateIndexes, session, findings[0]);
  });

  it("takes an index for redundant that is the beginning of another one, in either direction", async () => {
    await schema(`
      create table s.t (a int, b int, c int, d text);
      create index t_a on s.t (a);
      create index t_a_desc on s.t (a desc);
      create index t_ab on s.t (a, b);
      create index t_abc on s.t (a, b, c) include (d);
      create index t_a_nulls on s.t (a nulls first);
      create index t_ab_d on s.t (a, b) include (d);
      create unique index t_ba on s.t (b, a);
      create index t_b on s.t (b) where c > 0;
      create table s.u (a int not null, b int not null, unique (a, b));
      create index u_ab on s.u (a, b);
      create index u_a on s.u (a);
      create table s.v (a int unique, b int);
      create unique index v_ab on s.v (a, b);
    `);
    const { findings } = await runCheck(redundantIndexes, session);
    expect(
      findings.map(({ object, evidence }) => `${object.index} for ${evidence.widerIndex}`).sort(),
    ).toEqual([
      "t_a for t_abc",
      "t_a_desc for t_abc",
      "t_ab for t_abc",
      "t_ab_d for t_abc",
      "u_a for u_a_b_key",
      "u_ab for u_a_b_key",
    ]);
    await expectMended(redundantIndexes, session, findings[0]);
  });

  it("keeps one of two that run in opposite directions", async () => {
    await schema(`
      create table s.t (a int, b int);
      create index t_ab on s.t (a, b desc);
      create index t_turned on s.t (a desc, b);
    `);
    expect(await indexesFound(redundantIndexes)).toEqual(["t_turned"]);
  });

  it("says of a wide index that it may be the slower one", async () => {
    await schema(`
      create table s.t (a int, b text);
      insert into s.t select g % 100, repeat(md5(g::text), 8) from generate_series(1, 5000) g;
      create index t_a on s.t (a);
      create index t_ab on s.t (a, b);
    `);
    expect((await runCheck(redundantIndexes, session)).findings).toMatchObject([{ confidence: "likely" }]);
    await session.query("set enable_seqscan = off");
    await session.query("set enable_bitmapscan = off");
    await session.query("select count(*) from s.t where a = 3");
    await session.query("reset all");
    await session.query("set search_path = pg_catalog");
    await flushStatistics(session);
    expect((await runCheck(redundantIndexes, session)).findings).toMatchObject([
      { object: { index: "t_a" }, confidence: "suspected", severity: "low" },
    ]);
  });

  it("judges partitions' indexes at the parent, once, and those of a partition's own there", async () => {
    await schema(`
      create table s.p (a int, b int, d date not null) partition by range (d);
      create table s.p1 partition of s.p for values from ('2026-01-01') to ('2026-02-01');
      create table s.p2 partition of s.p for values from ('2026-02-01') to ('2026-03-01') partition by list (a);
      create table s.p2a partition of s.p2 default;
      create index p_a on s.p (a);
      create index p_a_again on s.p (a);
      create index p1_own on s.p1 (a);
      create index p1_b on s.p1 (b);
    `);
    expect(await indexesFound(duplicateIndexes)).toEqual(["p1_own", "p_a_again"]);
    const { findings } = await runCheck(duplicateIndexes, session);
    const parent = findings.find(({ object }) => object.index === "p_a_again");
    expect(parent?.remediation.sql).toBe('DROP INDEX "s"."p_a_again";');
    await expectMended(duplicateIndexes, session, parent);
    await session.query("create index p_ab on s.p (a, b)");
    await session.query("drop index s.p_a_again");
    expect(await indexesFound(redundantIndexes)).toEqual(["p_a"]);
  });

  it("leaves invalid indexes to their own check", async () => {
    await schema("create table s.t (a int); create index t_a on s.t (a); create index t_b on s.t (a)");
    await session.query("update pg_index set indisvalid = false where indexrelid = 's.t_b'::regclass");
    expect(await indexesFound(duplicateIndexes)).toEqual([]);
    expect(await indexesFound(redundantIndexes)).toEqual([]);
  });

  it("tells it to a role that may only connect, and does not wait for a locked table", async () => {
    await schema("create table s.t (a int); create index t_a on s.t (a); create index t_b on s.t (a)");
    const guest = await server.connect(database, await createLogin(server, database));
    const started = performance.now();
    await session.transaction(async () => {
      await session.query("lock table s.t in access exclusive mode");
      const { findings } = await runCheck(duplicateIndexes, guest);
      expect(findings).toMatchObject([{ object: { index: "t_b" } }]);
      expect(findings[0]).not.toHaveProperty("fix");
    });
    expect(performance.now() - started).toBeLessThan(15_000);
    await expect(runCheck(duplicateIndexes, guest)).resolves.toMatchObject({
      findings: [{ fix: { up: ['DROP INDEX CONCURRENTLY "s"."t_b";'] } }],
    });
    await guest.close();
  });

  it("leaves out what belongs to the system and to extensions", async () => {
    await schema("create table s.t (a int)");
    await session.query("create extension pg_stat_statements schema public");
    await session.query("create temporary table pg_temp.x (a int)");
    await session.query("create index x1 on pg_temp.x (a)");
    await session.query("create index x2 on pg_temp.x (a)");
    expect(await indexesFound(duplicateIndexes)).toEqual([]);
    await session.query("drop table pg_temp.x");
  });
});
