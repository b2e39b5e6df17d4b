import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startCluster } from "../../lib/sandbox/cluster.ts";
import { exists, findOwner } from "../../lib/sandbox/owner.ts";
import { waitUntil } from "../../lib/sandbox/processes.ts";
import { makeGuardedDirectory, removeMarked } from "../../lib/sandbox/reaper.ts";
import { crashServer } from "../../lib/sandbox/server.ts";
import { findSandbox } from "../../lib/sandbox/state-file.ts";
import { defaultMajor, fastestParent } from "../helpers/postgres.ts";

let parent: string;
let child: ChildProcess | undefined;

beforeEach(async () => {
  parent = await mkdtemp(join(fastestParent(), "pgkeep test's "));
  await chmod(parent, 0o711);
});

afterEach(async () => {
  child?.kill("SIGKILL");
  child = undefined;
  await rm(parent, { recursive: true });
});

/** A process in a group of its own that starts a cluster below `parent`. */
function startChild(replicas: number): {
  process: ChildProcess;
  pid: number;
  said: (word: string) => Promise<string>;
} {
  const file = fileURLToPath(new URL("cluster-child.ts", import.meta.url));
  const process = spawn(globalThis.process.execPath, ["--import", "tsx", file, parent, String(replicas)], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  child = process;
  let output = "";
  process.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const said = async (word: string) => {
    expect(await waitUntil(async () => output.includes(word), 30_000), `child said ${output}`).toBe(true);
    return output;
  };
  return { process, pid: process.pid as number, said };
}

/** Processes whose working directory is below `parent`. */
async function processesBelow(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    if (cwd.startsWith(parent)) found.push(`${pid} in ${cwd}`);
  }
  return found;
}

async function sandboxes(): Promise<string[]> {
  return (await readdir(parent)).filter((name) => name.startsWith("pgkeep-"));
}

async function expectNothingLeft(milliseconds: number): Promise<void> {
  await waitUntil(
    async () => (await sandboxes()).length === 0 && (await processesBelow()).length === 0,
    milliseconds,
  );
  expect(await processesBelow()).toEqual([]);
  expect(await sandboxes()).toEqual([]);
}

describe.skipIf(process.platform !== "linux")("when the process that owns a cluster", () => {
  it("is killed with -9, servers, orphans and directory are gone within five seconds", async () => {
    const owner = startChild(2);
    await owner.said("ready");
    const state = await findSandbox(parent);
    expect(state?.replicas).toHaveLength(2);
    expect((await processesBelow()).length).toBeGreaterThan(15);
    // A postmaster killed alone leaves orphans, and a pid file that names nobody.
    const replica = state?.replicas[0];
    if (replica !== undefined) await crashServer(replica.dataDirectory);
    owner.process.kill("SIGKILL");
    await expectNothingLeft(5_000);
    expect(await findSandbox(parent)).toBeUndefined();
    expect(await readdir(join(parent, ".local/state/pgkeep/sandboxes"))).toEqual([]);
  });

  it("gets Ctrl-C with its whole process group, nothing is left", async () => {
    const owner = startChild(1);
    await owner.said("ready");
    process.kill(-owner.pid, "SIGINT");
    await expectNothingLeft(5_000);
  });

  it.each([0, 150, 400, 700, 1000])(
    "is killed %i ms into starting, nothing is left",
    async (milliseconds) => {
      const owner = startChild(2);
      await owner.said("starting");
      await delay(milliseconds);
      owner.process.kill("SIGKILL");
      await expectNothingLeft(6_000);
    },
  );

  it("cannot start a server, nothing is left and the log's last lines are told", async () => {
    const failing = startCluster({
      major: defaultMajor,
      database: "shop",
      parent,
      settings: { shared_preload_libraries: "no_such_library" },
    });
    await expect(failing).rejects.toMatchObject({
      code: "start-failed",
      message: expect.stringContaining("no_such_library"),
    });
    expect(await sandboxes()).toEqual([]);
    expect(await processesBelow()).toEqual([]);
  });

  it("is interrupted while it starts, nothing is left", async () => {
    const controller = new AbortController();
    const starting = startCluster({
      major: defaultMajor,
      database: "shop",
      parent,
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("interrupted")),
    });
    await expect(starting).rejects.toThrow("interrupted");
    expect(await sandboxes()).toEqual([]);
    expect(await processesBelow()).toEqual([]);
  });
});

describe("a guarded directory", () => {
  it("is removed, and nothing beside it or behind a link in it", async () => {
    const beside = join(parent, "beside");
    await mkdir(beside);
    await writeFile(join(beside, "precious"), "");
    const directory = await makeGuardedDirectory(await findOwner(), { parent });
    await symlink(beside, join(directory.path, "link"));
    await directory.remove();
    expect(await exists(directory.path)).toBe(false);
    expect(await readdir(beside)).toEqual(["precious"]);
    await directory.remove();
  });

  it("is only ever removed with its marker", async () => {
    const stranger = join(parent, "stranger");
    await mkdir(stranger);
    await expect(removeMarked(stranger)).rejects.toMatchObject({ code: "refused" });
    expect(await exists(stranger)).toBe(true);
  });

  it("is refused where the servers' account cannot enter", async () => {
    const owner = await findOwner();
    if (owner === null) return; // an ordinary user runs the servers himself
    const locked = join(parent, "locked");
    await mkdir(locked, { mode: 0o700 });
    await expect(makeGuardedDirectory(owner, { parent: locked })).rejects.toMatchObject({
      code: "start-failed",
      remedy: expect.stringContaining("TMPDIR"),
    });
    expect(await readdir(locked)).toEqual([]);
  });
});
