import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CloudWatchClient, PutMetricDataCommand } from "@aws-sdk/client-cloudwatch";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PoolersReport, ProxyReport } from "../../lib/cli/pools.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { findPgbouncer, noPgbouncer } from "../../lib/sandbox/pooler.ts";
import { type RunningSandbox, startSandbox } from "../../lib/sandbox/sandbox.ts";
import type { PoolerState } from "../../lib/sandbox/state.ts";
import { runCli } from "../helpers/cli.ts";
import { useOwnCredentials } from "../helpers/cloud-endpoint.ts";
import { configFor } from "../helpers/config.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { defaultMajor } from "../helpers/postgres.ts";

const pgbouncer = await findPgbouncer();

const directory = mkdtempSync(join(tmpdir(), "pgkeep-pools-"));
const file = join(directory, "pgkeep.yaml");
writeFileSync(
  file,
  "databases:\n  shop:\n    health:\n      idleInTransactionSeconds: 1\n    pooling:\n      poolSize: 3\n      reservePoolSize: 1\n",
);
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const pools = (args: string[], surroundings = {}) =>
  runCli(["pools", "--config", file, ...args], { homeDirectory: directory, ...surroundings });

describe("pgkeep pools", () => {
  it.each([
    [["--url", "postgres://127.0.0.1:1/shop"], 2, "--url is a database's address, not a pooler's"],
    [["--pooler", "postgres://u:hidden@127.0.0.1:1/shop"], 2, 'names the database "shop"'],
    [["--pooler", "http://u:hidden@127.0.0.1:1"], 2, "does not begin with postgres://"],
    [["--on", "aws", "--pooler", "postgres://u@127.0.0.1:1"], 2, "--on aws and --pooler name two targets"],
    [["--on", "aws", "--url", "postgres://u@127.0.0.1:1/shop"], 2, "--on aws and --url name two targets"],
    [["--pooler", "postgres://u:hidden@127.0.0.1:1"], 3, "cannot reach 127.0.0.1:1 as u"],
    [["--fail-on", "worst", "--pooler", "postgres://u@127.0.0.1:1"], 2, "is not a severity"],
    [[], 3, "no pooler was given, and no sandbox is running"],
  ])("says what is wrong with %j", async (args, code, message) => {
    const run = await pools(args);
    expect(run.code).toBe(code);
    expect(run.stderr).toContain(message);
    expect(run.stdout + run.stderr).not.toContain("hidden");
  });

  it("does not take the database of DATABASE_URL for a pooler", async () => {
    const run = await pools([], { databaseUrl: "postgres://127.0.0.1:1/shop" });
    expect(run.stderr).toContain("no pooler was given");
  });
});

describe.skipIf(pgbouncer === null)(
  `pgkeep pools, of a sandbox${pgbouncer === null ? ` (skipped: ${noPgbouncer})` : ""}`,
  () => {
    let sandbox: RunningSandbox;
    beforeAll(async () => {
      sandbox = await startSandbox({
        config: { ...configFor("shop", { pooling: { poolSize: 3, reservePoolSize: 1 } }), key: "shop" },
        configFile: file,
        homeDirectory: directory,
        replicas: 1,
        postgresMajor: defaultMajor,
        workloadRatePerSecond: 1,
        signal: new AbortController().signal,
      });
      await sandbox.stopWorkload();
    }, 120_000);
    afterAll(() => sandbox?.stop());

    const poolerNamed = (name: string): PoolerState => {
      const found = sandbox.state.poolers?.find((pooler) => pooler.name === name);
      if (found === undefined) throw new Error(`no pooler ${name}`);
      return found;
    };
    const writer = () =>
      connect(
        {
          host: "127.0.0.1",
          port: poolerNamed("primary").port,
          database: sandbox.state.database,
          ...sandbox.state.application.writer,
          applicationName: "checkout",
        },
        { pooled: true },
      );

    it("asks each pooler, and says what the one that holds a connection did last", async () => {
      const client = await writer();
      try {
        await client.query("begin");
        await client.query("select 'card 4111'");
        await delay(2_200);
        const run = await pools(["--json", "--fail-on", "medium"]);
        expect(run).toMatchObject({ code: 1, stderr: "" });
        const report = JSON.parse(run.stdout) as PoolersReport;
        expect(report.poolers.map(({ name }) => name)).toEqual(["primary", "replica-1"]);
        expect(report.poolers[0]).toMatchObject({
          version: pgbouncer?.version,
          holders: [{ application: "checkout", state: "idle", statement: "select ?" }],
          findings: [{ kind: "held", severity: "medium", evidence: { statement: "select ?" } }],
        });
        const text = await pools(["--fail-on", "high"]);
        expect(text.code).toBe(0);
        expect(text.stdout).toContain("MEDIUM held:");
        expect(text.stdout).toMatch(/checkout +\S+ +\S+ +idle in transaction +\d/);
        for (const output of [run.stdout, text.stdout]) {
          expect(output).not.toContain("4111");
          expect(output).not.toContain(poolerNamed("primary").statsLogin?.password ?? "");
        }
      } finally {
        await client.close();
      }
    });

    it("looks statements up in the database that --url names, and nowhere without it", async () => {
      const client = await writer();
      try {
        await client.query("begin");
        const { port, statsLogin } = poolerNamed("primary");
        const pooler = `postgres://${statsLogin?.user}:${statsLogin?.password}@127.0.0.1:${port}`;
        const { user, password } = sandbox.state.roles.monitoring;
        const at = (server: { port: number }) =>
          `postgres://${user}:${password}@127.0.0.1:${server.port}/${sandbox.state.database}`;
        const statement = async (args: string[]) => {
          const run = await pools(["--json", "--pooler", pooler, ...args]);
          const [report] = (JSON.parse(run.stdout) as PoolersReport).poolers;
          return report !== undefined && "holders" in report ? report.holders[0]?.statement : "no report";
        };
        expect(await statement(["--url", at(sandbox.state.primary)])).toBe("begin");
        expect(await statement(["--url", at(sandbox.state.replicas[0] as { port: number })])).toBeUndefined();
        expect(await statement([])).toBeUndefined();
        // The pools are the question: a database that does not answer keeps none of them away.
        expect(await statement(["--url", "postgres://u@127.0.0.1:1/shop"])).toBeUndefined();
      } finally {
        await client.close();
      }
    });

    it("exits with 3 when one pooler is dead, and still shows the other", async () => {
      await sandbox.applyFault("crash-pooler", false);
      const run = await pools([]);
      expect(run.code).toBe(3);
      expect(run.stderr).toMatch(/^pgkeep: replica-1: cannot reach 127\.0\.0\.1:\d+ as pgkeep_stats: /);
      expect(run.stdout).toMatch(/^primary \(127\.0\.0\.1:\d+\): PgBouncer /);
      expect(run.stdout).toContain("replica-1 (127.0.0.1:");
      await sandbox.applyFault("crash-pooler", true);
      expect(await pools([])).toMatchObject({ code: 0, stderr: "" });
    });
  },
);

describe.skipIf(noMoto !== undefined)(
  `pgkeep pools --on aws${noMoto === undefined ? "" : ` (${noMoto})`}`,
  () => {
    const moto = useMoto();
    useOwnCredentials(() => moto.endpoint, "eu-west-1");

    it("shows the proxy's metrics and what they mean", async () => {
      expect(await pools(["--on", "aws"])).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("CloudWatch has no measurements of the proxy of shop"),
      });
      const client = new CloudWatchClient({
        region: "eu-west-1",
        endpoint: moto.endpoint,
        credentials: motoCredentials,
      });
      const values = {
        ClientConnections: 40,
        DatabaseConnections: 10,
        DatabaseConnectionsCurrentlyBorrowed: 10,
        MaxDatabaseConnectionsAllowed: 10,
        DatabaseConnectionsBorrowLatency: 250_000,
      };
      await client.send(
        new PutMetricDataCommand({
          Namespace: "AWS/RDS",
          MetricData: Object.entries(values).map(([MetricName, Value]) => ({
            MetricName,
            Value,
            Timestamp: new Date(Date.now() - 120_000),
            Dimensions: [{ Name: "ProxyName", Value: "pgkeep-shop" }],
          })),
        }),
      );
      client.destroy();
      const json = await pools(["--on", "aws", "--json", "--fail-on", "critical"]);
      expect(json).toMatchObject({ code: 1 });
      expect(JSON.parse(json.stdout) as ProxyReport).toMatchObject({
        proxy: "pgkeep-shop",
        region: "eu-west-1",
        latest: { clientConnections: 40, borrowLatencySeconds: 0.25, availabilityPercent: null },
        findings: [{ kind: "pool-saturated", severity: "critical" }],
      });
      const text = await pools(["--on", "aws"]);
      expect(text.code).toBe(0);
      expect(text.stdout).toContain("CRITICAL pool-saturated: 10 of the 10 database connections");
      expect(text.stdout).toMatch(/^wait for a connection, mean +250 ms +250 ms$/m);
      expect(text.stdout).toMatch(/^writer available +\? +\?$/m);
    });

    it("refuses where no proxy is configured", async () => {
      const other = join(directory, "unpooled.yaml");
      writeFileSync(other, "databases:\n  shop:\n    pooling:\n      enabled: false\n");
      const run = await runCli(["pools", "--config", other, "--on", "aws"]);
      expect(run).toMatchObject({ code: 3, stderr: expect.stringContaining("has no pooling proxy") });
    });
  },
);
