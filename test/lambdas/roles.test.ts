import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { bundleFunction } from "../../lib/constructs/bundle.ts";
import { type Authority, makeAuthority } from "../helpers/certificates.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources, switchTlsOn } from "../helpers/function-setting.ts";
import { bundleDirectory, type RunningFunction, startFunction, whyNoLambda } from "../helpers/lambda.ts";
import { type TestLogin, useServer } from "../helpers/postgres.ts";
import { type FakeSecretsManager, startSecretsManager } from "../helpers/secrets-manager.ts";

const arnOf = (name: string) => `arn:aws:secretsmanager:eu-central-1:123456789012:secret:pgkeep-test-${name}`;
const appPassword = "the-first-password-of-the-application";

describe.skipIf(whyNoLambda !== undefined)(
  `the functions that set roles up${whyNoLambda === undefined ? "" : ` (skipped: ${whyNoLambda})`}`,
  () => {
    const server = useServer();
    const running: RunningFunction[] = [];
    let directory: Awaited<ReturnType<typeof bundleDirectory>>;
    let authority: Authority;
    let secrets: FakeSecretsManager;
    let database: string;
    let master: TestLogin;

    beforeAll(async () => {
      directory = await bundleDirectory();
      authority = await makeAuthority(directory.path, "authority");
      secrets = await startSecretsManager();
      for (const name of ["bootstrap", "rotate"] as const) {
        bundleFunction(name, join(directory.path, name));
        const trusted = join(directory.path, name, "certificates", "rds-global-bundle.pem");
        await writeFile(trusted, authority.certificate);
      }
      database = await server.createDatabase();
      master = await server.createMaster(database);
      await switchTlsOn(server, authority, "localhost");
      secrets.set(arnOf("master"), { username: master.user, password: master.password });
      for (const login of ["app", "reporting"]) {
        secrets.set(arnOf(login), {
          username: `${database}_${login}`,
          password: appPassword,
          engine: "postgres",
        });
      }
    });
    afterEach(async () => {
      await Promise.all(running.splice(0).map((started) => started.stop()));
    });
    afterAll(async () => {
      await secrets.stop();
      await directory.remove();
    });

    async function start(name: string, more: Record<string, string> = {}): Promise<RunningFunction> {
      const started = await startFunction(join(directory.path, name), {
        PGKEEP_RESOURCES: JSON.stringify(functionResources(database, { port: server.port })),
        PGKEEP_CONFIG: beyondDefaults(configFor(database)),
        PGKEEP_MASTER_SECRET: arnOf("master"),
        PGKEEP_LOGIN_SECRETS: JSON.stringify({ app: arnOf("app"), reporting: arnOf("reporting") }),
        ...secrets.environment,
        ...more,
      });
      running.push(started);
      await started.ready;
      return started;
    }

    const mayLogIn = async (password: string, login = "app") => {
      try {
        await (await server.connect(database, { user: `${database}_${login}`, password })).close();
        return true;
      } catch {
        return false;
      }
    };

    describe("bootstrap", () => {
      const request = (RequestType: string) => ({ RequestType, ResourceProperties: {} });

      it("does nothing on delete, not even look", async () => {
        const lambda = await start("bootstrap");
        const before = secrets.calls.length;
        expect(await lambda.invoke(request("Delete"))).toEqual({
          ok: true,
          payload: { PhysicalResourceId: "pgkeep-test-roles" },
        });
        expect(secrets.calls).toHaveLength(before);
      });

      it("installs on create, and finds nothing to do on update", async () => {
        const lambda = await start("bootstrap");
        const answers = [];
        for (const type of ["Create", "Update"]) answers.push(await lambda.invoke(request(type)));
        const schema = { SchemaVersion: expect.any(Number) };
        expect(answers).toEqual([
          {
            ok: true,
            payload: { PhysicalResourceId: "pgkeep-test-roles", Data: { Outcome: "installed", ...schema } },
          },
          {
            ok: true,
            payload: { PhysicalResourceId: "pgkeep-test-roles", Data: { Outcome: "unchanged", ...schema } },
          },
        ]);
        expect(await mayLogIn(appPassword)).toBe(true);
        expect(lambda.log()).not.toContain(appPassword);
        expect(lambda.log()).not.toContain(master.password);
      });

      it("says what is wrong, and what to do, when it cannot", async () => {
        secrets.set(arnOf("wrong"), { username: master.user, password: "wrong" });
        const lambda = await start("bootstrap", { PGKEEP_MASTER_SECRET: arnOf("wrong") });
        const answer = await lambda.invoke(request("Create"));
        expect(answer).toMatchObject({ ok: false, errorType: "PgkeepError" });
        expect((answer as { errorMessage: string }).errorMessage).toMatch(/password.*: /);
      });

      it("names the secret that is not there", async () => {
        const lambda = await start("bootstrap", { PGKEEP_MASTER_SECRET: arnOf("missing") });
        expect(await lambda.invoke(request("Create"))).toMatchObject({
          ok: false,
          errorMessage: expect.stringContaining(`could not read the secret ${arnOf("missing")}`),
        });
      });
    });

    describe("rotation", () => {
      const steps = ["createSecret", "setSecret", "testSecret", "finishSecret"];

      it.each(["app", "reporting"])(
        "changes the password of the login %s, each step twice",
        async (login) => {
          const lambda = await start("rotate");
          const arn = arnOf(login);
          const version = `version-${login}`;
          secrets.begin(arn, version);
          for (const Step of steps) {
            const event = { Step, SecretId: arn, ClientRequestToken: version };
            expect(await lambda.invoke(event), Step).toEqual({ ok: true, payload: null });
            expect(await lambda.invoke(event), Step).toEqual({ ok: true, payload: null });
          }
          const { username, password = "", engine } = secrets.current(arn);
          expect({ username, engine }).toEqual({ username: `${database}_${login}`, engine: "postgres" });
          expect(password).toMatch(/^[\w-]{32}$/);
          expect(await mayLogIn(password, login)).toBe(true);
          expect(await mayLogIn(appPassword, login)).toBe(false);
          expect(secrets.stages(arn)).toEqual({ first: ["AWSPREVIOUS"], [version]: ["AWSCURRENT"] });
          expect(lambda.log()).not.toContain(password);
        },
      );

      it("refuses a version that nobody announced", async () => {
        const lambda = await start("rotate");
        const event = { Step: "setSecret", SecretId: arnOf("master"), ClientRequestToken: "unknown" };
        expect(await lambda.invoke(event)).toMatchObject({
          ok: false,
          errorMessage: expect.stringContaining("has no version unknown"),
        });
      });

      it("fails the test of a password that the server does not take", async () => {
        const lambda = await start("rotate");
        secrets.begin(arnOf("master"), "next");
        const event = { SecretId: arnOf("master"), ClientRequestToken: "next" };
        expect(await lambda.invoke({ ...event, Step: "createSecret" })).toMatchObject({ ok: true });
        expect(await lambda.invoke({ ...event, Step: "testSecret" })).toMatchObject({ ok: false });
      });
    });
  },
);
