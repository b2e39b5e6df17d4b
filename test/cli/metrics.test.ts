import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { describe, expect, it } from "vitest";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";

describe.each(allMajors)("pgkeep metrics of PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("can be parsed as Prometheus would, with hostile names whole", async () => {
    const database = await server.createDatabase(`sh"op\\\n{x="1"}`);
    const session = await server.connect(database);
    await session.query("select pg_create_physical_replication_slot('here', true)");
    await session.query(`create role ${identifier('a"b')} connection limit 5 login`);
    const run = await runCli([
      "metrics",
      "--url",
      urlOf(server.target(database) as Parameters<typeof urlOf>[0]),
    ]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const families = parsePrometheusTextFormat(run.stdout);
    const value = (name: string, labels: Record<string, string> = {}) =>
      families
        .find((family) => family.name === name)
        ?.metrics.find((one) => JSON.stringify(one.labels) === JSON.stringify({ database, ...labels }))
        ?.value;
    expect(value("pgkeep_up")).toBe("1");
    expect(Number(value("pgkeep_connections_used"))).toBeGreaterThanOrEqual(2);
    expect(value("pgkeep_connections_by_state", { state: "active" })).toBe("1");
    expect(Number(value("pgkeep_connections_used_ratio"))).toBeLessThan(0.1);
    expect(Number(value("pgkeep_database_size_bytes"))).toBeGreaterThan(1_000_000);
    expect(value("pgkeep_replication_slot_retained_bytes", { slot: "here" })).toBeDefined();
    expect(value("pgkeep_deadlocks_total")).toBe("0");
    for (const family of families) {
      expect(family.help).not.toBe("");
      expect(family.type).toBe(family.name.endsWith("_total") ? "COUNTER" : "GAUGE");
      for (const { labels } of family.metrics) expect(labels?.database).toBe(database);
    }
    // Running totals need no earlier sample, so they are there at once.
    expect(families.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        "pgkeep_transactions_committed_total",
        "pgkeep_temporary_bytes_total",
        "pgkeep_checkpoints_timed_total",
      ]),
    );
    await session.query("select pg_drop_replication_slot('here')");
    await session.close();
  });
});

describe("pgkeep metrics", () => {
  it("is still a valid text when the database is down: pgkeep_up 0, exit code 3", async () => {
    const run = await runCli(["metrics", "--url", "postgres://a:secret@127.0.0.1:1/b"]);
    expect(run.code).toBe(3);
    expect(parsePrometheusTextFormat(run.stdout)).toMatchObject([
      { name: "pgkeep_up", type: "GAUGE", metrics: [{ labels: { database: "b" }, value: "0" }] },
    ]);
    expect(run.stderr).toContain("pgkeep: cannot reach 127.0.0.1:1/b as a");
    expect(run.stdout + run.stderr).not.toContain("secret");
  });
});
