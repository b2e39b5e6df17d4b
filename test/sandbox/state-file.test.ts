import { spawnSync } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SandboxState } from "../../lib/sandbox/state.ts";
import { announceSandbox, findSandbox, saveState } from "../../lib/sandbox/state-file.ts";

let root: string;
let home: string;
const pointers = () => join(home, ".local/state/pgkeep/sandboxes");

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "pgkeep-test-"));
  home = join(root, "home");
  await mkdir(home);
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

/** What `findSandbox` looks at; servers are not its business. */
async function savedState(name: string, pid: number, startedAt: string): Promise<SandboxState> {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const state = { formatVersion: 1, pid, startedAt, directory } as SandboxState;
  await saveState(state);
  return state;
}

/** A process id that nobody has any more. */
function endedProcess(): number {
  return spawnSync("/bin/sh", ["-c", "exit"]).pid;
}

describe("a running sandbox", () => {
  it("is found by other processes of the same user until it is withdrawn", async () => {
    expect(await findSandbox(home)).toBeUndefined();
    const state = await savedState("one", process.pid, "2026-01-01T00:00:00.000Z");
    const withdraw = await announceSandbox(home, state);
    expect(await findSandbox(home)).toEqual(state);
    await withdraw();
    expect(await findSandbox(home)).toBeUndefined();
  });

  it("is private: pointer and state are readable by their owner only", async () => {
    const state = await savedState("one", process.pid, "2026-01-01T00:00:00.000Z");
    await announceSandbox(home, state);
    expect((await stat(pointers())).mode & 0o777).toBe(0o700);
    expect((await stat(join(pointers(), `${process.pid}.json`))).mode & 0o777).toBe(0o600);
    expect((await stat(join(state.directory, "sandbox.json"))).mode & 0o777).toBe(0o600);
  });

  it("wins over older ones", async () => {
    await announceSandbox(home, await savedState("old", process.ppid, "2026-01-01T00:00:00.000Z"));
    const newer = await savedState("new", process.pid, "2026-01-02T00:00:00.000Z");
    await announceSandbox(home, newer);
    expect((await findSandbox(home))?.directory).toBe(newer.directory);
  });

  it("is forgotten when its process has ended, its directory is gone, or its process id was given away", async () => {
    await announceSandbox(home, await savedState("ended", endedProcess(), "2026-01-01T00:00:00.000Z"));
    const removed = await savedState("removed", process.ppid, "2026-01-01T00:00:00.000Z");
    await announceSandbox(home, removed);
    await rm(removed.directory, { recursive: true });
    const reused = await savedState("reused", process.pid, "2026-01-01T00:00:00.000Z");
    await announceSandbox(home, reused);
    await saveState({ ...reused, pid: process.ppid });
    expect(await findSandbox(home)).toBeUndefined();
    expect(await readdir(pointers())).toEqual([]);
  });

  it("survives a damaged pointer beside its own", async () => {
    const state = await savedState("one", process.pid, "2026-01-01T00:00:00.000Z");
    await announceSandbox(home, state);
    await writeFile(join(pointers(), "1.json"), "{");
    expect(await findSandbox(home)).toEqual(state);
  });

  it("is announced among the temporary files when the home directory cannot be written", async () => {
    const state = await savedState("one", process.pid, "2026-01-01T00:00:00.000Z");
    const noHome = join(home, "file");
    await writeFile(noHome, "");
    const withdraw = await announceSandbox(noHome, state);
    expect(await findSandbox(noHome)).toEqual(state);
    await withdraw();
    expect(await findSandbox(noHome)).toBeUndefined();
  });
});

describe.skipIf(process.getuid?.() !== 0)("a pointer that another account could have written", () => {
  it.each(["pointer", "state"])("is not believed (%s)", async (what) => {
    const state = await savedState("one", process.pid, "2026-01-01T00:00:00.000Z");
    await announceSandbox(home, state);
    const file =
      what === "pointer" ? join(pointers(), `${process.pid}.json`) : join(state.directory, "sandbox.json");
    await chown(file, 65534, 65534);
    expect(await findSandbox(home)).toBeUndefined();
  });

  it("is not believed in a directory that others can write", async () => {
    await announceSandbox(home, await savedState("one", process.pid, "2026-01-01T00:00:00.000Z"));
    await chmod(pointers(), 0o777);
    expect(await findSandbox(home)).toBeUndefined();
  });
});
