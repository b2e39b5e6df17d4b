import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { platform } from "node:os";
import { promisify } from "node:util";
import { processesOfServers } from "../processes.ts";

/** One process of a server at one moment. */
export interface ServerProcess {
  pid: number;
  /** What it shows of itself, e.g. `postgres: app shop 127.0.0.1(40000) idle`. */
  title: string;
  /** Of it, and of those of its children that have ended. */
  cpuSeconds: number;
  /** Memory of its own, pages of files not counted. */
  privateBytes: number;
  /** What of the server's shared memory it has touched. */
  sharedBytes: number;
  swapBytes: number;
}

/**
 * The processes of the servers on these data directories, in their order. Elsewhere than on Linux they come from `ps`:
 * then CPU time of ended children is missing and all memory is taken for private. None when they cannot be read.
 */
export async function processTables(dataDirectories: readonly string[]): Promise<ServerProcess[][]> {
  const pids = await processesOfServers(dataDirectories).catch(() => dataDirectories.map((): number[] => []));
  if (platform() === "linux") return pids.map((all) => all.flatMap((pid) => fromProc(pid) ?? []));
  return Promise.all(pids.map((all) => fromPs(all).catch(() => [])));
}

/** USER_HZ, which is 100 on every architecture that Node.js runs on. */
const ticksPerSecond = 100;

/** Synchronous: a hundred tiny readings of /proc take a tenth of the time that way. */
function fromProc(pid: number): ServerProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold spaces and parentheses; utime is the 14th field, cstime the 17th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return {
      pid,
      title: readFileSync(`/proc/${pid}/cmdline`, "utf8").replace(/[\0 ]+$/, ""),
      cpuSeconds: ticks / ticksPerSecond,
      privateBytes: kibibytes(status, "RssAnon"),
      sharedBytes: kibibytes(status, "RssShmem"),
      swapBytes: kibibytes(status, "VmSwap"),
    };
  } catch {
    return undefined; // ended meanwhile
  }
}

function kibibytes(text: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
  return found === undefined ? 0 : Number(found) * 1024;
}

/** What `ps` of Linux and of macOS tell alike. Exported for its test. */
export async function fromPs(pids: readonly number[]): Promise<ServerProcess[]> {
  if (pids.length === 0) return [];
  const { stdout } = await promisify(execFile)("ps", [
    "-ww",
    "-o",
    "pid=,rss=,time=,command=",
    "-p",
    pids.join(","),
  ]);
  return stdout.split("\n").flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+([\d:.-]+)\s+(.*)$/.exec(line);
    if (match === null) return [];
    const [, pid, rss, time = "", title = ""] = match;
    return [
      {
        pid: Number(pid),
        title: title.trimEnd(),
        cpuSeconds: clockSeconds(time),
        privateBytes: Number(rss) * 1024,
        sharedBytes: 0,
        swapBytes: 0,
      },
    ];
  });
}

/** `1-02:03:04` and `02:03:04` of Linux, `123:04.56` of macOS. Exported for its test. */
export function clockSeconds(text: string): number {
  const [clock = "", days = "0"] = text.split("-").reverse();
  return clock.split(":").reduce((seconds, part) => seconds * 60 + Number(part), 0) + Number(days) * 86_400;
}
