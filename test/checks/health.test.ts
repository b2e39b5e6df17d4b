import { describe, expect, it } from "vitest";
import { metrics as definitions } from "../../lib/alarms/metrics.ts";
import type { Check } from "../../lib/checks/check.ts";
import { assessedAnything, checkHealth, hasFindingAtLeast } from "../../lib/checks/health.ts";
import { healthChecks } from "../../lib/checks/index.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { configWith, sampleOf } from "./helpers.ts";

describe.each(allMajors)("a healthy PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("passes every check but those that need an earlier sample or a heartbeat", async () => {
    const session = await server.connect(await server.createDatabase());
    const report = await checkHealth({ session, config: configWith(), now: new Date() });
    expect(report.results.flatMap((result) => result.findings)).toEqual([]);
    expect(
      Object.fromEntries(
        report.results
          .filter(({ verdict }) => verdict !== "pass")
          .map(({ check, reason }) => [check, reason]),
      ),
    ).toEqual({
      "cache-hit-ratio": "there is no earlier sample to compare with: check-health has not run here yet",
      deadlocks: "there is no earlier sample to compare with: check-health has not run here yet",
      "temporary-files": "there is no earlier sample to compare with: check-health has not run here yet",
      checkpoints: "there is no earlier sample to compare with: check-health has not run here yet",
      heartbeat: "the schema pgkeep is not installed here (`pgkeep install`)",
    });
    expect(report.server).toMatchObject({ isStandby: false, versionNumber: session.serverVersionNumber });
    await session.close();
  });

  it("passes all that compares samples when the one before is a moment old", async () => {
    const session = await server.connect(await server.createDatabase());
    const config = configWith();
    const first = await checkHealth({ session, config, now: new Date() });
    await session.query("select count(*) from pg_class a, pg_class b");
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const second = await checkHealth({ session, config, now: new Date(), previous: sampleOf(first) });
    const verdicts = Object.fromEntries(second.results.map(({ check, verdict }) => [check, verdict]));
    expect(verdicts).toMatchObject({ deadlocks: "pass", "temporary-files": "pass", checkpoints: "pass" });
    expect(second.results.flatMap((result) => result.findings)).toEqual([]);
    await session.close();
  });

  it("does not say that all is well to a role that sees nothing", async () => {
    const database = await server.createDatabase();
    const admin = await server.connect(database);
    await admin.query(`create role "o'nobody ""x""" login password 'secret'`);
    const session = await server.connect(database, { user: `o'nobody "x"`, password: "secret" });
    const report = await checkHealth({ session, config: configWith(), now: new Date() });
    for (const check of [
      "connections",
      "long-running-queries",
      "idle-in-transaction",
      "blocked-sessions",
      "replication",
    ]) {
      expect(report.results.find((result) => result.check === check)).toMatchObject({
        verdict: "not-assessable",
        reason: expect.stringContaining(`GRANT pg_monitor TO "o'nobody ""x""";`),
      });
    }
    const failed = report.results.filter((result) => result.reason?.includes("failed"));
    expect(failed).toEqual([]);
    await admin.query(`grant pg_monitor to "o'nobody ""x"""`);
    const after = await checkHealth({ session, config: configWith(), now: new Date() });
    expect(after.results.find((result) => result.check === "connections")?.verdict).toBe("pass");
    await session.close();
    await admin.close();
  });
});

describe("a run of all checks", () => {
  const server = useServer();

  it("goes on when one check fails, and says what failed", async () => {
    const session = await server.connect(await server.createDatabase());
    const broken: Check = {
      name: "broken",
      title: "?",
      run: async (context) => {
        await context.session.query("select 1/0");
        throw new Error("not reached");
      },
    };
    const report = await checkHealth({
      session,
      config: configWith(),
      now: new Date(),
      checks: [broken, ...healthChecks],
    });
    expect(report.results[0]).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("division by zero"),
    });
    expect(report.results[1]?.verdict).toBe("pass");
    expect(assessedAnything(report)).toBe(true);
    await session.close();
  });

  it("gives up a check that takes long, and leaves the session's own limits as they were", async () => {
    const session = await server.connect(await server.createDatabase(), undefined, {
      statementTimeoutMilliseconds: 12_345,
    });
    const slow: Check = {
      name: "slow",
      title: "?",
      run: async (context) => {
        await context.session.query("select pg_sleep(30)");
        throw new Error("not reached");
      },
    };
    const report = await checkHealth({ session, config: configWith(), now: new Date(), checks: [slow] });
    expect(report.results[0]).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("statement timeout"),
    });
    expect(report.results[0]?.durationMs).toBeLessThan(8_000);
    expect(assessedAnything(report)).toBe(false);
    expect(
      await session.query("select current_setting('statement_timeout') as t, current_setting('jit') as j"),
    ).toEqual([{ t: "12345ms", j: "on" }]);
    await session.close();
  });

  it("ends with the error when the connection is lost", async () => {
    const database = await server.createDatabase();
    const admin = await server.connect(database);
    const session = await server.connect(database);
    const cut: Check = {
      name: "cut",
      title: "?",
      run: async (context) => {
        const [row] = await context.session.query<{ pid: number }>("select pg_backend_pid() as pid");
        await admin.query("select pg_terminate_backend($1)", [row?.pid]);
        await context.session.query("select pg_sleep(1)");
        throw new Error("not reached");
      },
    };
    await expect(
      checkHealth({ session, config: configWith(), now: new Date(), checks: [cut, ...healthChecks] }),
    ).rejects.toMatchObject({ code: "unreachable" });
    await session.close();
    await admin.close();
  });

  it("does not compare with the sample of a server that was started at another time", async () => {
    const session = await server.connect(await server.createDatabase());
    const first = await checkHealth({ session, config: configWith(), now: new Date() });
    const previous = sampleOf(first);
    previous.sample.counters["server.startedAt"] = 1;
    const second = await checkHealth({ session, config: configWith(), now: new Date(), previous });
    expect(second.results.find((result) => result.check === "deadlocks")).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("started anew"),
    });
    await session.close();
  });

  it("measures only what the list of metrics knows, with its dimensions", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("select pg_create_physical_replication_slot('here', true)");
    const report = await checkHealth({ session, config: configWith(), now: new Date() });
    expect(report.metrics.length).toBeGreaterThan(15);
    for (const { name, value, dimensions } of report.metrics) {
      expect(Object.keys(dimensions)).toEqual(definitions[name].dimensions);
      expect(Number.isFinite(value)).toBe(true);
    }
    await session.query("select pg_drop_replication_slot('here')");
    await session.close();
  });

  it("knows which findings reach a severity", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("select pg_create_physical_replication_slot('abandoned', true)");
    const report = await checkHealth({ session, config: configWith(), now: new Date() });
    expect(report.summary.worst).toBe("medium");
    expect(hasFindingAtLeast(report, "critical")).toBe(false);
    expect(hasFindingAtLeast(report, "high")).toBe(false);
    expect(hasFindingAtLeast(report, "medium")).toBe(true);
    expect(hasFindingAtLeast(report, "low")).toBe(true);
    await session.query("select pg_drop_replication_slot('abandoned')");
    await session.close();
  });
});
