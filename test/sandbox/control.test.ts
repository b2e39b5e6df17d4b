import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PgkeepError, UsageError } from "../../lib/errors.ts";
import {
  type ControlHandlers,
  type ControlServer,
  requestFault,
  requestStatus,
  startControl,
} from "../../lib/sandbox/control.ts";
import { faultNamed } from "../../lib/sandbox/faults/index.ts";

let directory: string;
let sandbox: { controlSocket: string; startedAt: string };
let server: ControlServer | undefined;

const handlers: ControlHandlers = {
  fault: async ({ name, repair }) => {
    faultNamed(name);
    return { fault: name, outcome: repair ? "repaired" : "applied", message: "done", details: {} };
  },
  status: async () => ({ ready: true }),
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgkeep-control-"));
  sandbox = { controlSocket: join(directory, "control.sock"), startedAt: "2026-01-02T03:04:05.000Z" };
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  await rm(directory, { recursive: true });
});

/** Sends bytes as they are and resolves to everything that came back until the end. */
function exchange(bytes: string, untilLines = 1): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(sandbox.controlSocket, () => socket.write(bytes));
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (text.split("\n").length > untilLines) socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(text.split("\n").filter((line) => line !== "")));
  });
}

describe("the sandbox's control socket", () => {
  it("carries faults, repairs and status, on a socket only its user can open", async () => {
    server = await startControl(sandbox.controlSocket, handlers);
    expect((await stat(sandbox.controlSocket)).mode & 0o777).toBe(0o600);
    await expect(requestFault(sandbox, { name: "crash-replica" })).resolves.toEqual({
      fault: "crash-replica",
      outcome: "applied",
      message: "done",
      details: {},
    });
    await expect(requestFault(sandbox, { name: "lose-wal", repair: true })).resolves.toMatchObject({
      outcome: "repaired",
    });
    await expect(requestStatus(sandbox)).resolves.toEqual({ ready: true });
  });

  it("gives an error of the other side with its code, message and remedy", async () => {
    server = await startControl(sandbox.controlSocket, handlers);
    const unknown = await requestFault(sandbox, { name: "crash-primry" }).catch((error: unknown) => error);
    expect(unknown).toBeInstanceOf(UsageError);
    expect(unknown).toMatchObject({ remedy: "did you mean crash-primary?" });
    await server.close();

    server = await startControl(sandbox.controlSocket, {
      ...handlers,
      fault: async () => {
        throw new PgkeepError("refused", "there is no backup to break yet", { remedy: "make one" });
      },
      status: async () => {
        throw new TypeError("oops");
      },
    });
    await expect(requestFault(sandbox, { name: "lose-wal" })).rejects.toMatchObject({
      code: "refused",
      message: "there is no backup to break yet",
      remedy: "make one",
    });
    await expect(requestStatus(sandbox)).rejects.toMatchObject({ code: "internal", message: "oops" });
  });

  it("applies one fault at a time, while status still answers", async () => {
    let running = 0;
    let most = 0;
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    server = await startControl(sandbox.controlSocket, {
      ...handlers,
      fault: async ({ name }) => {
        most = Math.max(most, ++running);
        await held;
        running--;
        return { fault: name, outcome: "applied", message: "", details: {} };
      },
    });
    const faults = Promise.all(["a", "b", "c"].map((name) => requestFault(sandbox, { name })));
    await expect(requestStatus(sandbox)).resolves.toEqual({ ready: true });
    await expect.poll(() => running).toBe(1);
    await delay(20);
    letGo();
    expect((await faults).map(({ fault }) => fault).sort()).toEqual(["a", "b", "c"]);
    expect(most).toBe(1);
  });

  it("answers several requests on one connection in order, and nonsense with a usage error", async () => {
    server = await startControl(sandbox.controlSocket, handlers);
    const answers = await exchange(
      'not json\n{"kind":"status","extra":1}\n\n{"kind":"fault","name":"lose-wal"}\n{"kind":"status"}\n',
      4,
    );
    expect(answers.map((line) => JSON.parse(line) as { ok: boolean })).toMatchObject([
      { ok: false, error: { code: "usage" } },
      { ok: false, error: { code: "usage" } },
      { ok: true, report: { fault: "lose-wal", outcome: "applied" } },
      { ok: true, report: { ready: true } },
    ]);
    // Cut off, with or without a reset.
    await expect(exchange("x".repeat(200_000)).catch(() => [])).resolves.toEqual([]);
    await expect(requestStatus(sandbox)).resolves.toEqual({ ready: true });
  });

  it("says that the sandbox is gone: no socket, nobody behind it, closed in the middle", async () => {
    const gone = { code: "no-sandbox", remedy: "start one with `pgkeep sandbox`" };
    await expect(requestStatus(sandbox)).rejects.toMatchObject(gone);
    await writeFile(sandbox.controlSocket, "");
    await expect(requestStatus(sandbox)).rejects.toMatchObject(gone);

    server = await startControl(sandbox.controlSocket, { ...handlers, fault: () => new Promise(() => {}) });
    const waiting = requestFault(sandbox, { name: "lose-wal" });
    const rejected = expect(waiting).rejects.toMatchObject(gone);
    await delay(30);
    await server.close();
    await rejected;
  });

  it("stops waiting after a time, or when it is told to", async () => {
    server = await startControl(sandbox.controlSocket, { ...handlers, fault: () => new Promise(() => {}) });
    await expect(
      requestFault(sandbox, { name: "lose-wal" }, { timeoutMilliseconds: 50 }),
    ).rejects.toMatchObject({ code: "timeout" });
    const reason = new PgkeepError("deadline", "stopped by SIGINT");
    const abort = new AbortController();
    const waiting = requestFault(sandbox, { name: "lose-wal" }, { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 20);
    await expect(waiting).rejects.toBe(reason);
    await expect(requestStatus(sandbox, { signal: abort.signal })).rejects.toBe(reason);
  });

  it("names a path that no socket can have", async () => {
    await expect(startControl(join(directory, "x".repeat(120)), handlers)).rejects.toMatchObject({
      code: "start-failed",
      remedy: "use a shorter directory for temporary files (TMPDIR)",
    });
  });
});
