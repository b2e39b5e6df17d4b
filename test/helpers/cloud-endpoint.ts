import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { CreateFunctionCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { CreateStateMachineCommand, SFNClient } from "@aws-sdk/client-sfn";
import { afterAll, beforeAll, vi } from "vitest";
import { jobResourceName } from "../../lib/aws/job-names.ts";
import { stateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import { functionTimeoutSeconds } from "../../lib/constructs/step-function.ts";
import type { Job } from "../../lib/jobs/job.ts";
import type { Answer } from "./lambda.ts";
import { motoCredentials } from "./moto.ts";

/** What AWS answers instead of calling a function. */
export interface Refusal {
  status: number;
  /** Name of the error, as its header has it. */
  error: string;
  body: Record<string, string>;
}

export type DeployedFunction = (event: unknown) => Promise<Answer | Refusal>;

export interface CloudEndpoint {
  readonly endpoint: string;
  readonly port: number;
  /** By name; a call of any other goes to the emulator. */
  readonly functions: Map<string, DeployedFunction>;
  readonly invocations: { name: string; event: unknown }[];
  /** Answers instead of the emulator, by the name of the action (`StartExecution`) or the path. */
  refuse: ((action: string) => Refusal | undefined) | undefined;
}

const invoke = /^\/2015-03-31\/functions\/([^/]+)\/invocations$/;

/**
 * One address for all of AWS. moto serves everything but the call of a function, for which it needs Docker: this
 * speaks Lambda's `Invoke` by itself and lets a process or a test answer. moto also gives the history of an
 * execution whole and forwards, whatever is asked: that is put right here.
 */
export function useCloudEndpoint(emulator: () => string): CloudEndpoint {
  let server: Server | undefined;
  let port = 0;
  const cloud: CloudEndpoint = {
    get endpoint() {
      return `http://127.0.0.1:${port}`;
    },
    get port() {
      return port;
    },
    functions: new Map(),
    invocations: [],
    refuse: undefined,
  };
  beforeAll(async () => {
    server = createServer(async (incoming, outgoing) => {
      const body = await bodyOf(incoming);
      const path = (incoming.url ?? "").split("?")[0] ?? "";
      const action = String(incoming.headers["x-amz-target"] ?? path)
        .split(".")
        .at(-1) as string;
      const reply = (status: number, headers: Record<string, string>, text: string) =>
        void outgoing.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
      const refuse = ({ status, error, body: details }: Refusal) =>
        reply(status, { "x-amzn-errortype": error }, JSON.stringify({ __type: error, ...details }));
      const refused = cloud.refuse?.(action);
      if (refused !== undefined) return refuse(refused);
      // The name, or the ARN that a state machine has.
      const name = decodeURIComponent(invoke.exec(path)?.[1] ?? "")
        .split(":")
        .at(-1) as string;
      const called = cloud.functions.get(name);
      if (called !== undefined) {
        const event: unknown = body === "" ? null : JSON.parse(body);
        cloud.invocations.push({ name, event });
        const answer = await called(event);
        if ("status" in answer) return refuse(answer);
        if (answer.ok) return reply(200, {}, JSON.stringify(answer.payload));
        const { errorType, errorMessage } = answer;
        return reply(
          200,
          { "x-amz-function-error": "Unhandled" },
          JSON.stringify({ errorType, errorMessage }),
        );
      }
      const { host: _, connection: __, "content-length": ___, expect: ____, ...headers } = incoming.headers;
      const answer = await fetch(`${emulator()}${incoming.url}`, {
        method: incoming.method ?? "GET",
        headers: headers as Record<string, string>,
        ...(body === "" ? {} : { body }),
      }).catch(() => undefined);
      // The emulator hung up, as services do: the client is to try again.
      if (answer === undefined) return void outgoing.destroy();
      const text = await answer.text();
      const passed: Record<string, string> = {};
      for (const header of ["content-type", "x-amzn-errortype"]) {
        const value = answer.headers.get(header);
        if (value !== null) passed[header] = value;
      }
      reply(answer.status, passed, action === "GetExecutionHistory" ? history(body, text) : text);
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server?.closeAllConnections();
    server?.close();
  });
  return cloud;
}

function history(asked: string, text: string): string {
  const { reverseOrder, maxResults } = JSON.parse(asked) as { reverseOrder?: boolean; maxResults?: number };
  const answer = JSON.parse(text) as { events?: unknown[] };
  if (reverseOrder === true) answer.events?.reverse();
  return JSON.stringify({ ...answer, events: answer.events?.slice(0, maxResults) });
}

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** Enters a function into the emulator's list, so that its configuration can be read. */
export async function enterFunction(
  endpoint: string,
  region: string,
  name: string,
  environment: Record<string, string>,
): Promise<void> {
  const client = new LambdaClient({ region, endpoint, credentials: motoCredentials });
  try {
    await client.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Runtime: "nodejs22.x",
        Role: await makeRole(endpoint, region),
        Handler: "index.handler",
        // The end of an archive without files.
        Code: { ZipFile: Buffer.from(`504b0506${"00".repeat(18)}`, "hex") },
        Environment: { Variables: environment },
      }),
    );
  } finally {
    client.destroy();
  }
}

/** By the query protocol: there is no IAM client among the dependencies. */
async function makeRole(endpoint: string, region: string): Promise<string> {
  const name = `role-${Math.random().toString(36).slice(2)}`;
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      authorization: `AWS4-HMAC-SHA256 Credential=testing/20260101/${region}/iam/aws4_request, SignedHeaders=host, Signature=0`,
    },
    body: new URLSearchParams({
      Version: "2010-05-08",
      Action: "CreateRole",
      RoleName: name,
      AssumeRolePolicyDocument: "{}",
    }).toString(),
  });
  const arn = /<Arn>([^<]+)</.exec(await answer.text())?.[1];
  if (arn === undefined) throw new Error("the emulator made no role");
  return arn;
}

/** Enters the state machine of a job as its construct defines it, and its first function; executions are real. */
export async function enterStateMachine(
  endpoint: string,
  region: string,
  key: string,
  job: Job,
): Promise<void> {
  const functionArns = Object.fromEntries(
    job.steps.map(({ name }) => [
      name,
      `arn:aws:lambda:${region}:123456789012:function:${jobResourceName(key, job.name, name)}`,
    ]),
  );
  const input = { job, functionArns, functionTimeoutSeconds, waitLimitSeconds: 3_600, partition: "aws" };
  await fetch(`${endpoint}/moto-api/config`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ stepfunctions: { execute_state_machine: true } }),
  });
  const client = new SFNClient({ region, endpoint, credentials: motoCredentials });
  try {
    await client.send(
      new CreateStateMachineCommand({
        name: jobResourceName(key, job.name),
        roleArn: "arn:aws:iam::123456789012:role/states",
        definition: JSON.stringify(stateMachineDefinition(input)),
      }),
    );
  } finally {
    client.destroy();
  }
  const first = job.steps[0]?.name;
  await enterFunction(endpoint, region, jobResourceName(key, job.name, first), {});
}

/** The environment of somebody who works with AWS there, until the tests of this block end. */
export function useOwnCredentials(endpoint: () => string, region: string): void {
  beforeAll(() => {
    vi.stubEnv("AWS_ENDPOINT_URL", endpoint());
    vi.stubEnv("AWS_REGION", region);
    vi.stubEnv("AWS_ACCESS_KEY_ID", motoCredentials.accessKeyId);
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", motoCredentials.secretAccessKey);
    vi.stubEnv("AWS_SESSION_TOKEN", undefined);
    vi.stubEnv("AWS_PROFILE", undefined);
    vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
    vi.stubEnv("AWS_CONFIG_FILE", "/nonexistent/config");
    vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials");
  });
  afterAll(() => void vi.unstubAllEnvs());
}
