import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { JobResult } from "../../lib/jobs/job.ts";
import { type ReviewDatabaseReport, reviewDatabase } from "../../lib/jobs/review-database.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Replicas } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import type { ReviewReport } from "../../lib/review/run.ts";
import { readNewestReview, storable, storeReview } from "../../lib/review/store.ts";
import { summarize, whatToDo } from "../../lib/review/summary.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
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

describe("review-database with the file of review.suppressions", () => {
  const server = useServer(defaultMajor);
  const scratch = mkdtempSync(join(tmpdir(), "pgkeep-review-job-"));
  afterAll(() => rmSync(scratch, { recursive: true }));

  it("counts, stores and says what `pgkeep review` does with it", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      for (const table of ["accepted", "again"]) {
        await session.query(`create table public.${table} (id int primary key, note int)`);
        await session.query(`create index ${table}_one on public.${table} (note)`);
        await session.query(`create index ${table}_two on public.${table} (note)`);
      }
    });
    const url = urlOf({
      ...server.target(shop.database, { user: shop.names.monitoring, password }),
    } as Parameters<typeof urlOf>[0]);
    const args = ["--json", "--config", join(scratch, "pgkeep.yaml"), "--url", url];
    const asked = async <T>(...more: string[]) => JSON.parse((await runCli([...more, ...args])).stdout) as T;
    writeFileSync(join(scratch, "pgkeep.yaml"), "");
    const all = await asked<ReviewReport>("review", "--only", "duplicate-indexes");
    const keys = all.results.flatMap(({ findings }) => findings.map(({ key }) => key));
    const keyOf = (table: string) => keys.find((key) => key.includes(`${table}_`)) ?? "";
    expect(keys).toHaveLength(2);

    const known = { key: keyOf("accepted"), reason: "known", expires: "2999-12-31" };
    const over = { key: keyOf("again"), reason: "was to be dropped", expires: "2026-01-31" };
    const gone = { key: "duplicate-indexes/public.gone", reason: "dropped", expires: "2999-12-31" };
    writeFileSync(join(scratch, "pgkeep.yaml"), "review: { suppressions: accepted.yaml }\n");
    writeFileSync(join(scratch, "accepted.yaml"), JSON.stringify({ suppressions: [known, over, gone] }));
    const reviewed = await asked<ReviewReport>("review");
    const result = await asked<JobResult>("run", "review-database");
    expect(result).toMatchObject({ outcome: "succeeded", warnings: [] });
    const report = result.report as unknown as ReviewDatabaseReport;
    const expected = {
      used: [{ ...known, findings: 1 }],
      expired: [{ ...over, findings: 1 }],
      stale: [gone],
      endless: [],
    };
    expect(reviewed.suppressions).toEqual(expected);
    expect(report.suppressions).toEqual(expected);
    expect(report.summary).toEqual(summarize(reviewed));
    expect(report.findings.map(({ key }) => key)).toEqual(
      whatToDo(reviewed)
        .slice(0, 20)
        .map(({ key }) => key),
    );
    const [row] = await shop.as(shop.names.monitoring, (session) =>
      session.query<{ report: ReviewReport }>("select report from pgkeep.review_report where id = $1", [
        result.runId,
      ]),
    );
    const stored = row?.report as ReviewReport;
    expect(stored.suppressions).toEqual(expected);
    expect(summarize(stored)).toEqual(report.summary);
    const { key, ...why } = known;
    const marked = (of: ReviewReport) =>
      of.results.flatMap(({ findings }) => findings.filter(({ suppressed }) => suppressed !== undefined));
    expect(marked(stored)).toMatchObject([{ key, suppressed: why }]);
    expect(marked(reviewed).map((finding) => finding.key)).toEqual([key]);
    const text = reviewDatabase.describe?.(result.report).join("\n") ?? "";
    expect(text).toContain(`Suppressed:\n  ${known.key}: known (until 2999-12-31): 1 finding`);
    expect(text).toContain(
      `Suppressions that are over, so that what they match counts again:\n  ${over.key}: was to be dropped (until 2026-01-31): 1 finding`,
    );
    expect(text).toContain("Suppressions that match nothing: delete them\n  duplicate-indexes/public.gone");
  });

  it("asks nothing when the configuration names a file and came without what is in it", async () => {
    const shop = await installed(server, { sections: { review: { suppressions: "accepted.yaml" } } });
    const target = server.target(shop.database, { user: shop.names.monitoring, password });
    const noReplicas: Replicas = { list: async () => [], answers: async () => true };
    const result = await runJob(reviewDatabase, {
      ports: { ...portsFor(target), replicas: noReplicas },
      config: shop.config,
    });
    expect(result).toMatchObject({ outcome: "failed", error: { code: "configuration" } });
    expect(result.reason).toContain("accepted.yaml (review.suppressions) did not come");
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
    findings.push(findingOf({ table: "accepted", suppressed: { reason: "known" } }));
    const text = storable(reportOf([resultOf("a", { findings })]));
    expect(text.length).toBeLessThan(6e6);
    const kept = (JSON.parse(text) as ReviewReport).results[0]?.findings ?? [];
    expect(kept).toHaveLength(20_001);
    expect(kept.at(-1)?.suppressed).toEqual({ reason: "known" });
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
