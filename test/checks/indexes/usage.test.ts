import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { invalidIndexes } from "../../../lib/checks/indexes/invalid-indexes.ts";
import { sequentialScans, sequentialScansWithin } from "../../../lib/checks/indexes/sequential-scans.ts";
import { unusedIndexes, unusedIndexesWithin } from "../../../lib/checks/indexes/unused-indexes.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

/** The statistics of a test are seconds old. */
const anyAge = unusedIndexesWithin({ shortestDays: 0, enoughDays: 0, forgottenDays: 180, smallestBytes: 0 });
const fewRows = sequentialScansWithin({ largeRows: 100, largeBytes: 1, shortestDays: 0, scansPerDay: 24 });

describe.each(majors)("how indexes are used, PostgreSQL %i", (major) => {
  const server = useServer(major);
  let session: Session;
  let database: string;
  beforeAll(async () => {
    database = await server.createDatabase();
    session = await server.connect(database);
  });
  afterAll(() => session?.close());

  async function schema(statements: string): Promise<void> {
    await session.query("drop schema if exists s cascade");
    await session.query("create schema s");
    await session.query(statements);
  }

  const unusedFound = async () =>
    (await runCheck(anyAge, session)).findings.map(({ object }) => object.index).sort();

  it("claims nothing before the counters are a week old", async () => {
    await schema("create table s.t (a int); create index t_a on s.t (a)");
    const result = await runCheck(unusedIndexes, session);
    expect(result).toMatchObject({ verdict: "not-assessable", findings: [] });
    expect(result.reason).toMatch(/^scans are counted since .* only, .+: ask again when that is 7 days/);
  });

  it("finds what no query reads, and leaves what enforces something or serves a foreign key", async () => {
    await schema(`
      create table s.p (id int primary key, code text unique, e int4range, exclude using gist (e with &&));
      create table s."ta'b.le" (r int references s.p, q int references s.p, a int, "b""; --" int, c int not null);
      insert into s.p select g from generate_series(1, 100) g;
      insert into s."ta'b.le" select g, g, g, g, g from generate_series(1, 100) g;
      create index fk_only on s."ta'b.le" (r);
      create index fk_first on s."ta'b.le" (q, a);
      create index fk_second on s."ta'b.le" (q, c);
      create index used on s."ta'b.le" (a);
      create index "un""used; --" on s."ta'b.le" ("b""; --");
      create unique index enforcing on s."ta'b.le" (c);
      create index clustered on s."ta'b.le" (c, a);
      alter table s."ta'b.le" cluster on clustered;
    `);
    await session.query("set enable_seqscan = off");
    await session.query(`select * from s."ta'b.le" where a = 3`);
    await session.query("set enable_seqscan = on");
    await flushStatistics(session);
    // Of two that serve the same key, one stays.
    expect(await unusedFound()).toEqual(["fk_second", 'un"used; --']);
    const { findings } = await runCheck(anyAge, session);
    const [finding] = findings.filter(({ object }) => object.index === 'un"used; --');
    expect(finding).toMatchObject({
      severity: "low",
      confidence: "suspected",
      evidence: { scans: 0, existsAtLeastSince: null, replicasAsked: [], standbysNotAsked: 0 },
    });
    expect(finding?.since).toBe(finding?.evidence.countedSince);
    await expectMended(anyAge, session, finding);
    // Something younger was analysed: so the index is at least that old, and has had its chance.
    await session.query("create table s.younger (a int)");
    await session.query("analyze s.younger");
    await flushStatistics(session);
    const later = await runCheck(anyAge, session);
    expect(later.findings.find(({ object }) => object.index === 'un"used; --')).toMatchObject({
      confidence: "likely",
    });
    // Small ones are not worth a change.
    const usual = unusedIndexesWithin({
      shortestDays: 0,
      enoughDays: 0,
      forgottenDays: 180,
      smallestBytes: 2 ** 20,
    });
    expect(await runCheck(usual, session)).toMatchObject({ verdict: "pass" });
  });

  it("leaves what is there twice to the checks of that: not both may go", async () => {
    await schema(`
      create table s.t (a int, b int);
      create index t_a on s.t (a);
      create index t_a_again on s.t (a);
      create index t_b on s.t (b);
      create index t_ba on s.t (b, a);
    `);
    expect(await unusedFound()).toEqual([]);
  });

  it("adds up what partitions read, and reports the parent's index once", async () => {
    await schema(`
      create table s.p (a int, b int) partition by range (a);
      create table s.p1 partition of s.p for values from (1) to (100);
      create table s.p2 partition of s.p for values from (100) to (200);
      create index p_a on s.p (a);
      create index p_b on s.p (b);
      insert into s.p select g, g from generate_series(1, 199) g;
    `);
    await session.query("set enable_seqscan = off");
    await session.query("select * from s.p2 where a = 150");
    await session.query("set enable_seqscan = on");
    await flushStatistics(session);
    expect(await unusedFound()).toEqual(["p_b"]);
    const { findings } = await runCheck(anyAge, session);
    await expectMended(anyAge, session, findings[0]);
  });

  it.runIf(major >= 16)(
    "finds what was read long ago and not since (the time of the last scan is kept from 16 on)",
    async () => {
      await schema("create table s.t (a int); create index t_a on s.t (a); insert into s.t values (1)");
      await session.query("set enable_seqscan = off");
      await session.query("select * from s.t where a = 3");
      await session.query("set enable_seqscan = on");
      await flushStatistics(session);
      expect(await unusedFound()).toEqual([]);
      const impatient = unusedIndexesWithin({
        shortestDays: 0,
        enoughDays: 0,
        forgottenDays: 0,
        smallestBytes: 0,
      });
      const { findings } = await runCheck(impatient, session);
      expect(findings).toMatchObject([{ evidence: { scans: 1, lastUsed: expect.stringMatching(/^20/) } }]);
      expect(findings[0]?.since).toBe(findings[0]?.evidence.lastUsed);
    },
  );

  it("shows what a failed concurrent build has left, with the reason and the statement", async () => {
    await schema("create table s.t as select 1 as a from generate_series(1, 2)");
    expect(await runCheck(invalidIndexes, session)).toMatchObject({ verdict: "pass" });
    await expect(session.query("create unique index concurrently t_a on s.t (a)")).rejects.toThrow("unique");
    const { findings } = await runCheck(invalidIndexes, session);
    expect(findings).toMatchObject([
      { severity: "high", key: "invalid-indexes/s.t_a", object: { index: "t_a" } },
    ]);
    await session.query("delete from s.t where ctid = '(0,1)'");
    for (const statement of findings[0]?.fix?.up ?? []) await session.query(statement);
    expect(await runCheck(invalidIndexes, session)).toMatchObject({ verdict: "pass" });
  });

  it("suspects a query without an index where a large table is mostly read by index, but also as a whole", async () => {
    await schema(`
      create table s.mixed (id int primary key, a int);
      create table s.whole (id int primary key, a int);
      create table s.indexed (id int primary key, a int);
      insert into s.mixed select g, g from generate_series(1, 1000) g;
      insert into s.whole select g, g from generate_series(1, 1000) g;
      insert into s.indexed select g, g from generate_series(1, 1000) g;
    `);
    await session.query("analyze");
    for (let round = 0; round < 12; round++) {
      await session.query("select * from s.mixed where id = 3");
      await session.query("select * from s.indexed where id = 3");
      if (round < 10) await session.query("select * from s.mixed where a = 3");
      await session.query("select * from s.whole where a = 3");
    }
    // Stopped at the first row: not read as a whole.
    for (let round = 0; round < 10; round++) await session.query("select * from s.indexed limit 1");
    await flushStatistics(session);
    const { findings } = await runCheck(fewRows, session);
    expect(findings).toMatchObject([
      {
        object: { schema: "s", table: "mixed" },
        confidence: "suspected",
        evidence: { rowsReadSequentially: 10_000, rows: 1000 },
      },
    ]);
    // The real limits know nothing of tables so small, and of statistics so young where tables are large.
    expect(await runCheck(sequentialScans, session)).toMatchObject({ verdict: "pass" });
    const young = sequentialScansWithin({ largeRows: 100, largeBytes: 1, shortestDays: 1, scansPerDay: 24 });
    expect(await runCheck(young, session)).toMatchObject({ verdict: "not-assessable" });
  });

  it("tells it to a role that may only connect", async () => {
    await schema("create table s.t (a int); create index t_a on s.t (a)");
    const guest = await server.connect(database, await createLogin(server, database));
    expect((await runCheck(anyAge, guest)).findings).toMatchObject([{ object: { index: "t_a" } }]);
    await guest.close();
  });
});
