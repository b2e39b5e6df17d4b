import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { isAlive } from "../alive.ts";

/** Who is making a backup: `owner.json` in its draft. */
export interface DraftOwner {
  host: string;
  pid: number;
  /** Tells the process apart from a later one with the same number; null where the system does not say. */
  processStart: string | null;
  startedAt: string;
}

export async function thisProcess(now: Date): Promise<DraftOwner> {
  return {
    host: hostname(),
    pid: process.pid,
    processStart: await processStart(process.pid),
    startedAt: now.toISOString(),
  };
}

const foreignGraceMilliseconds = 86_400_000;

/**
 * Whether the owner still works on it. Of a process on another machine nothing can be known: a draft that
 * nobody wrote to for a day counts as abandoned.
 */
export async function isOwnerAlive(owner: DraftOwner, lastWrite: Date): Promise<boolean> {
  if (owner.host !== hostname()) return Date.now() - lastWrite.getTime() < foreignGraceMilliseconds;
  if (!isAlive(owner.pid)) return false;
  const start = await processStart(owner.pid);
  return start === null || owner.processStart === null || start === owner.processStart;
}

/** Field 22 of /proc/PID/stat: clock ticks since the machine started. The second field may hold anything. */
async function processStart(pid: number): Promise<string | null> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? null;
}
