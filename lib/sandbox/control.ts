import { chmod, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { z } from "zod";
import { type ErrorCode, errorMessage, PgkeepError, UsageError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { FaultReport } from "./faults/fault.ts";
import type { SandboxState } from "./state.ts";

/** What another process may ask of the one that owns the sandbox: one JSON document a line, answered in order. */
const requestSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("fault"), name: z.string().max(200), repair: z.boolean().default(false) }),
  z.strictObject({ kind: z.literal("status") }),
]);
type ControlRequest = z.input<typeof requestSchema>;

type ControlAnswer =
  | { ok: true; report: Json }
  | { ok: false; error: { code: ErrorCode; message: string; remedy?: string } };

export interface ControlHandlers {
  /** Called for one request at a time. */
  fault(request: { name: string; repair: boolean }): Promise<FaultReport>;
  status(): Promise<Json>;
}

export interface ControlServer {
  /** Ends open conversations and removes the socket. */
  close(): Promise<void>;
}

/** What sun_path holds beside its terminating zero, on Linux; macOS has 4 bytes less. */
const longestSocketPath = 103;
const longestRequest = 65_536;

/**
 * Listens on the sandbox's control socket, which only its user can open.
 * @throws PgkeepError `start-failed` when the path is too long for a socket or cannot be used
 */
export async function startControl(socketPath: string, handlers: ControlHandlers): Promise<ControlServer> {
  if (Buffer.byteLength(socketPath) > longestSocketPath) {
    throw new PgkeepError("start-failed", `the path of the control socket is too long: ${socketPath}`, {
      remedy: "use a shorter directory for temporary files (TMPDIR)",
    });
  }
  const sockets = new Set<Socket>();
  let faults: Promise<unknown> = Promise.resolve();
  const answer = async (line: string): Promise<ControlAnswer> => {
    try {
      const request = parseRequest(line);
      if (request.kind === "status") return { ok: true, report: await handlers.status() };
      const { name, repair = false } = request;
      const turn = faults.then(() => handlers.fault({ name, repair }));
      faults = turn.catch(() => {});
      return { ok: true, report: (await turn) as unknown as Json };
    } catch (error) {
      return { ok: false, error: describe(error) };
    }
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    let turn: Promise<unknown> = Promise.resolve();
    eachLine(socket, (line) => {
      turn = turn.then(async () => {
        const text = `${JSON.stringify(await answer(line))}\n`;
        if (socket.writable) socket.write(text);
      });
    });
  });
  await rm(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new PgkeepError("start-failed", `cannot listen on ${socketPath}: ${error.message}`, { cause: error }),
      );
    });
    server.listen(socketPath, resolve);
  });
  await chmod(socketPath, 0o600);
  server.unref();
  return {
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(socketPath, { force: true });
    },
  };
}

/** Whole lines only; a peer that sends an endless one is cut off. */
function eachLine(socket: Socket, receive: (line: string) => void): void {
  let unfinished = 0;
  socket.on("data", (chunk: Buffer) => {
    const end = chunk.lastIndexOf(0x0a);
    unfinished = end < 0 ? unfinished + chunk.length : chunk.length - end - 1;
    if (unfinished > longestRequest) socket.destroy();
  });
  createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (line) => {
    if (line.trim() !== "") receive(line);
  });
}

function parseRequest(line: string): ControlRequest {
  try {
    return requestSchema.parse(JSON.parse(line));
  } catch (error) {
    throw new PgkeepError("usage", "the sandbox does not understand this request", {
      remedy: "use the pgkeep that started the sandbox",
      cause: error,
    });
  }
}

function describe(error: unknown): { code: ErrorCode; message: string; remedy?: string } {
  if (!(error instanceof PgkeepError)) return { code: "internal", message: errorMessage(error) };
  const { code, message, remedy } = error;
  return { code, message, ...(remedy === undefined ? {} : { remedy }) };
}

type Reachable = Pick<SandboxState, "controlSocket" | "startedAt">;

export interface AskOptions {
  /** How long the answer may take. Default 120,000: repairing a crash includes recovery. */
  timeoutMilliseconds?: number;
  signal?: AbortSignal;
}

/**
 * Has the running sandbox break something, or repair it.
 * @throws UsageError for an unknown fault; PgkeepError `no-sandbox` when its process is gone, `timeout`, or
 *   what the fault itself reports, such as `refused`
 */
export async function requestFault(
  sandbox: Reachable,
  request: { name: string; repair?: boolean },
  options: AskOptions = {},
): Promise<FaultReport> {
  const report = await ask(
    sandbox,
    { kind: "fault", name: request.name, repair: request.repair ?? false },
    options,
  );
  return report as unknown as FaultReport;
}

/** What the running sandbox says about itself. @throws PgkeepError `no-sandbox`, `timeout` */
export function requestStatus(sandbox: Reachable, options: AskOptions = {}): Promise<Json> {
  return ask(sandbox, { kind: "status" }, { timeoutMilliseconds: 10_000, ...options });
}

async function ask(sandbox: Reachable, request: ControlRequest, options: AskOptions): Promise<Json> {
  const timeoutMilliseconds = options.timeoutMilliseconds ?? 120_000;
  const gone = (cause?: unknown) =>
    new PgkeepError("no-sandbox", `the sandbox that was started at ${sandbox.startedAt} is gone`, {
      remedy: "start one with `pgkeep sandbox`",
      cause,
    });
  const socket = connect(sandbox.controlSocket);
  const abandon = () => socket.destroy(options.signal?.reason as Error);
  options.signal?.addEventListener("abort", abandon, { once: true });
  const timer = setTimeout(() => {
    socket.destroy(
      new PgkeepError("timeout", `the sandbox did not answer within ${timeoutMilliseconds / 1_000} s`, {
        remedy: "see whether its process still runs; end it and start another if it hangs",
      }),
    );
  }, timeoutMilliseconds);
  try {
    options.signal?.throwIfAborted();
    const line = await new Promise<string>((resolve, reject) => {
      socket.once("connect", () => socket.write(`${JSON.stringify(request)}\n`));
      let text = "";
      socket.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
      });
      socket.once("error", (error) =>
        reject(error instanceof PgkeepError || options.signal?.aborted === true ? error : gone(error)),
      );
      socket.once("close", () => reject(gone()));
    });
    const answer = JSON.parse(line) as ControlAnswer;
    if (answer.ok) return answer.report;
    const { code, message, remedy } = answer.error;
    const details = remedy === undefined ? {} : { remedy };
    throw code === "usage" ? new UsageError(message, details) : new PgkeepError(code, message, details);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", abandon);
    socket.destroy();
  }
}
