import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { suppressionsFile } from "../../lib/aws/resources.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import type { Suppression } from "../../lib/config/suppressions.ts";
import { bundleStep } from "../../lib/constructs/bundle.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { jobNamed } from "../../lib/jobs/index.ts";
import type { AnyStep } from "../../lib/jobs/job.ts";
import { type Authority, makeAuthority } from "../helpers/certificates.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources, switchTlsOn } from "../helpers/function-setting.ts";
import { bundleDirectory, type RunningFunction, startFunction, whyNoLambda } from "../helpers/lambda.ts";
import { useServer } from "../helpers/postgres.ts";

if (whyNoLambda !== undefined) process.stderr.write(`functions are not run: ${whyNoLambda}\n`);

describe.skipIf(whyNoLambda !== undefined)(
  `a database step on Lambda's own Node${whyNoLambda === undefined ? "" : ` (skipped: ${whyNoLambda})`}`,
  () => {
    const server = useServer();
    let directory: Awaited<ReturnType<typeof bundleDirectory>>;
    let database: string;
    let authority: Authority;
    const running: RunningFunction[] = [];

    beforeAll(async () => {
      directory = await bundleDirectory();
      authority = await makeAuthority(directory.path, "authority");
      database = await server.createDatabase();
      const master = await server.createMaster(database);
      const session = await server.connect(database, master);
      await applyInstall(session, configFor(database));
      await session.close();
      await switchTlsOn(server, authority, "localhost");
    });
    afterEach(async () => {
      await Promise.all(running.splice(0).map((started) => started.stop()));
    });
    afterAll(() => directory.remove());

    const resources = (port = server.port) => functionResources(database, { port });

    /** The bundle as it is deployed, but for the authorities that it trusts. */
    async function start(
      jobName: string,
      where = resources(),
      trusted = authority,
      { suppressions, ...sections }: { suppressions?: Suppression[]; review?: object } = {},
    ): Promise<RunningFunction> {
      const job = jobNamed(jobName);
      const step = job.steps.find((candidate) => candidate.where === "database") as AnyStep;
      const original = join(directory.path, `${jobName}-${step.name}`);
      const beside = suppressions === undefined ? {} : { [suppressionsFile]: JSON.stringify(suppressions) };
      bundleStep(job, step, original, beside);
      const copy = join(directory.path, `function-${running.length}`);
      await cp(original, copy, { recursive: true });
      await writeFile(join(copy, "certificates", "rds-global-bundle.pem"), trusted.certificate);
      const started = await startFunction(copy, {
        PGKEEP_RESOURCES: JSON.stringify(where),
        PGKEEP_CONFIG: beyondDefaults(configFor(database, sections)),
      });
      running.push(started);
      await started.ready;
      return started;
    }

    async function rows<Row>(sql: string): Promise<Row[]> {
      const session = await server.connect(database);
      try {
        return await session.query<Row>(sql);
      } finally {
        await session.close();
      }
    }

    it("answers an event with the report of the run, and records it", async () => {
      const lambda = await start("check-health");
      const answer = await lambda.invoke({});
      expect(answer).toMatchObject({
        ok: true,
        payload: {
          job: "check-health",
          outcome: "succeeded",
          recorded: true,
          warnings: [],
          report: { database, heartbeat: { written: true } },
        },
      });
      const { runId } = (answer as { payload: { runId: string } }).payload;
      expect(await rows(`select outcome from pgkeep.job_run where id = '${runId}'`)).toEqual([
        { outcome: "succeeded" },
      ]);
    });

    it("was encrypted, and measured itself in the log", async () => {
      const lambda = await start("check-health");
      await lambda.invoke({});
      const documents = lambda
        .log()
        .split("\n")
        .filter((line) => line.includes('"_aws"'))
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(Object.assign({}, ...documents)).toMatchObject({ Up: 1, JobSucceeded: 1, JobFailed: 0 });
      for (const document of documents) expect(document.Database).toBe("test");
    });

    it("stays warm: the second event is answered by the same process", async () => {
      const lambda = await start("check-health");
      const first = await lambda.invoke({});
      const second = await lambda.invoke(null);
      expect([first.ok, second.ok]).toEqual([true, true]);
    });

    it("refuses a server whose certificate another authority has signed, and throws", async () => {
      const stranger = await makeAuthority(directory.path, "stranger");
      const lambda = await start("check-health", resources(), stranger);
      const answer = await lambda.invoke({});
      expect(answer).toMatchObject({ ok: false, errorType: "JobFailed" });
      expect((answer as { errorMessage: string }).errorMessage).toMatch(/certificate/);
      expect(lambda.log()).toMatch(/"Up":0/);
    });

    it("refuses a server with a good certificate for another name", async () => {
      await switchTlsOn(server, authority, "elsewhere.example.com");
      try {
        const lambda = await start("check-health");
        const answer = await lambda.invoke({});
        expect(answer).toMatchObject({ ok: false, errorType: "JobFailed" });
        expect((answer as { errorMessage: string }).errorMessage).toMatch(/localhost/);
      } finally {
        await switchTlsOn(server, authority, "localhost");
      }
    });

    it("never logs a key or a token", async () => {
      const lambda = await start("check-health", resources(1));
      expect(await lambda.invoke({})).toMatchObject({ ok: false, errorType: "JobFailed" });
      expect(lambda.log()).toMatch(/check-health failed/);
      expect(lambda.log()).not.toMatch(/secret-key-of-the-test|session-token-of-the-test|X-Amz-Signature/);
    });

    it("stops before its time is over, and says so", async () => {
      const blocker = await server.connect(database);
      await blocker.query("begin");
      await blocker.query("lock table pgkeep.heartbeat in access exclusive mode");
      try {
        const lambda = await start("check-health");
        const answer = await lambda.invoke({}, { timeoutSeconds: 2 });
        expect(answer.ok).toBe(false);
        expect(lambda.log()).toMatch(/JobFailed":1/);
      } finally {
        await blocker.query("rollback");
        await blocker.close();
      }
    });

    it("reviews with the suppressions that are beside its code, and not without those that are configured", async () => {
      const session = await server.connect(database);
      await session.query("create table public.twice (note int)");
      await session.query("create index one on public.twice (note)");
      await session.query("create index two on public.twice (note)");
      await session.close();
      const review = { suppressions: "accepted.yaml" };
      const without = await start("review-database", resources(), authority, { review });
      const refused = await without.invoke({});
      expect(refused).toMatchObject({ ok: false, errorType: "JobFailed" });
      expect((refused as { errorMessage: string }).errorMessage).toContain(
        "accepted.yaml (review.suppressions) did not come",
      );
      const known = { key: "duplicate-indexes/public.*", reason: "known", expires: "2999-12-31" };
      const over = { ...known, key: "duplicate-indexes/*", expires: "2026-01-31" };
      const lambda = await start("review-database", resources(), authority, {
        review,
        suppressions: [known, over],
      });
      const answer = await lambda.invoke({}, { timeoutSeconds: 60 });
      expect(answer).toMatchObject({
        ok: true,
        payload: {
          outcome: "succeeded",
          report: {
            suppressions: { used: [{ ...known, findings: 1 }], expired: [{ ...over, findings: 1 }] },
          },
        },
      });
      const { report } = (answer as { payload: { report: { findings: { key: string }[] } } }).payload;
      expect(report.findings.filter(({ key }) => key.startsWith("duplicate-indexes/"))).toEqual([]);
    });

    describe("of a job with several steps", () => {
      const execution = { id: "0b1c-a-name-of-an-execution", startedAt: new Date().toISOString() };
      const trigger = {};

      it("answers its state machine with the step's result", async () => {
        const lambda = await start("route-replicas");
        const event = { run: execution, trigger, input: null, resume: null, failure: null };
        expect(await lambda.invoke(event)).toMatchObject({
          ok: true,
          payload: { kind: "done", output: { primary: { answered: true }, replicas: [] } },
        });
        const recorded = await rows<{ id: string }>(
          "select id from pgkeep.job_run where job = 'route-replicas' and outcome = 'running'",
        );
        expect(recorded).toHaveLength(1);
      });

      it("records the end of the run when the state machine says how it went", async () => {
        const lambda = await start("route-replicas");
        const finish = { report: { published: true }, failure: null };
        expect(await lambda.invoke({ run: execution, trigger, finish })).toMatchObject({
          ok: true,
          payload: { outcome: "succeeded", recorded: true },
        });
        expect(await rows("select outcome, report from pgkeep.job_run where job = 'route-replicas'")).toEqual(
          [{ outcome: "succeeded", report: { published: true } }],
        );
        expect(lambda.log()).toMatch(/"JobSucceeded":1/);
      });

      it("does not run on its own", async () => {
        const lambda = await start("route-replicas");
        expect(await lambda.invoke({})).toMatchObject({
          ok: false,
          errorMessage: "route-replicas has several steps; its state machine runs them",
        });
      });
    });
  },
);
