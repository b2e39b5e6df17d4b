import { createSocket, type Socket } from "node:dgram";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { awsClients } from "../../lib/aws/clients.ts";
import { ssmRouting } from "../../lib/aws/routing.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { bundleStep } from "../../lib/constructs/bundle.ts";
import type { StepEvent } from "../../lib/jobs/invocation.ts";
import type { AnyStep } from "../../lib/jobs/job.ts";
import { routeReplicas } from "../../lib/jobs/route-replicas.ts";
import type { Json } from "../../lib/json.ts";
import { probeServers } from "../../lib/routing/probe.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources } from "../helpers/function-setting.ts";
import { bundleDirectory, type RunningFunction, startFunction, whyNoLambda } from "../helpers/lambda.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";

const obstacle = whyNoLambda ?? noMoto;

describe.skipIf(obstacle !== undefined)(`a control-plane step${obstacle ? ` (${obstacle})` : ""}`, () => {
  const server = useServer();
  const moto = useMoto();
  const running: RunningFunction[] = [];
  const segments: string[] = [];
  let directory: Awaited<ReturnType<typeof bundleDirectory>>;
  let daemon: Socket;

  beforeAll(async () => {
    directory = await bundleDirectory();
    bundleStep(routeReplicas, routeReplicas.steps[1] as AnyStep, join(directory.path, "publish"));
    daemon = createSocket("udp4");
    daemon.on("message", (message) => segments.push(message.toString()));
    await new Promise<void>((resolve) => daemon.bind(0, "127.0.0.1", resolve));
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((started) => started.stop()));
  });
  afterAll(async () => {
    daemon.close();
    await directory.remove();
  });

  const resources = () => functionResources("shop", { port: server.port });

  async function start(endpoint: string): Promise<RunningFunction> {
    const started = await startFunction(join(directory.path, "publish"), {
      PGKEEP_RESOURCES: JSON.stringify(resources()),
      PGKEEP_CONFIG: beyondDefaults(configFor("shop")),
      AWS_ENDPOINT_URL: endpoint,
      AWS_EXECUTION_ENV: "AWS_Lambda_nodejs24.x",
      _X_AMZN_TRACE_ID: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
      AWS_XRAY_DAEMON_ADDRESS: `127.0.0.1:${daemon.address().port}`,
    });
    running.push(started);
    await started.ready;
    return started;
  }

  async function probed(): Promise<StepEvent> {
    const { primary, clock } = portsFor(server.target("postgres"));
    const { signal } = new AbortController();
    const replicas = { list: async () => [], answers: async () => true };
    const input = (await probeServers({ primary, replicas, clock, signal })) as unknown as Json;
    const run = { id: "an-execution", startedAt: new Date().toISOString() };
    return { run, trigger: {}, input, resume: null, failure: null };
  }

  it("calls AWS with what the step before has found out, and each call is traced", async () => {
    const lambda = await start(moto.endpoint);
    const answer = await lambda.invoke(await probed());
    expect(answer).toMatchObject({
      ok: true,
      payload: { kind: "done", output: { published: true, document: { version: 1, database: "test" } } },
    });
    const clients = awsClients({
      region: "eu-central-1",
      endpoint: moto.endpoint,
      credentials: motoCredentials,
    });
    expect(await ssmRouting(clients, resources()).read()).toMatchObject({ version: 1, database: "test" });
    clients.close();
    await expect.poll(() => segments.join("\n")).toMatch(/"PutParameter"/);
  });

  it("throws when AWS cannot be reached, and names what it could not do", async () => {
    const lambda = await start("http://127.0.0.1:1");
    const answer = await lambda.invoke(await probed(), { timeoutSeconds: 12 });
    expect(answer.ok).toBe(false);
    expect(lambda.log()).toMatch(/route-replicas\/publish failed/);
  });
});
