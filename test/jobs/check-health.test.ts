import { describe, expect, it } from "vitest";
import type { CheckHealthReport } from "../../lib/jobs/check-health.ts";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { MetricDatum } from "../../lib/ports/metrics.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { portsFor } from "../helpers/ports.ts";
import { oldestAndNewest, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

const reportOf = (result: JobResult) => result.report as unknown as CheckHealthReport;
const verdictOf = (result: JobResult, check: string) =>
  reportOf(result).results.find((one) => one.check === check)?.verdict;
const valuesOf = (data: readonly MetricDatum[], name: string) =>
  data.filter((datum) => datum.name === name).map(({ value }) => value);

describe.each(oldestAndNewest)("check-health on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("as the monitoring role: writes the heartbeat, compares with its last run, and sees everything", async () => {
    const { database, config, names, as } = await installed(server, { database: `sh"op\n 'x'` });
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const first = await runJob(checkHealth, { ports, config });
    expect(first).toMatchObject({ outcome: "succeeded", recorded: true, warnings: [] });
    expect(reportOf(first)).toMatchObject({ database, heartbeat: { written: true } });
    expect(verdictOf(first, "heartbeat")).toBe("not-assessable");
    expect(verdictOf(first, "deadlocks")).toBe("not-assessable");
    expect(verdictOf(first, "connections")).toBe("pass");
    await new Promise((resolve) => setTimeout(resolve, 1_100));

    const second = await runJob(checkHealth, { ports, config });
    expect(second.outcome).toBe("succeeded");
    expect(reportOf(second).results.flatMap(({ findings }) => findings)).toEqual([]);
    const unseen = reportOf(second).results.filter(({ verdict }) => verdict === "not-assessable");
    // Two runs of an idle database read too little for a ratio.
    expect(unseen.filter(({ check }) => check !== "cache-hit-ratio")).toEqual([]);
    expect(verdictOf(second, "heartbeat")).toBe("pass");
    expect(verdictOf(second, "deadlocks")).toBe("pass");
    expect(valuesOf(ports.data, "Up")).toEqual([1, 1]);
    expect(valuesOf(ports.data, "Deadlocks")).toEqual([0]);
    const ages = valuesOf(ports.data, "HeartbeatAge");
    expect(ages).toHaveLength(1);
    expect(ages[0]).toBeGreaterThanOrEqual(1);
    expect(ages[0]).toBeLessThan(60);
    expect(valuesOf(ports.data, "JobSucceeded")).toEqual([1, 1]);

    await as(undefined, async (session) => {
      expect(await session.query("select written_by from pgkeep.heartbeat")).toEqual([
        { written_by: second.runId },
      ]);
      const [stored] = await session.query<{ report: CheckHealthReport }>(
        "select report from pgkeep.job_run where id = $1",
        [second.runId],
      );
      expect(stored?.report).toEqual(JSON.parse(JSON.stringify(second.report)));
      expect(stored?.report).not.toHaveProperty("metrics");
    });
  });
});

describe("check-health", () => {
  const server = useServer();

  it("succeeds with findings, which are data", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, (session) =>
      session.query("select pg_create_physical_replication_slot('abandoned', true)"),
    );
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const result = await runJob(checkHealth, { ports, config });
    expect(result.outcome).toBe("succeeded");
    expect(reportOf(result).summary).toMatchObject({ worst: "medium", withFindings: 1 });
    expect(valuesOf(ports.data, "InactiveReplicationSlots")).toEqual([1]);
    const lines = checkHealth.describe?.(result.report) ?? [];
    expect(lines.join("\n")).toContain('MEDIUM replication-slots: nothing has read slot "abandoned"');
    await as(undefined, (session) => session.query("select pg_drop_replication_slot('abandoned')"));
  });

  it("says that no heartbeat was written where the schema is not installed, and goes on", async () => {
    const database = await server.createDatabase();
    const ports = portsFor(server.target(database));
    const { config } = await installed(server);
    const result = await runJob(checkHealth, { ports, config });
    expect(result).toMatchObject({ outcome: "succeeded", recorded: false });
    expect(reportOf(result).heartbeat).toEqual({
      written: false,
      because: "the schema pgkeep is not installed here (`pgkeep install`)",
    });
  });

  it("says that no heartbeat was written by a role that may not, or whose sessions are read-only", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, async (session) => {
      await session.query("create role onlooker login password 'x'");
      await session.query("grant pg_monitor to onlooker");
      await session.query(`grant connect on database "${database}" to onlooker`);
    });
    const onlooker = portsFor(server.target(database, { user: "onlooker", password: "x" }));
    const result = await runJob(checkHealth, { ports: onlooker, config });
    expect(result.outcome).toBe("succeeded");
    expect(reportOf(result).heartbeat).toEqual({
      written: false,
      because: "the role onlooker may not write to pgkeep.heartbeat",
    });
    expect(reportOf(result).results.find(({ check }) => check === "deadlocks")?.reason).toContain(
      "the previous run cannot be read",
    );
    await as(undefined, (session) =>
      session.query(`alter role "${names.monitoring}" set default_transaction_read_only = on`),
    );
    const readOnly = portsFor(server.target(database, { user: names.monitoring, password }));
    expect(reportOf(await runJob(checkHealth, { ports: readOnly, config })).heartbeat).toEqual({
      written: false,
      because: "sessions of this role are read-only",
    });
    await as(undefined, (session) =>
      session.query(`alter role "${names.monitoring}" reset default_transaction_read_only`),
    );
  });

  it("writes nothing in a dry run", async () => {
    const { database, config, names, as } = await installed(server);
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const result = await runJob(checkHealth, { ports, config, dryRun: true });
    expect(reportOf(result).heartbeat).toEqual({ written: false, because: "this is a dry run" });
    await as(undefined, async (session) => {
      expect(await session.query("select written_by from pgkeep.heartbeat")).toEqual([
        { written_by: "install" },
      ]);
      expect(await session.query("select * from pgkeep.job_run")).toEqual([]);
    });
    expect(ports.data).toEqual([]);
  });

  it("fails and measures that the primary is down when it cannot be reached", async () => {
    const { config } = await installed(server);
    const ports = portsFor({ host: "127.0.0.1", port: 1, database: "x", user: "x", password: "x" });
    const result = await runJob(checkHealth, { ports, config });
    expect(result).toMatchObject({ outcome: "failed", error: { code: "unreachable" } });
    expect(valuesOf(ports.data, "Up")).toEqual([0]);
    expect(valuesOf(ports.data, "JobFailed")).toEqual([1]);
  });

  it("does not wait for a heartbeat row that somebody has locked", async () => {
    const { database, config, names, as } = await installed(server);
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    await as(undefined, async (holder) => {
      await holder.query("begin");
      await holder.query("select * from pgkeep.heartbeat for update");
      const result = await runJob(checkHealth, { ports, config });
      expect(result.outcome).toBe("succeeded");
      expect(reportOf(result).heartbeat).toMatchObject({
        written: false,
        because: expect.stringContaining("lock timeout"),
      });
      await holder.query("rollback");
    });
  });

  it("finds that it has not run for a while", async () => {
    const { database, config, names, as } = await installed(server);
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    await runJob(checkHealth, { ports, config });
    await as(undefined, (session) =>
      session.query("update pgkeep.heartbeat set at = now() - interval '1 hour'"),
    );
    const late = await runJob(checkHealth, { ports, config });
    expect(reportOf(late).results.flatMap(({ findings }) => findings)).toMatchObject([
      {
        check: "heartbeat",
        severity: "high",
        title: "the last heartbeat is 1 h 0 min old",
        evidence: { limitSeconds: 150 },
      },
    ]);
    // Each two hours it would be in time.
    await as(undefined, (session) =>
      session.query("update pgkeep.heartbeat set at = now() - interval '1 hour'"),
    );
    const rare = { ...config, schedules: { ...config.schedules, "check-health": "0 */2 * * *" } };
    expect(verdictOf(await runJob(checkHealth, { ports, config: rare }), "heartbeat")).toBe("pass");
    const off = { ...config, schedules: { ...config.schedules, "check-health": "off" } };
    expect(verdictOf(await runJob(checkHealth, { ports, config: off }), "heartbeat")).toBe("not-assessable");
  });

  it("runs once when it is triggered twice", async () => {
    const { database, config, names } = await installed(server);
    const target = server.target(database, { user: names.monitoring, password });
    const ports = portsFor(target);
    const slow = {
      ...ports,
      primary: {
        ...ports.primary,
        connect: async (options: Parameters<typeof ports.primary.connect>[0]) => {
          const session = await connect(
            target,
            options.signal === undefined ? {} : { signal: options.signal },
          );
          await session.query("select pg_sleep(0.3)");
          return session;
        },
      },
    };
    const outcomes = await Promise.all([
      runJob(checkHealth, { ports: slow, config }),
      runJob(checkHealth, { ports: slow, config }),
    ]);
    expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(["skipped", "succeeded"]);
  });
});
