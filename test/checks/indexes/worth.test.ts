import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bloatedIndexes, bloatedIndexesBeyond } from "../../../lib/checks/indexes/bloated-indexes.ts";
import { overIndexedBeyond, overIndexedTables } from "../../../lib/checks/indexes/over-indexed-tables.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

const anyBloat = bloatedIndexesBeyond({
  leastBytes: 100_000,
  leastPercent: 50,
  leastWastedBytes: 100_000,
  muchWastedBytes: 2 ** 30,
});
const anyCrowd = overIndexedBeyond({ leastIndexes: 4, leastWrites: 1000, shortestDays: 0 });

describe.each(majors)("what indexes are worth, PostgreSQL %i", (major) => {
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

  describe("bloat", () => {
    beforeAll(async () => {
      await schema(`
          create table s."ta'b" (id int, filler text) with (autovacuum_enabled = false);
          insert into s."ta'b" select g, md5(g::text) from generate_series(1, 30000) g;
          create index "bloa""ted; --" on s."ta'b" (id);
          create table s.sound (id int, n int);
          insert into s.sound select g, g % 10 from generate_series(1, 30000) g;
          create index sound_id on s.sound (id);
          create index sound_n on s.sound (n);
          delete from s."ta'b" where id % 10 <> 0;
        `);
      await session.query("vacuum analyze");
    });

    it("is suspected from the statistics, and the reason says what would confirm it", async () => {
      const { findings } = await runCheck(anyBloat, session);
      expect(findings).toMatchObject([
        {
          object: { schema: "s", table: "ta'b", index: 'bloa"ted; --' },
          confidence: "suspected",
          evidence: { notMeasuredBecause: expect.stringContaining("CREATE EXTENSION pgstattuple") },
        },
      ]);
    });

    it("is certain once it was read, and gone after the rebuild", async () => {
      await session.query("create extension pgstattuple schema public");
      const limit = () => session.query("show statement_timeout");
      const { findings } = await runCheck(anyBloat, session);
      expect(findings).toMatchObject([
        { confidence: "certain", severity: "low", evidence: { leafDensityPercent: expect.any(Number) } },
      ]);
      expect(Number(findings[0]?.evidence.freedPercent)).toBeGreaterThan(80);
      expect(await limit()).toEqual([{ statement_timeout: "30s" }]);
      // Somebody holds the index: it is not waited for.
      const other = await server.connect(database);
      await other.query("begin");
      await other.query(`drop index s."bloa""ted; --"`);
      const held = await runCheck(anyBloat, session);
      await other.query("rollback");
      await other.close();
      expect(held.findings).toMatchObject([
        { confidence: "suspected", evidence: { notMeasuredBecause: "it was locked" } },
      ]);
      await expectMended(anyBloat, session, findings[0]);
      expect(await runCheck(anyBloat, session)).toMatchObject({ verdict: "pass" });
      expect(await runCheck(bloatedIndexes, session)).toMatchObject({ verdict: "pass", good: [] });
    });
  });

  it("is little when a table is written far more than its many indexes are read", async () => {
    await schema(`
        create table s.crowded (a int primary key, b int, c int, d int);
        create index on s.crowded (b);
        create index on s.crowded (c);
        create index on s.crowded (d);
        create table s.few (a int primary key, b int);
        create index on s.few (b);
        insert into s.crowded select g, g, g, g from generate_series(1, 2000) g;
        insert into s.few select g, g from generate_series(1, 2000) g;
      `);
    await flushStatistics(session);
    const { findings } = await runCheck(anyCrowd, session);
    expect(findings).toMatchObject([
      {
        object: { schema: "s", table: "crowded" },
        confidence: "suspected",
        evidence: { indexes: 4, rowVersionsWritten: 2000 },
      },
    ]);
    await session.query(findings[0]?.remediation.sql ?? "");
    expect(await runCheck(overIndexedTables, session)).toMatchObject({ verdict: "pass" });
  });
});
