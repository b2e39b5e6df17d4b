import { describe, expect, it } from "vitest";
import { type ReviewDatabaseReport, reviewDatabase } from "../../lib/jobs/review-database.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Replicas } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import type { ReviewReport } from "../../lib/review/run.ts";
import { readNewestReview, storable, storeReview } from "../../lib/review/store.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";
import { type Installed, installed, password } from "../install/installed.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe.each(majors)("review-database on PostgreSQL %i", (major) => {
  const server = useServer(major);
  const noReplicas: Replicas = { list: async () => [], answers: async () => true };

  const run = async (shop: Installed, more: { dryRun?: boolean; replicas?: Replicas } = {}) => {
    const target = server.target(shop.database, { user: shop.names.monitoring, password });
    const ports = { ...portsFor(target), replicas: more.replicas ?? noReplicas };
    const result = await runJob(reviewDatabase, { ports, config: shop.config, dryRun: more.dryRun === true });
    return { result, report: result.report as unknown as ReviewDatabaseReport };
  };
  const stored = (shop: Installed) =>
    shop.as(shop.names.monitoring, (session) =>
      session.query<{ id: string; report: ReviewReport }>(
        "select * from pgkeep.review_report order by started_at",
      ),
    );

  it("stores the whole review with the rights of the monitoring role, and says what is new the next time", async () => {
    const shop = await installed(server);
    const first = await run(shop);
    expect(first.result).toMatchObject({ outcome: "succeeded", recorded: true, warnings: [] });
    expect(first.report).toMatchObject({ database: shop.database, stored: true });
    expect(first.report).not.toHaveProperty("comparison");
    await shop.as(undefined, async (session) => {
      await session.query("create table public.twice (id int primary key, note int)");
      await session.query("create index one on public.twice (note)");
      await session.query("create index two on public.twice (note)");
    });
    const { report } = await run(shop);
    expect(report.comparison).toMatchObject({ since: first.report.startedAt, fixed: [] });
    expect(report.comparison?.new.join("\n")).toContain("two");
    await shop.as(undefined, (session) => session.query("drop table public.twice"));
    const last = await run(shop);
    expect(last.report.comparison?.new).toEqual([]);
    expect(last.report.comparison?.fixed).toEqual(report.comparison?.new);
    const rows = await stored(shop);
    expect(rows.map(({ id }) => id)).toContain(last.result.runId);
    expect(rows).toHaveLength(3);
    expect(rows[1]?.report.results).toHaveLength(report.checks);
    // Of each check its whole result, so that the history can be read.
    expect(rows[1]?.report.results.flatMap(({ findings }) => findings)[0]).toHaveProperty("remediation");
    expect(reviewDatabase.describe?.(last.result.report).join("\n")).toMatch(
      /Since .*: 0 new, [1-9]\d* fixed/,
    );
  });

  it("changes nothing in a dry run, and names a replica that does not answer", async () => {
    const shop = await installed(server);
    const gone = { ...server.target(shop.database), port: 1 };
    const endpoint = { host: gone.host, port: gone.port };
    const replicas: Replicas = {
      ...noReplicas,
      list: async () => [
        { name: "away", endpoint, connect: ({ role: _, ...options }) => connect(gone, options) },
      ],
    };
    const { result, report } = await run(shop, { dryRun: true, replicas });
    expect(result.outcome).toBe("succeeded");
    expect(report).toMatchObject({ stored: false, replicasUnseen: ["away"] });
    expect(await stored(shop)).toEqual([]);
  });

  it("says that the schema is not installed", async () => {
    const database = await server.createDatabase();
    const result = await runJob(reviewDatabase, {
      ports: { ...portsFor(server.target(database)), replicas: noReplicas },
      config: (await installed(server)).config,
    });
    expect(result).toMatchObject({ outcome: "failed", error: { code: "not-installed" } });
  });
});

describe("stored reviews", () => {
  const server = useServer();

  it("are so many, the newest of them, each once", async () => {
    const shop = await installed(server);
    await shop.as(shop.names.monitoring, async (session) => {
      for (const day of [1, 2, 3, 4, 4]) {
        const report = reportOf([], { database: shop.database, startedAt: `2026-11-0${day}T00:00:00.000Z` });
        await storeReview(session, `run-${day}`, report, 2);
      }
      const rows = await session.query<{ id: string }>("select id from pgkeep.review_report order by id");
      expect(rows).toEqual([{ id: "run-3" }, { id: "run-4" }]);
      expect((await readNewestReview(session))?.startedAt).toBe("2026-11-04T00:00:00.000Z");
    });
  });

  it("keep what jsonb would refuse out, and count as none when another version wrote them", async () => {
    const shop = await installed(server);
    await shop.as(shop.names.monitoring, async (session) => {
      const hostile = `a\0b\ud800c"\\\u2028'); drop table x; --`;
      const findings = [findingOf({ title: hostile, key: `unindexed-foreign-keys/${hostile}` })];
      const report = reportOf([resultOf("a", { findings })], { database: shop.database });
      await storeReview(session, "hostile", report, 5);
      const [known] = (await readNewestReview(session))?.checks[0]?.findings ?? [];
      expect(known?.title).toBe(`a\ufffdb\ufffdc"\\\u2028'); drop table x; --`);
      await storeReview(
        session,
        "future",
        { ...report, version: 99, startedAt: "2027-01-01T00:00:00.000Z" },
        5,
      );
      expect(await readNewestReview(session)).toBeUndefined();
    });
  });

  it("of a huge database keep the key and title of each finding, and stay small", () => {
    const findings = Array.from({ length: 20_000 }, (_, index) => findingOf({ table: `t${index}` }));
    const text = storable(reportOf([resultOf("a", { findings })]));
    expect(text.length).toBeLessThan(6e6);
    const kept = (JSON.parse(text) as ReviewReport).results[0]?.findings ?? [];
    expect(kept).toHaveLength(20_000);
    expect(kept[0]).toEqual({
      check: "unindexed-foreign-keys",
      key: "unindexed-foreign-keys/public.t0",
      severity: "medium",
      confidence: "certain",
      object: { schema: "public", table: "t0" },
      title: "public.t0 has no index for its foreign key",
    });
  });
});
