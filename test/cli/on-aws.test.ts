import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AddTagsToResourceCommand, CreateDBSnapshotCommand } from "@aws-sdk/client-rds";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { type AwsClients, awsClients } from "../../lib/aws/clients.ts";
import { jobResourceName } from "../../lib/aws/job-names.ts";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import { ssmRouting } from "../../lib/aws/routing.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { toldResources } from "../../lib/constructs/function-environment.ts";
import { backUp } from "../../lib/jobs/back-up.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import type { Status } from "../../lib/status/status.ts";
import { platform } from "../aws/platform.ts";
import { type CliRun, runCli } from "../helpers/cli.ts";
import {
  enterFunction,
  enterStateMachine,
  type Refusal,
  useCloudEndpoint,
  useOwnCredentials,
} from "../helpers/cloud-endpoint.ts";
import { configFor } from "../helpers/config.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { makePlatform } from "../helpers/moto-rds.ts";
import { routingDocument } from "../ports/routing.contract.ts";

const region = "eu-west-1";
const key = "shop";
const checkHealth = jobResourceName(key, "check-health");
/** Whose configuration says what is deployed. */
const informed = jobResourceName(key, "back-up", "copy");

const result = (job: string, more: Partial<JobResult> = {}): JobResult => ({
  job,
  runId: "20260102t030405z-1a2b3c",
  outcome: "succeeded",
  startedAt: "2026-01-02T03:04:05.678Z",
  seconds: 1.5,
  report: {},
  recorded: true,
  warnings: [],
  ...more,
});

describe("--on aws", () => {
  it.each([
    [["run", "check-health", "--on", "aws", "--url", "postgres://localhost/shop"], "--url"],
    [["routing", "show", "--on", "aws", "--replica", "postgres://localhost/shop"], "--replica"],
    [["backup", "list", "--on", "aws", "--url", "postgres://localhost/shop"], "--url"],
  ])("is another target than %j names", async (args, option) => {
    expect(await runCli(args)).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining(`--on aws and ${option} name two targets`),
    });
  });

  it("is the only place there is, and no command takes it that cannot work there", async () => {
    const elsewhere = await runCli(["run", "check-health", "--on", "moon"]);
    expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringContaining("Allowed choices are aws") });
    for (const command of [["health"], ["metrics"], ["backup", "prune"], ["install"]]) {
      const run = await runCli([...command, "--on", "aws"]);
      expect(run).toMatchObject({ code: 2, stderr: expect.stringContaining("unknown option '--on'") });
    }
  });
});

describe.skipIf(noMoto !== undefined)(`on AWS${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const cloud = useCloudEndpoint(() => moto.endpoint);
  const moto = useMoto({ ownEndpointPort: () => cloud.port });
  useOwnCredentials(() => cloud.endpoint, region);
  let clients: AwsClients;
  let resources: PlatformResources;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-on-aws-"));
    await writeFile(join(directory, "pgkeep.yaml"), "databases:\n  shop:\n    database:\n      name: shop\n");
    clients = awsClients({ region, endpoint: moto.endpoint, credentials: motoCredentials });
    resources = await makePlatform(moto.endpoint, clients.rds(), platform());
    // Keeps one daily backup and nothing else, which is not what the file says.
    const deployed = {
      ...configFor("shop", { backups: { keepDaily: 1, keepWeekly: 0, keepMonthly: 0 } }),
      key,
    };
    const copy = backUp.steps.find(({ name }) => name === "copy");
    await enterFunction(moto.endpoint, region, informed, {
      PGKEEP_RESOURCES: JSON.stringify(toldResources(resources, copy?.needs ?? [])),
      PGKEEP_CONFIG: beyondDefaults(deployed),
    });
    await enterStateMachine(moto.endpoint, region, key, backUp);
  });
  afterAll(async () => {
    clients.close();
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(() => {
    cloud.functions.clear();
    cloud.invocations.length = 0;
    cloud.refuse = undefined;
  });

  const onAws = (args: string[], surroundings = {}): Promise<CliRun> =>
    runCli([...args, "--on", "aws"], { workingDirectory: directory, ...surroundings });

  describe("pgkeep run", () => {
    it("prints what the function answered, as a local run would", async () => {
      const answered = result("check-health", { outcome: "skipped", reason: "already running" });
      cloud.functions.set(checkHealth, async () => ({ ok: true, payload: answered }));
      const asJson = await onAws(["run", "check-health", "--json"]);
      expect(asJson).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(asJson.stdout)).toEqual(answered);
      expect(await onAws(["run", "check-health"])).toEqual({
        code: 0,
        stdout: "check-health: skipped in 1.5 s\n  already running\n",
        stderr: "",
      });
    });

    it("ends with 3 for a run that failed, with the reason and what was reported", async () => {
      const report = { omitted: "the report is too large to pass on", bytes: 300_000 };
      const failed = result("check-health", { outcome: "failed", reason: "nothing assessed", report });
      cloud.functions.set(checkHealth, async () => ({ ok: true, payload: failed }));
      const run = await onAws(["run", "check-health"]);
      expect(run).toMatchObject({ code: 3, stderr: "" });
      expect(run.stdout).toMatch(
        /^check-health: failed in 1.5 s\n {2}nothing assessed\n[\s\S]*too large to pass on/,
      );
    });

    it("gives arguments and dry run to the deployed job, and does not ask DATABASE_URL's server", async () => {
      const name = jobResourceName(key, "vacuum");
      cloud.functions.set(name, async () => ({
        ok: true,
        payload: result("vacuum", { outcome: "skipped" }),
      }));
      const args = ["run", "vacuum", "--dry-run", "--arguments", '{"tables":["shop.orders"]}'];
      const run = await onAws(args, { databaseUrl: "postgres://127.0.0.1:1/nowhere" });
      expect(run.code).toBe(0);
      const event = { arguments: { tables: ["shop.orders"] }, dryRun: true, answerFailures: true };
      expect(cloud.invocations).toEqual([{ name, event }]);
    });

    it.each([
      [["run", "no-such-job"], "there is no job named"],
      [["run", "check-health", "--arguments", "{"], "--arguments is not JSON"],
      [["run", "back-up", "--arguments", '{"prune":"maybe"}'], "arguments of back-up"],
      [["run", "check-health", "--database", "other"], "no database"],
    ])("calls nothing for %j", async (args, message) => {
      expect(await onAws(args)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
      expect(cloud.invocations).toEqual([]);
    });

    it("watches the state machine of a job of several steps, on standard error", async () => {
      const report = { backup: "pgkeep-shop-20260102" };
      for (const { name } of backUp.steps) {
        cloud.functions.set(jobResourceName(key, "back-up", name), async (event) => {
          const { claim, finish } = event as { claim?: unknown; finish?: unknown };
          if (claim !== undefined) return { ok: true, payload: { kind: "claimed" } };
          if (finish === undefined) return { ok: true, payload: { kind: "done", output: report } };
          return { ok: true, payload: result("back-up", { report }) };
        });
      }
      const run = await onAws(["backup", "create", "--dry-run", "--json"]);
      expect(run.code).toBe(0);
      expect(JSON.parse(run.stdout)).toEqual(result("back-up", { report }));
      expect(run.stderr).toMatch(
        /^started arn:aws:states:\S+:pgkeep-shop-back-up:by-hand-\S+\nback-up: describe\nback-up: copy\nback-up: prune\n$/,
      );
      expect(cloud.invocations[0]?.event).toMatchObject({
        trigger: { arguments: { requested: true, prune: false }, dryRun: true },
      });
    });
  });

  describe("pgkeep routing show", () => {
    it("says how the first document comes about, then shows what is published", async () => {
      expect(await onAws(["routing", "show"])).toMatchObject({
        code: 3,
        stderr:
          "pgkeep: no routing document has been published for shop in eu-west-1 of account 123456789012\n" +
          "What to do: run `pgkeep run route-replicas --on aws` to publish the first one\n",
      });
      const document = routingDocument(1);
      await ssmRouting(clients, resources).publish(document, undefined);
      const shown = await onAws(["routing", "show", "--json"]);
      expect(shown).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(shown.stdout)).toMatchObject({ ...document, stale: true });
      expect((await onAws(["routing", "show"])).stdout).toContain("route-replicas is not running");
    });
  });

  describe("pgkeep status", () => {
    it("knows routing and backups, and says where the rest is to be seen", async () => {
      const shown = await onAws(["status", "--json"]);
      expect(shown).toMatchObject({ code: 0, stderr: "" });
      const { parts } = JSON.parse(shown.stdout) as Status;
      const states = Object.entries(parts).map(([name, { state }]) => [name, state]);
      expect(Object.fromEntries(states)).toMatchObject({
        health: "absent",
        alarms: "absent",
        routing: "known",
        backups: "known",
        jobs: "absent",
        sizes: "absent",
      });
      expect(parts.alarms).toMatchObject({ reason: expect.stringContaining("dashboard pgkeep-shop") });
      expect((await onAws(["status"])).stdout).toContain("`pgkeep run check-health --on aws` asks it there");
    });
  });

  describe("pgkeep backup", () => {
    const snapshot = async (id: string) => {
      const { DBSnapshot } = await clients.rds().send(
        new CreateDBSnapshotCommand({
          DBSnapshotIdentifier: id,
          DBInstanceIdentifier: resources.primary.identifier,
        }),
      );
      await clients.rds().send(
        new AddTagsToResourceCommand({
          ResourceName: DBSnapshot?.DBSnapshotArn ?? "",
          Tags: [{ Key: "pgkeep:database", Value: id.startsWith("pgkeep-shop-") ? key : "no" }],
        }),
      );
    };
    const mine = "pgkeep-shop-20260102";

    beforeAll(async () => {
      await snapshot(mine);
      await snapshot("made-by-somebody");
    });

    it("lists the snapshots, foreign ones as such, by the retention that is deployed", async () => {
      const run = await onAws(["backup", "list", "--json"]);
      expect(run).toMatchObject({ code: 0, stderr: "" });
      const { backups } = JSON.parse(run.stdout) as { backups: Record<string, unknown>[] };
      const shown = backups.map(({ id, managed, keptFor }) => [id, managed, keptFor]).sort();
      expect(shown).toEqual([
        ["made-by-somebody", false, ["unmanaged"]],
        [mine, true, ["daily", "newest-available"]],
      ]);
      expect((await onAws(["backup", "list"])).stdout).toContain(mine);
    });

    it("pins, verifies and unpins one", async () => {
      const pinned = async () => {
        const { backups } = JSON.parse((await onAws(["backup", "list", "--json"])).stdout) as {
          backups: { id: string; pinned?: { reason: string } }[];
        };
        return backups.find(({ id }) => id === mine)?.pinned;
      };
      expect(await onAws(["backup", "pin", mine, "--reason", "audit; don't"])).toMatchObject({ code: 0 });
      expect(await pinned()).toEqual({ reason: "audit; don't" });
      expect(await onAws(["backup", "verify", mine])).toEqual({
        code: 0,
        stdout: `${mine}: complete, encrypted and of this database, with its copies (1 snapshot looked at; a drill proves the data)\n`,
        stderr: "",
      });
      expect(await onAws(["backup", "unpin", mine])).toMatchObject({ code: 0 });
      expect(await pinned()).toBeUndefined();
      const foreign = await onAws(["backup", "pin", "made-by-somebody", "--reason", "x"]);
      expect(foreign).toMatchObject({ code: 3, stderr: expect.stringContaining("pgkeep did not make") });
    });
  });

  describe("when AWS does not let in", () => {
    const set = (variables: Record<string, string | undefined>) => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
      for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
      onTestFinished(() => {
        for (const [name, value] of before) vi.stubEnv(name, value);
      });
    };
    const failing = async (args: string[]) => {
      const run = await onAws(args);
      expect(run).toMatchObject({ code: 3, stdout: "" });
      return run.stderr;
    };
    const commands = [
      ["run", "check-health"],
      ["run", "back-up"],
      ["routing", "show"],
      ["backup", "list"],
    ];

    it.each(commands)("%s %s asks for a region", async (...args) => {
      set({ AWS_REGION: undefined });
      expect(await failing(args)).toMatch(
        /^pgkeep: the AWS region is not known: Region is missing\nWhat to do: set AWS_REGION/,
      );
    });

    it("goes where the configuration says that it is deployed, whatever the caller's region", async () => {
      set({ AWS_REGION: "eu-north-1" });
      const elsewhere = await mkdtemp(join(tmpdir(), "pgkeep-on-aws-"));
      onTestFinished(() => rm(elsewhere, { recursive: true }));
      await writeFile(
        join(elsewhere, "pgkeep.yaml"),
        "account: { region: eu-west-1 }\ndatabases: { shop: {} }\n",
      );
      cloud.functions.set(checkHealth, async () => ({
        ok: true,
        payload: result("check-health", { outcome: "skipped" }),
      }));
      for (const args of [
        ["run", "check-health"],
        ["backup", "list"],
      ]) {
        const run = await onAws(args, { workingDirectory: elsewhere });
        expect(run).toMatchObject({ code: 0, stderr: "" });
      }
    });

    it("takes the region of the profile", async () => {
      const file = join(directory, "config");
      await writeFile(
        file,
        "[profile shop]\nregion = eu-west-1\naws_access_key_id = testing\naws_secret_access_key = testing\n",
      );
      set({
        AWS_REGION: undefined,
        AWS_PROFILE: "shop",
        AWS_CONFIG_FILE: file,
        AWS_ACCESS_KEY_ID: undefined,
        AWS_SECRET_ACCESS_KEY: undefined,
      });
      expect(await onAws(["backup", "list"])).toMatchObject({ code: 0, stderr: "" });
    });

    it.each(commands)("%s %s says that it is not deployed in this region", async (...args) => {
      set({ AWS_REGION: "eu-north-1" });
      expect(await failing(args)).toMatch(
        /^pgkeep: \S+ of the database shop is not deployed in eu-north-1\nWhat to do: run `npx cdk deploy --all`; .*AWS_REGION/,
      );
    });

    it.each(commands)("%s %s says that there are no credentials", async (...args) => {
      set({ AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
      expect(await failing(args)).toMatch(
        /^pgkeep: could not .*CredentialsProviderError: .*\nWhat to do: log in to AWS again \(`aws sso login`\), or set AWS_PROFILE\n$/,
      );
    });

    it("says that there is no such profile", async () => {
      set({ AWS_PROFILE: "nobody", AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
      expect(await failing(["routing", "show"])).toMatch(
        /CredentialsProviderError.*\nWhat to do: .*AWS_PROFILE/,
      );
    });

    const refusals: [string, Refusal, RegExp][] = [
      [
        "whose token has expired",
        {
          status: 403,
          error: "ExpiredTokenException",
          body: { message: "The security token included in the request is expired" },
        },
        /could not .* is expired\nWhat to do: log in to AWS again/,
      ],
      [
        "whose keys are unknown",
        {
          status: 403,
          error: "UnrecognizedClientException",
          body: { message: "The security token included in the request is invalid." },
        },
        /could not .* is invalid.\nWhat to do: log in to AWS again/,
      ],
      [
        "whose secret key is wrong",
        {
          status: 403,
          error: "InvalidSignatureException",
          body: { message: "The request signature we calculated does not match the signature you provided." },
        },
        /could not .* does not match .*\nWhat to do: log in to AWS again/,
      ],
      [
        "who may not",
        {
          status: 403,
          error: "AccessDeniedException",
          body: {
            Message:
              "User: arn:aws:iam::123456789012:user/eve is not authorized to perform: lambda:InvokeFunction",
          },
        },
        /could not .*eve is not authorized to perform: lambda:InvokeFunction\nWhat to do: let the identity/,
      ],
    ];
    for (const args of commands) {
      it.each(refusals)(`${args.join(" ")} tells somebody %s`, async (_, refusal, message) => {
        cloud.refuse = () => refusal;
        expect(await failing(args)).toMatch(message);
      });
    }

    it("prints one document under --json", async () => {
      set({ AWS_REGION: "eu-north-1" });
      const run = await onAws(["run", "check-health", "--json"]);
      expect(run.code).toBe(3);
      expect(JSON.parse(run.stdout)).toEqual({
        error: { code: "not-found", message: expect.any(String), remedy: expect.any(String) },
      });
    });

    it("says that a function does not know what it works with", async () => {
      set({ AWS_REGION: "eu-south-1" });
      await enterFunction(moto.endpoint, "eu-south-1", informed, { OTHER: "secret-of-somebody" });
      const text = await failing(["routing", "show"]);
      expect(text).toContain(
        "the function pgkeep-shop-back-up-copy in eu-south-1 does not say what it works with",
      );
      expect(text).not.toContain("secret-of-somebody");
    });
  });
});
