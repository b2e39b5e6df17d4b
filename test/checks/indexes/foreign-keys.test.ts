import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { foreignKeysWithoutIndex } from "../../../lib/checks/indexes/foreign-keys-without-index.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe.each(majors)("foreign keys without an index, PostgreSQL %i", (major) => {
  const server = useServer(major);
  let session: Session;
  let database: string;
  beforeAll(async () => {
    database = await server.createDatabase();
    session = await server.connect(database);
  });
  afterAll(() => session?.close());

  const keysFound = async () =>
    (await runCheck(foreignKeysWithoutIndex, session)).findings.map(({ key }) => key.split("/")[1]).sort();

  async function schema(statements: string): Promise<void> {
    await session.query("drop schema if exists s cascade");
    await session.query("create schema s");
    await session.query(statements);
  }

  it("is satisfied by any index that finds the rows of a value", async () => {
    await schema(`
      create table s.p (a int, b int, primary key (a, b), c int unique, t text unique);
      create table s.c1 (a int, b int, foreign key (a, b) references s.p);
      create index on s.c1 (b, a, (a + 1));
      create table s.c2 (c int references s.p (c));
      create index on s.c2 (c) where c is not null;
      create table s.c3 (c int references s.p (c));
      create index on s.c3 using hash (c);
      create table s.c4 (c int primary key references s.p (c));
      create table s.c5 (a int, b int, foreign key (a, b) references s.p);
      create index on s.c5 (a, b) where b is not null and a is not null;
      create table s.c6 (t text references s.p (t));
      create index on s.c6 (t text_pattern_ops desc nulls last) include (t);
    `);
    expect(await runCheck(foreignKeysWithoutIndex, session)).toMatchObject({
      verdict: "pass",
      facts: { foreignKeys: 6 },
      good: ["Each of the 6 foreign keys has an index."],
    });
  });

  it("is not satisfied by one that does not", async () => {
    await schema(`
      create table s.p (a int, b int, primary key (a, b), c int unique, t text unique);
      create table s.none (c int references s.p (c));
      create table s.later (x int, c int references s.p (c));
      create index on s.later (x, c);
      create table s.part (x int, c int references s.p (c));
      create index on s.part (c) where x > 1;
      create table s.other_null (x int, c int references s.p (c));
      create index on s.other_null (c) where x is not null;
      create table s.or_null (x int, c int references s.p (c));
      create index on s.or_null (c) where c is not null or x is not null;
      create table s.expr (c int references s.p (c));
      create index on s.expr ((c + 0));
      create table s.brin (c int references s.p (c));
      create index on s.brin using brin (c);
      create table s.collation (t text references s.p (t));
      create index on s.collation (t collate "C");
      create table s.invalid (c int references s.p (c));
      create index invalid_c on s.invalid (c);
      update pg_index set indisvalid = false where indexrelid = 's.invalid_c'::regclass;
      create table s.half (a int, b int, foreign key (a, b) references s.p);
      create index half_b on s.half (b);
    `);
    expect(await keysFound()).toEqual([
      "s.brin(c)",
      "s.collation(t)",
      "s.expr(c)",
      "s.half(a,b)",
      "s.invalid(c)",
      "s.later(c)",
      "s.none(c)",
      "s.or_null(c)",
      "s.other_null(c)",
      "s.part(c)",
    ]);
    const { findings } = await runCheck(foreignKeysWithoutIndex, session);
    expect(findings.find(({ object }) => object.table === "half")).toMatchObject({
      confidence: "suspected",
      severity: "low",
      evidence: { partlyServedBy: "half_b" },
    });
    expect(findings.find(({ object }) => object.table === "none")).toMatchObject({
      confidence: "certain",
      severity: "low",
    });
  });

  it("weighs the table's size and whether referenced rows go, and shows the look-up's plan", async () => {
    await schema(`
      create table s."pa""rent" (id int primary key);
      create table s."chi'ld.x" (id int primary key, "par""ent; --" int references s."pa""rent" on delete cascade);
      insert into s."pa""rent" select generate_series(1, 100);
      insert into s."chi'ld.x" select g, g % 100 + 1 from generate_series(1, 12000) g;
    `);
    await session.query("analyze");
    const { findings } = await runCheck(foreignKeysWithoutIndex, session);
    expect(findings).toMatchObject([
      {
        severity: "medium",
        object: { schema: "s", table: "chi'ld.x", column: 'par"ent; --' },
        evidence: { rows: 12000, onDelete: "cascade", plan: "Seq Scan" },
        fix: { proof: [expect.stringContaining("now: Seq Scan at cost")] },
      },
    ]);
    await expectMended(foreignKeysWithoutIndex, session, findings[0]);
    await session.query(`alter table s."chi'ld.x" drop constraint "chi'ld.x_par""ent; --_fkey",
      add foreign key ("par""ent; --") references s."pa""rent"`);
    expect((await runCheck(foreignKeysWithoutIndex, session)).findings).toMatchObject([{ severity: "low" }]);
    await session.query(`insert into s."pa""rent" values (500)`);
    await session.query(`delete from s."pa""rent" where id = 500`);
    await flushStatistics(session);
    expect((await runCheck(foreignKeysWithoutIndex, session)).findings).toMatchObject([
      { severity: "medium", evidence: { deletesOfReferencedRows: 1 } },
    ]);
  });

  it("says a gap once: for two keys on one column, and for all partitions at their parent", async () => {
    await schema(`
      create table s.p (id int primary key);
      create table s.q (id int primary key);
      create table s.two (r int references s.p, constraint second foreign key (r) references s.q);
      create table s.parts (id int, r int references s.p) partition by range (id);
      create table s.parts1 partition of s.parts for values from (1) to (10);
      create table s.parts2 partition of s.parts for values from (10) to (20) partition by range (id);
      create table s.parts2a partition of s.parts2 default;
      create table s.whole (id int primary key) partition by range (id);
      create table s.whole1 partition of s.whole for values from (1) to (10);
      create table s.to_parts (r int references s.whole);
    `);
    const { findings } = await runCheck(foreignKeysWithoutIndex, session);
    expect(findings.map(({ key }) => key.split("/")[1]).sort()).toEqual([
      "s.parts(r)",
      "s.to_parts(r)",
      "s.two(r)",
    ]);
    expect(findings.find(({ object }) => object.table === "two")?.evidence.constraints).toEqual([
      "two_r_fkey",
      "second",
    ]);
    const partitioned = findings.find(({ object }) => object.table === "parts");
    await expectMended(foreignKeysWithoutIndex, session, partitioned);
    // An index of each partition of their own does as well.
    await session.query("create index on s.parts1 (r)");
    expect(await keysFound()).toContain("s.parts(r)");
    await session.query("create index on s.parts2a (r)");
    expect(await keysFound()).not.toContain("s.parts(r)");
  });

  it.runIf(major >= 18)(
    "leaves keys that are not enforced, and understands periods (both from 18 on)",
    async () => {
      await session.query("create extension if not exists btree_gist schema public");
      await schema(`
      create table s.p (id int, during daterange, primary key (id, during without overlaps));
      create table s.c (id int, during daterange, foreign key (id, period during) references s.p (id, period during));
      create index on s.c (id);
      create table s.q (id int primary key);
      create table s.r (id int references s.q not enforced);
    `);
      expect(await keysFound()).toEqual([]);
      await session.query("drop index s.c_id_idx");
      expect(await keysFound()).toEqual(["s.c(id,during)"]);
    },
  );

  it("tells it to a role that may only connect, without the plan", async () => {
    await schema(`
      create table s.p (id int primary key);
      create table s.c (r int references s.p);
      insert into s.p values (1);
      insert into s.c select 1 from generate_series(1, 3000);
    `);
    await session.query("analyze");
    const guest = await server.connect(database, await createLogin(server, database));
    const { findings } = await runCheck(foreignKeysWithoutIndex, guest);
    expect(findings).toMatchObject([
      { evidence: { planNotShown: expect.stringContaining("permission denied") } },
    ]);
    const started = performance.now();
    await session.transaction(async () => {
      await session.query("lock table s.c in access exclusive mode");
      const { findings: locked } = await runCheck(foreignKeysWithoutIndex, guest);
      expect(locked).toHaveLength(1);
    });
    expect(performance.now() - started).toBeLessThan(15_000);
    await guest.close();
    await expect(session.query("show plan_cache_mode")).resolves.toEqual([{ plan_cache_mode: "auto" }]);
  });
});
