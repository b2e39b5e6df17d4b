import { describe, expect, it } from "vitest";
import { type HealthReport, severities } from "../../lib/checks/health.ts";
import { healthChecks } from "../../lib/checks/index.ts";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

describe("pgkeep health", () => {
  const server = useServer();
  const url = (database: string, login?: { user: string; password: string }) =>
    urlOf(server.target(database, login) as Parameters<typeof urlOf>[0]);

  it("works without the schema, and says what it could not see", async () => {
    const database = await server.createDatabase();
    const run = await runCli(["health", "--url", url(database)]);
    const all = healthChecks.length;
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toMatch(
      new RegExp(
        `^${database}: PostgreSQL 1\\d\\.\\d+, primary: nothing found; ${all - 5} of ${all} checks passed, 5 not assessable\n`,
      ),
    );
    expect(run.stdout).toContain(
      "  deadlocks: there is no earlier sample to compare with: the schema pgkeep is not installed here (`pgkeep install`)\n",
    );
    expect(run.stdout).toContain("Fine: connections, long-running-queries,");
  });

  it("compares with the last run of check-health where there is one, and writes nothing", async () => {
    const { database, config, names, as } = await installed(server);
    const login = { user: names.monitoring, password };
    await runJob(checkHealth, { ports: portsFor(server.target(database, login)), config });
    const state = () =>
      as(undefined, (session) =>
        session.query("select (select at from pgkeep.heartbeat), (select count(*) from pgkeep.job_run)"),
      );
    const before = await state();
    const run = await runCli(["health", "--json", "--url", url(database, login)]);
    expect(run.code).toBe(0);
    const report = JSON.parse(run.stdout) as HealthReport;
    expect(report.results.find(({ check }) => check === "deadlocks")).toMatchObject({ verdict: "pass" });
    expect(report.results.find(({ check }) => check === "heartbeat")).toMatchObject({ verdict: "pass" });
    expect(await state()).toEqual(before);
  });

  it("prints findings the worst first with what to do, and exits with 1 only when asked to", async () => {
    const name = `or"ders\n\u001b[31m`;
    const database = await server.createDatabase(name);
    const session = await server.connect(database);
    await session.query("select pg_create_physical_replication_slot('empty')");
    await session.query("select pg_create_physical_replication_slot('keeping', true)");
    await session.query(`alter database ${identifier(name)} connection limit 1`);
    const target = url(database);
    const run = await runCli(["health", "--url", target]);
    expect(run.code).toBe(0);
    const order = [...run.stdout.matchAll(/^(CRITICAL|HIGH|MEDIUM|LOW) (\S+):/gm)].map((match) => match[1]);
    expect(order).toEqual(["HIGH", "MEDIUM", "LOW"]);
    expect(run.stdout).toContain("    SELECT pg_drop_replication_slot('keeping');");
    // What a name contains reaches no terminal.
    expect(run.stdout).not.toContain("\u001b");
    expect(run.stdout).toContain('or"ders\\n\\u001b[31m: PostgreSQL');
    const codes = [];
    for (const severity of severities)
      codes.push((await runCli(["health", "--url", target, "--fail-on", severity])).code);
    expect(codes).toEqual([0, 1, 1, 1]);
    const json = await runCli(["health", "--url", target, "--fail-on", "high", "--json"]);
    expect(json.code).toBe(1);
    expect((JSON.parse(json.stdout) as HealthReport).summary).toMatchObject({
      worst: "high",
      findings: { critical: 0, high: 1, medium: 1, low: 1 },
    });
    await session.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots");
    await session.close();
  });

  it("is refused a severity that does not exist", async () => {
    const run = await runCli(["health", "--url", url("postgres"), "--fail-on", "sever\n"]);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain("give one of: critical, high, medium, low");
  });

  it("says with one message that a server cannot be reached, and exits with 3", async () => {
    const run = await runCli(["health", "--url", "postgres://a:secret@127.0.0.1:1/b"]);
    expect(run.code).toBe(3);
    expect(run.stdout).toBe("");
    expect(run.stderr).toMatch(/^pgkeep: cannot reach 127\.0\.0\.1:1\/b as a: .*\nWhat to do: /);
    expect(run.stderr).not.toContain("secret");
  });
});
