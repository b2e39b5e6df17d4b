import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { readdir, readFile, readlink, realpath } from "node:fs/promises";
import { platform } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { isAlive } from "../alive.ts";

export { isAlive } from "../alive.ts";

/** What a postmaster writes into `postmaster.pid`. */
export interface PostmasterFile {
  pid: number;
  port: number;
  /** `starting`, `ready`, `standby` (running, but no connections yet) or `stopping`. */
  status: string;
  /** System V shared memory id, the one thing that outlives a kill -9. */
  sharedMemoryId: number | undefined;
}

export async function readPostmasterFile(dataDirectory: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(join(dataDirectory, "postmaster.pid"), "utf8").catch(() => "");
  const lines = text.split("\n");
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const id = lines[6]?.trim().split(/\s+/)[1];
  return {
    pid,
    port: Number(lines[3]),
    status: lines[7]?.trim() ?? "",
    sharedMemoryId: id === undefined || id === "" ? undefined : Number(id),
  };
}

/** Sends a signal; a process that is gone already is fine. */
export function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/**
 * The processes of the server on this data directory, its orphans included. PostgreSQL works inside its data
 * directory, so on Linux that tells them apart from a stranger that got the same process id.
 */
export async function serverProcesses(dataDirectory: string): Promise<number[]> {
  if (platform() !== "linux") return serverProcessesByParent(dataDirectory);
  const directory = await realpath(dataDirectory).catch(() => dataDirectory);
  return pidsOf(programsIn((cwd) => cwd === directory, ["postgres"]));
}

/** The same of several servers, in the order of the directories, by one look at all processes. */
export async function processesOfServers(dataDirectories: readonly string[]): Promise<number[][]> {
  if (platform() !== "linux") return Promise.all(dataDirectories.map(serverProcessesByParent));
  const directories = await Promise.all(dataDirectories.map((path) => realpath(path).catch(() => path)));
  const found = programsIn((cwd) => directories.includes(cwd), ["postgres"]);
  return directories.map((directory) => pidsOf(found.filter(({ cwd }) => cwd === directory)));
}

interface Program {
  pid: number;
  cwd: string;
}

const pidsOf = (programs: readonly Program[]): number[] => programs.map(({ pid }) => pid);

/** Synchronous calls: a few hundred tiny readings of /proc take a tenth of the time that way. */
function programsIn(wanted: (cwd: string) => boolean, programs: readonly string[]): Program[] {
  return readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const cwd = readlinkSync(`/proc/${entry}/cwd`);
      if (!wanted(cwd)) return [];
      const program = readFileSync(`/proc/${entry}/comm`, "utf8").trim();
      return programs.includes(program) ? [{ pid: Number(entry), cwd }] : [];
    } catch {
      return []; // ended meanwhile, or not ours to look at
    }
  });
}

const programsOfOurs = ["postgres", "initdb", "pgbouncer"];

/** Ends every server and pooler that works below this directory at once, without a checkpoint. */
export async function endServersBelow(directory: string): Promise<void> {
  const root = await realpath(directory);
  const files = await readdir(root, { recursive: true });
  const dataDirectories = files
    .filter((file) => basename(file) === "postmaster.pid")
    .map((file) => join(root, dirname(file)));
  const running = async () => {
    if (platform() === "linux") {
      return pidsOf(programsIn((cwd) => cwd === root || cwd.startsWith(`${root}/`), programsOfOurs));
    }
    return (await Promise.all(dataDirectories.map(serverProcessesByParent))).flat();
  };
  for (const pid of await running()) sendSignal(pid, "SIGQUIT");
  const gone = await waitUntil(async () => (await running()).length === 0, 6_000);
  if (!gone) {
    await waitUntil(async () => {
      const left = await running();
      for (const pid of left) sendSignal(pid, "SIGKILL");
      return left.length === 0;
    }, 5_000);
  }
  await Promise.all(dataDirectories.map(removeSharedMemory));
}

async function serverProcessesByParent(dataDirectory: string): Promise<number[]> {
  const postmaster = await readPostmasterFile(dataDirectory);
  if (postmaster === undefined) return [];
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,ppid=,command="]);
  const found: number[] = [];
  for (const line of stdout.split("\n")) {
    const [pid, parent, ...command] = line.trim().split(/\s+/);
    if (!command.join(" ").includes("postgres")) continue;
    if (Number(pid) === postmaster.pid || Number(parent) === postmaster.pid) found.push(Number(pid));
  }
  return found;
}

/** The postmaster of this data directory when it runs. */
export async function runningPostmaster(dataDirectory: string): Promise<PostmasterFile | undefined> {
  const file = await readPostmasterFile(dataDirectory);
  if (file === undefined || !isAlive(file.pid)) return undefined;
  if (platform() !== "linux") return file;
  const directory = await realpath(dataDirectory).catch(() => dataDirectory);
  // A zombie has no working directory: it counts as ended.
  return (await readlink(`/proc/${file.pid}/cwd`).catch(() => "")) === directory ? file : undefined;
}

/** Polls until `done` answers true. Resolves to false when the time is over first. */
export async function waitUntil(done: () => Promise<boolean>, milliseconds: number): Promise<boolean> {
  const end = Date.now() + milliseconds;
  for (;;) {
    if (await done()) return true;
    if (Date.now() > end) return false;
    await delay(15);
  }
}

/** Frees what a server killed with -9 leaves in the kernel. Best effort: without `ipcrm` some bytes stay. */
export async function removeSharedMemory(dataDirectory: string): Promise<void> {
  const file = await readPostmasterFile(dataDirectory);
  if (file?.sharedMemoryId === undefined || (await runningPostmaster(dataDirectory)) !== undefined) return;
  await promisify(execFile)("ipcrm", ["-m", String(file.sharedMemoryId)]).catch(() => {});
}
