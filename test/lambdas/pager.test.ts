import { cp, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { alarmsFor } from "../../lib/alarms/catalogue.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { type Bundle, bundleFunction, bundlePager } from "../../lib/constructs/bundle.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { contextOf } from "../alarms/contexts.ts";
import { makeAuthority } from "../helpers/certificates.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources, switchTlsOn } from "../helpers/function-setting.ts";
import { bundleDirectory, type RunningFunction, startFunction, whyNoLambda } from "../helpers/lambda.ts";
import { useServer } from "../helpers/postgres.ts";

const packagesOf = ({ inputs }: Bundle) =>
  new Set(inputs.map((input) => input.split("node_modules/").at(-1)));

describe.skipIf(whyNoLambda !== undefined)(
  `from an alarm to a message on Lambda's own Node${whyNoLambda === undefined ? "" : ` (skipped: ${whyNoLambda})`}`,
  () => {
    const server = useServer();
    const sections = { health: { idleInTransactionSeconds: 1, blockedSeconds: 1 } };
    let directory: Awaited<ReturnType<typeof bundleDirectory>>;
    let database: string;
    let bundles: { look: Bundle; page: Bundle };
    let look: RunningFunction;
    let page: RunningFunction;
    let aws: Server;
    /** What was published: the form of the request, decoded. */
    const published: URLSearchParams[] = [];
    let lookAnswers = true;

    beforeAll(async () => {
      directory = await bundleDirectory();
      const authority = await makeAuthority(directory.path, "authority");
      database = await server.createDatabase();
      const session = await server.connect(database, await server.createMaster(database));
      await applyInstall(session, configFor(database));
      await session.close();
      await switchTlsOn(server, authority, "localhost");

      const config = configFor(database, sections);
      const { key, roles } = config;
      bundles = {
        look: bundleFunction("look", join(directory.path, "look")),
        page: bundlePager(
          JSON.parse(
            JSON.stringify({
              config: { key, database: { name: database }, roles },
              alarms: alarmsFor(contextOf(config)),
              runbook: "https://example.com/runbook.md",
            }),
          ),
          join(directory.path, "page"),
        ),
      };
      const trusting = join(directory.path, "trusting");
      await cp(join(directory.path, "look"), trusting, { recursive: true });
      await writeFile(join(trusting, "certificates", "rds-global-bundle.pem"), authority.certificate);

      aws = createServer((request, response) => {
        let body = "";
        request.on("data", (chunk) => {
          body += chunk;
        });
        request.on("end", async () => {
          if (request.url?.includes("/invocations") === true) {
            const answer = lookAnswers ? await look.invoke(JSON.parse(body)) : undefined;
            if (answer?.ok !== true) response.statusCode = 500;
            response.end(JSON.stringify(answer?.ok === true ? answer.payload : {}));
            return;
          }
          const form = new URLSearchParams(body);
          if (form.get("Action") !== "Publish") {
            response.statusCode = 500;
            response.end();
            return;
          }
          published.push(form);
          response.end(
            "<PublishResponse><PublishResult><MessageId>x</MessageId></PublishResult></PublishResponse>",
          );
        });
      });
      await new Promise<void>((resolve) => aws.listen(0, "127.0.0.1", resolve));
      const resources = JSON.stringify(functionResources(database, { port: server.port }));
      look = await startFunction(trusting, {
        PGKEEP_RESOURCES: resources,
        PGKEEP_CONFIG: beyondDefaults(config),
      });
      page = await startFunction(join(directory.path, "page"), {
        PGKEEP_RESOURCES: resources,
        PGKEEP_LOOK_FUNCTION: "arn:aws:lambda:eu-central-1:123456789012:function:pgkeep-test-look",
        AWS_ENDPOINT_URL: `http://127.0.0.1:${(aws.address() as AddressInfo).port}`,
      });
      await Promise.all([look.ready, page.ready]);
    });
    afterAll(async () => {
      await Promise.all([look?.stop(), page?.stop()]);
      aws?.closeAllConnections();
      aws?.close();
      await directory?.remove();
    });

    const event = (name: string) => ({
      source: "aws.cloudwatch",
      alarmData: {
        alarmName: `pgkeep-test-${name}`,
        state: {
          value: "ALARM",
          reason: "Threshold Crossed",
          reasonData: JSON.stringify({
            evaluatedDatapoints: [{ timestamp: "2026-11-21T18:02:00.000+0000", sampleCount: 1, value: 12 }],
          }),
          timestamp: "2026-11-21T18:03:15.490+0000",
        },
      },
    });

    it("takes small bundles: what looks has no SDK, what tells no driver of PostgreSQL", () => {
      expect(bundles.look.bytes).toBeLessThan(1_000_000);
      expect(bundles.page.bytes).toBeLessThan(1_500_000);
      expect([...packagesOf(bundles.look)].filter((name) => /^@aws-sdk|^@smithy/.test(name ?? ""))).toEqual(
        [],
      );
      expect([...packagesOf(bundles.page)].filter((name) => /^pg\//.test(name ?? ""))).toEqual([]);
    });

    it("names who is idle in a transaction, through both functions", async () => {
      const idle = await server.connect(database);
      await idle.query("begin");
      await idle.query("select 'secret'");
      const [{ pid } = { pid: 0 }] = await idle.query<{ pid: number }>("select pg_backend_pid() as pid");
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      const answer = await page.invoke(event("idle-in-transaction"));
      await idle.query("rollback");
      await idle.close();
      expect(answer, page.log()).toMatchObject({ ok: true });
      const form = published.at(-1);
      expect(form?.get("TopicArn")).toMatch(/:pgkeep-test-ticket$/);
      expect(form?.get("MessageStructure")).toBe("json");
      const messages = JSON.parse(form?.get("Message") ?? "{}");
      expect(messages.email).toContain(`pid ${pid}) has been idle in transaction`);
      expect(JSON.parse(messages.default)).toMatchObject({
        page: { evidence: { pid, state: "idle in transaction" }, measured: { value: 12 } },
        pagerDuty: { event_action: "trigger", dedup_key: "pgkeep/test/idle-in-transaction" },
      });
      expect(messages.default).not.toContain("secret");
    });

    it("tells without a look when the function that looks fails", async () => {
      lookAnswers = false;
      const answer = await page.invoke(event("blocked-sessions"));
      lookAnswers = true;
      expect(answer, page.log()).toMatchObject({ ok: true });
      expect(published.at(-1)?.get("TopicArn")).toMatch(/:pgkeep-test-page$/);
      expect(JSON.parse(published.at(-1)?.get("Message") ?? "{}").email).toContain(
        "not seen: nobody could look at the database",
      );
    });

    it("fails for an alarm that it does not know, so that the event itself is sent", async () => {
      const before = published.length;
      expect(await page.invoke(event("nobody-knows"))).toMatchObject({
        ok: false,
        errorMessage: expect.stringContaining("has no alarm pgkeep-test-nobody-knows"),
      });
      expect(published).toHaveLength(before);
    });
  },
);
