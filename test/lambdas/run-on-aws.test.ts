import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobResourceName } from "../../lib/aws/job-names.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { bundleStep } from "../../lib/constructs/bundle.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import type { AnyStep, Job, JobResult } from "../../lib/jobs/job.ts";
import { routeReplicas } from "../../lib/jobs/route-replicas.ts";
import { makeAuthority } from "../helpers/certificates.ts";
import { type CliRun, runCli } from "../helpers/cli.ts";
import {
  enterFunction,
  enterStateMachine,
  useCloudEndpoint,
  useOwnCredentials,
} from "../helpers/cloud-endpoint.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources, switchTlsOn } from "../helpers/function-setting.ts";
import { bundleDirectory, type RunningFunction, startFunction, whyNoLambda } from "../helpers/lambda.ts";
import { noMoto, useMoto } from "../helpers/moto.ts";
import { useServer } from "../helpers/postgres.ts";

const obstacle = whyNoLambda ?? noMoto;
const region = "eu-central-1";
const key = "test";

/**
 * The whole way: the command line, Step Functions' wire protocol and an interpreter of the state machine that is
 * deployed, Lambda's Invoke, the bundled functions on Lambda's own Node, PostgreSQL with TLS, and SSM.
 */
describe.skipIf(obstacle !== undefined)(`pgkeep run --on aws${obstacle ? ` (${obstacle})` : ""}`, () => {
  const server = useServer();
  const cloud = useCloudEndpoint(() => moto.endpoint);
  const moto = useMoto({ ownEndpointPort: () => cloud.port });
  useOwnCredentials(() => cloud.endpoint, region);
  const running: RunningFunction[] = [];
  let directory: Awaited<ReturnType<typeof bundleDirectory>>;
  let database: string;

  beforeAll(async () => {
    directory = await bundleDirectory();
    await writeFile(join(directory.path, "pgkeep.yaml"), "databases:\n  test: {}\n");
    database = await server.createDatabase();
    const session = await server.connect(database, await server.createMaster(database));
    await applyInstall(session, configFor(database));
    await session.close();
    const authority = await makeAuthority(directory.path, "authority");
    await switchTlsOn(server, authority, "localhost");
    const variables = {
      PGKEEP_RESOURCES: JSON.stringify(functionResources(database, { port: server.port })),
      PGKEEP_CONFIG: beyondDefaults(configFor(database)),
    };
    const deploy = async (job: Job, step: AnyStep) => {
      const name = jobResourceName(key, job.name, job.steps.length === 1 ? undefined : step.name);
      const bundle = join(directory.path, name);
      bundleStep(job, step, `${bundle}.original`);
      await cp(`${bundle}.original`, bundle, { recursive: true });
      if (step.where === "database") {
        await writeFile(join(bundle, "certificates", "rds-global-bundle.pem"), authority.certificate);
      }
      const started = await startFunction(bundle, { ...variables, AWS_ENDPOINT_URL: cloud.endpoint });
      running.push(started);
      cloud.functions.set(name, (event) => started.invoke(event));
    };
    for (const job of [checkHealth, routeReplicas]) for (const step of job.steps) await deploy(job, step);
    await enterFunction(moto.endpoint, region, jobResourceName(key, "back-up", "copy"), variables);
    await enterStateMachine(moto.endpoint, region, key, routeReplicas);
  }, 120_000);
  afterAll(async () => {
    await Promise.all(running.map((started) => started.stop()));
    await directory.remove();
  });

  const onAws = (...args: string[]): Promise<CliRun> =>
    runCli([...args, "--on", "aws", "--json"], { workingDirectory: directory.path });
  const recorded = async (runId: string) => {
    const session = await server.connect(database);
    try {
      return await session.query("select job, outcome from pgkeep.job_run where id = $1", [runId]);
    } finally {
      await session.close();
    }
  };

  it("runs a job of one step in its function, and prints its result", async () => {
    const run = await onAws("run", "check-health");
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const result = JSON.parse(run.stdout) as JobResult;
    expect(result).toMatchObject({
      job: "check-health",
      outcome: "succeeded",
      recorded: true,
      warnings: [],
      report: { database, heartbeat: { written: true } },
    });
    expect(await recorded(result.runId)).toEqual([{ job: "check-health", outcome: "succeeded" }]);
  });

  it("brings the dry run there", async () => {
    const run = await onAws("run", "check-health", "--dry-run");
    const result = JSON.parse(run.stdout) as JobResult;
    expect(result).toMatchObject({
      outcome: "succeeded",
      recorded: false,
      report: { heartbeat: { written: false, because: "this is a dry run" } },
    });
    expect(await recorded(result.runId)).toEqual([]);
  });

  it("prints the report of a run that failed, too", async () => {
    const blocker = await server.connect(database);
    await blocker.query("update pg_database set datallowconn = false where datname = $1", [database]);
    try {
      const run = await onAws("run", "check-health");
      expect(run.code).toBe(3);
      expect(JSON.parse(run.stdout)).toMatchObject({
        job: "check-health",
        outcome: "failed",
        reason: expect.stringContaining("not currently accepting connections"),
        error: { message: expect.any(String) },
      });
    } finally {
      await blocker.query("update pg_database set datallowconn = true where datname = $1", [database]);
      await blocker.close();
    }
  });

  it("runs a job of several steps in its state machine; what it published can be shown", async () => {
    const run = await onAws("run", "route-replicas");
    expect(run).toMatchObject({ code: 0 });
    const result = JSON.parse(run.stdout) as JobResult;
    expect(result).toMatchObject({
      job: "route-replicas",
      outcome: "succeeded",
      report: { published: true },
    });
    expect(result.recorded).toBe(true);
    expect(await recorded(result.runId)).toEqual([{ job: "route-replicas", outcome: "succeeded" }]);
    expect(run.stderr).toMatch(/^started arn:\S+\nroute-replicas: probe\nroute-replicas: publish\n$/);
    const shown = await onAws("routing", "show");
    expect(shown).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(shown.stdout)).toMatchObject({ version: 1, database: key, stale: false });
  });
});
