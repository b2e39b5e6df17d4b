import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { asCaller, type Caller } from "../../lib/aws/caller.ts";
import { deployedRuns } from "../../lib/aws/deployed-runs.ts";
import { jobResourceName } from "../../lib/aws/job-names.ts";
import { systemClock } from "../../lib/clock.ts";
import { PgkeepError } from "../../lib/errors.ts";
import { defineJob, done, type Job, type JobResult, step } from "../../lib/jobs/job.ts";
import { type DeployedRunOptions, runDeployed } from "../../lib/jobs/run-deployed.ts";
import type { Json } from "../../lib/json.ts";
import {
  type DeployedFunction,
  enterStateMachine,
  useCloudEndpoint,
  useOwnCredentials,
} from "../helpers/cloud-endpoint.ts";
import { noMoto, useMoto } from "../helpers/moto.ts";

const region = "eu-west-1";
const key = "shop";

const part = (name: string, always = false) =>
  step<Json, Json, never>(name, {
    where: "control-plane",
    needs: [],
    timeoutSeconds: 10,
    always,
    run: async () => done(null),
  });
const single = defineJob<Record<string, never>, Json>({
  name: "single",
  summary: "A job of one step",
  schedule: "0 * * * *",
  supportsDryRun: true,
  steps: [part("only")],
});
const several = defineJob<Json, Json, Json, Json>({
  name: "several",
  summary: "A job of three steps",
  schedule: "0 * * * *",
  lock: "when-possible",
  supportsDryRun: true,
  parseArguments: (value) => value as Json,
  steps: [part("first"), part("second"), part("tidy", true)],
});

const result = (job: string, more: Partial<JobResult> = {}): JobResult => ({
  job,
  runId: "20260102t030405z-1a2b3c",
  outcome: "succeeded",
  startedAt: "2026-01-02T03:04:05.678Z",
  seconds: 1.5,
  report: { fine: true },
  recorded: true,
  warnings: [],
  ...more,
});
const answers =
  (payload: unknown): DeployedFunction =>
  async () => ({ ok: true, payload });
const throws =
  (errorMessage: string, errorType = "PgkeepError"): DeployedFunction =>
  async () => ({ ok: false, errorType, errorMessage });
const throttles =
  (Reason: string): DeployedFunction =>
  async () => ({
    status: 429,
    error: "TooManyRequestsException",
    body: { Reason, Type: "User", message: "Rate Exceeded." },
  });

describe.skipIf(noMoto !== undefined)(`deployed jobs${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const cloud = useCloudEndpoint(() => moto.endpoint);
  const moto = useMoto({ ownEndpointPort: () => cloud.port });
  useOwnCredentials(() => cloud.endpoint, region);
  let caller: Caller;
  const progress: string[] = [];

  beforeAll(async () => {
    caller = await asCaller();
    await enterStateMachine(moto.endpoint, region, key, several);
  });
  afterAll(() => caller.close());
  beforeEach(() => {
    cloud.functions.clear();
    cloud.invocations.length = 0;
    cloud.refuse = undefined;
    progress.length = 0;
  });

  const run = (job: Job, options: Partial<DeployedRunOptions> = {}) =>
    runDeployed(job, {
      runs: deployedRuns(caller, key, { pauses: [5, 5] }),
      clock: systemClock,
      signal: new AbortController().signal,
      onProgress: (message) => void progress.push(message),
      pollMilliseconds: 50,
      ...options,
    });
  const deploy = (job: Job, functions: Record<string, DeployedFunction>) => {
    for (const [name, answer] of Object.entries(functions)) {
      cloud.functions.set(jobResourceName(key, job.name, job.steps.length === 1 ? undefined : name), answer);
    }
  };

  describe("of one step", () => {
    it("answer with the result of the run, failed ones too, and get what they were given", async () => {
      const failed = result("single", { outcome: "failed", reason: "no", report: { seen: 3 } });
      deploy(single, { only: answers(failed) });
      expect(await run(single, { dryRun: true, arguments: { tables: ["äöü"] } })).toEqual(failed);
      expect(cloud.invocations).toEqual([
        {
          name: "pgkeep-shop-single",
          event: { arguments: { tables: ["äöü"] }, dryRun: true, answerFailures: true },
        },
      ]);
    });

    it("are tried again while they are throttled", async () => {
      let calls = 0;
      deploy(single, {
        only: async (event) => {
          calls += 1;
          return calls < 3
            ? throttles("ConcurrentInvocationLimitExceeded")(event)
            : answers(result("single"))(event);
        },
      });
      expect(await run(single)).toMatchObject({ outcome: "succeeded" });
      expect(calls).toBe(3);
      expect(progress[0]).toBe("pgkeep-shop-single is busy; trying again in 1 s");
    });

    it("are skipped when the only execution that is allowed does not end", async () => {
      deploy(single, { only: throttles("ReservedFunctionConcurrentInvocationLimitExceeded") });
      expect(await run(single)).toMatchObject({
        job: "single",
        outcome: "skipped",
        report: { alreadyRunning: true },
        reason: "single is already running",
        recorded: false,
      });
      expect(cloud.invocations).toHaveLength(3);
    });

    it("are not called at all when the account is at its limit", async () => {
      deploy(single, { only: throttles("ConcurrentInvocationLimitExceeded") });
      await expect(run(single)).rejects.toMatchObject({
        code: "timeout",
        message: expect.stringContaining("could not call the function pgkeep-shop-single in eu-west-1"),
      });
    });

    it("are not called twice when AWS fails after it has taken the call", async () => {
      deploy(single, {
        only: async () => ({
          status: 500,
          error: "ServiceException",
          body: { message: "An error occurred" },
        }),
      });
      await expect(run(single)).rejects.toMatchObject({
        message: expect.stringContaining("ServiceException"),
      });
      expect(cloud.invocations).toHaveLength(1);
    });

    it.each([
      [
        throws("2026-01-02T03:04:05.678Z 0b1c Task timed out after 900.00 seconds", "Sandbox.Timedout"),
        "timeout",
      ],
      [
        throws("RequestId: 0b1c Error: Runtime exited with error: signal: killed", "Runtime.ExitError"),
        "internal",
      ],
    ])("that die are an error with the place of their log", async (dies, code) => {
      deploy(single, { only: dies });
      await expect(run(single)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(/^the function pgkeep-shop-single failed: (Sandbox|Runtime)\./),
        remedy: "read its log: `aws logs tail /aws/lambda/pgkeep-shop-single --since 15m`",
      });
    });

    it("of another version are told apart from a result", async () => {
      deploy(single, { only: answers({ kind: "done" }) });
      await expect(run(single)).rejects.toMatchObject({
        remedy: "deploy this version of pgkeep: `npx cdk deploy --all`",
      });
    });

    it("go on when the waiting is ended, and that is said", async () => {
      const ending = new AbortController();
      deploy(single, {
        only: async (event) => {
          ending.abort(new PgkeepError("deadline", "stopped by SIGINT"));
          await new Promise((resolve) => setTimeout(resolve, 300));
          return answers(result("single"))(event);
        },
      });
      await expect(run(single, { signal: ending.signal })).rejects.toMatchObject({
        code: "deadline",
        message: "stopped waiting, and the function pgkeep-shop-single goes on",
        remedy: expect.stringContaining("aws logs tail"),
      });
    });

    it("are not called any more when that happens before", async () => {
      const ending = new AbortController();
      deploy(single, { only: throttles("ConcurrentInvocationLimitExceeded") });
      const onProgress = () => ending.abort(new PgkeepError("deadline", "stopped by SIGINT"));
      await expect(run(single, { signal: ending.signal, onProgress })).rejects.toMatchObject({
        message: "stopped by SIGINT",
      });
      expect(cloud.invocations).toHaveLength(1);
    });

    it("that are not deployed are found nowhere", async () => {
      await expect(run(single)).rejects.toMatchObject({
        code: "not-found",
        message: "single of the database shop is not deployed in eu-west-1",
        remedy: expect.stringContaining("npx cdk deploy"),
      });
    });
  });

  describe("of several steps", () => {
    const output = (value: Json) => answers({ kind: "done", output: value });

    /** The first function is also the recorder: of a run that it is told about it answers with the result. */
    const recorder =
      (stepAnswer: DeployedFunction, recorded = true): DeployedFunction =>
      async (event) => {
        const { finish, claim } = event as {
          claim?: unknown;
          finish?: { report: Json; failure: { step: string; reason: string } | null };
        };
        if (claim !== undefined) return { ok: true, payload: { kind: "claimed" } };
        if (finish === undefined) return stepAnswer(event);
        if (!recorded) return { ok: false, errorType: "Error", errorMessage: "the recorder died" };
        const { failure, report } = finish;
        const payload = result("several", {
          report,
          outcome: failure === null ? "succeeded" : "failed",
          ...(failure === null ? {} : { reason: `${failure.step}: ${failure.reason}` }),
        });
        return { ok: true, payload };
      };

    it("end with what was recorded, and show the steps as they begin", async () => {
      deploy(several, {
        first: recorder(output({ found: 1 })),
        second: output({ copied: true }),
        tidy: output(null),
      });
      const given = { tables: ["shop.orders"] };
      expect(await run(several, { arguments: given, dryRun: true })).toEqual(
        result("several", { report: { copied: true } }),
      );
      expect(progress).toEqual([
        expect.stringMatching(
          /^started arn:aws:states:eu-west-1:123456789012:execution:pgkeep-shop-several:by-hand-\d{8}t\d{6}z-[0-9a-f]{12}$/,
        ),
        "several: first",
        "several: second",
        "several: tidy",
      ]);
      for (const { event } of cloud.invocations) {
        expect(event).toMatchObject({ trigger: { arguments: given, dryRun: true } });
      }
    });

    it("that failed by what the last step found keep its report", async () => {
      deploy(several, {
        first: recorder(output({ found: 1 })),
        second: answers({ kind: "failed", output: { damaged: ["orders"] }, reason: "orders is damaged" }),
        tidy: output(null),
      });
      expect(await run(several)).toEqual(
        result("several", {
          outcome: "failed",
          report: { damaged: ["orders"] },
          reason: "second: orders is damaged",
        }),
      );
    });

    it("that failed because a step threw say what it threw, in its own words", async () => {
      deploy(several, {
        first: recorder(output({ found: 1 })),
        second: throws('no "space" left\non device'),
        tidy: output(null),
      });
      expect(await run(several)).toEqual(
        result("several", {
          outcome: "failed",
          report: { found: 1 },
          reason: 'second: no "space" left\non device',
          error: { code: "internal", message: 'second: no "space" left\non device' },
        }),
      );
    });

    it("that nobody recorded still have a result", async () => {
      deploy(several, {
        first: recorder(output({ found: 1 }), false),
        second: output({ copied: true }),
        tidy: output(null),
      });
      const warnings = ["the end of the run was not recorded: its function failed"];
      expect(await run(several)).toMatchObject({
        job: "several",
        runId: expect.stringMatching(/^\d{8}t\d{6}z-[0-9a-f]{8}$/),
        outcome: "succeeded",
        report: { copied: true },
        recorded: false,
        warnings,
      });
      deploy(several, { second: throws("no space") });
      expect(await run(several)).toMatchObject({
        outcome: "failed",
        reason: "second: no space",
        report: { found: 1 },
        recorded: false,
        warnings,
      });
    });

    it("have a result even for whoever may not read the history", async () => {
      deploy(several, {
        first: recorder(output({ found: 1 })),
        second: throws("no space"),
        tidy: output(null),
      });
      cloud.refuse = (action) =>
        action === "GetExecutionHistory"
          ? { status: 400, error: "AccessDeniedException", body: { message: "not authorized" } }
          : undefined;
      expect(await run(several)).toMatchObject({
        outcome: "failed",
        reason: "no space",
        error: { message: "no space" },
        report: null,
      });
      expect(progress).toHaveLength(1);
    });

    it("go on when the watching is ended, and their ARN is said", async () => {
      const ending = new AbortController();
      deploy(several, {
        first: recorder(async (event) => {
          ending.abort(new PgkeepError("deadline", "stopped by SIGINT"));
          await new Promise((resolve) => setTimeout(resolve, 500));
          return output({ found: 1 })(event);
        }),
        second: output({ copied: true }),
        tidy: output(null),
      });
      await expect(run(several, { signal: ending.signal })).rejects.toMatchObject({
        code: "deadline",
        message: expect.stringMatching(/^stopped watching, and arn:aws:states:\S+:by-hand-\S+ goes on$/),
        remedy: expect.stringMatching(/aws stepfunctions describe-execution --execution-arn arn:aws:states:/),
      });
      await expect
        .poll(() => cloud.invocations.map(({ name }) => name), { timeout: 10_000 })
        .toContain("pgkeep-shop-several-tidy");
    });

    it("are not started when the signal came before", async () => {
      await expect(run(several, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no");
      expect(cloud.invocations).toEqual([]);
    });

    it("whose state machine is gone are not deployed", async () => {
      cloud.refuse = (action) =>
        action === "StartExecution"
          ? {
              status: 400,
              error: "StateMachineDoesNotExist",
              body: { message: "State Machine Does Not Exist" },
            }
          : undefined;
      await expect(run(several)).rejects.toMatchObject({
        code: "not-found",
        message: "several of the database shop is not deployed in eu-west-1",
      });
    });
  });
});
