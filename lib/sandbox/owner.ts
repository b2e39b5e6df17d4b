import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { chown, lstat, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PgkeepError } from "../errors.ts";

/** The account that runs the servers, when it is not our own. */
export interface Owner {
  uid: number;
  gid: number;
}

const candidates = ["postgres", "node", "nobody"];

/**
 * Who runs the servers: ourselves (`null`), unless we are root, which PostgreSQL refuses. Then the first of
 * the accounts postgres, node, nobody that the machine knows; initdb wants an account with a name.
 * @throws PgkeepError `start-failed` when root has none of them
 */
export async function findOwner(passwdFile = "/etc/passwd"): Promise<Owner | null> {
  if (process.getuid?.() !== 0) return null;
  const accounts = new Map<string, Owner>();
  const passwd = await readFile(passwdFile, "utf8").catch(() => "");
  for (const line of passwd.split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name !== undefined && Number(uid) > 0 && Number(gid) > 0) {
      accounts.set(name, { uid: Number(uid), gid: Number(gid) });
    }
  }
  for (const name of candidates) {
    const account = accounts.get(name);
    if (account !== undefined) return account;
  }
  throw new PgkeepError(
    "start-failed",
    `PostgreSQL refuses to run as root, and this machine has none of the accounts ${candidates.join(", ")}`,
    { remedy: "run pgkeep as an ordinary user, or add an account named postgres" },
  );
}

/** Nothing of our own environment reaches a server: no PG* variable changes it, no secret leaks into it. */
const serverEnvironment = { PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C", LANG: "C" };

/** Every server program starts here: as its owner, with a bare environment. */
export function spawnAs(
  owner: Owner | null,
  program: string,
  args: readonly string[],
  options: Omit<SpawnOptions, "env" | "uid" | "gid" | "shell"> = {},
): ChildProcess {
  return spawn(program, args, {
    ...options,
    env: serverEnvironment,
    ...(owner === null ? {} : { uid: owner.uid, gid: owner.gid }),
  });
}

/** Runs a program to its end and resolves to what it printed. @throws PgkeepError `start-failed` with its last lines */
export async function runAs(owner: Owner | null, program: string, args: readonly string[], cwd: string) {
  const child = spawnAs(owner, program, args, { stdio: ["ignore", "pipe", "pipe"], cwd });
  let output = "";
  const collect = (chunk: Buffer) => {
    output += chunk.toString("utf8");
  };
  child.stdout?.on("data", collect);
  child.stderr?.on("data", collect);
  const ended = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once("error", (error) =>
      reject(new PgkeepError("start-failed", `cannot run ${program}: ${error.message}`, { cause: error })),
    );
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  if (ended.code !== 0) {
    const how = ended.signal === null ? `exit code ${ended.code}` : ended.signal;
    throw new PgkeepError(
      "start-failed",
      `${program} failed (${how}): ${output.trim().split("\n").slice(-8).join("\n")}`,
    );
  }
  return output;
}

/** Gives one file or directory to the servers' owner. */
export async function giveTo(owner: Owner | null, path: string): Promise<void> {
  if (owner !== null) await chown(path, owner.uid, owner.gid);
}

/** Gives a whole tree to the servers' owner; symbolic links are neither followed nor changed. */
export async function giveTreeTo(owner: Owner | null, path: string): Promise<void> {
  if (owner === null) return;
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  await giveTo(owner, path);
  for (const entry of entries) {
    if (!entry.isSymbolicLink()) await giveTo(owner, join(entry.parentPath, entry.name));
  }
}

/** Whether that account may enter each directory on the way to `path`, and read (and execute) what is there. */
export async function canReach(owner: Owner | null, path: string, executable = false): Promise<boolean> {
  if (owner === null) return true;
  const allowed = (status: { mode: number; uid: number; gid: number }, bits: number) => {
    const shift = status.uid === owner.uid ? 6 : status.gid === owner.gid ? 3 : 0;
    return ((status.mode >> shift) & bits) === bits;
  };
  try {
    const own = await stat(path);
    if (!allowed(own, own.isDirectory() || executable ? 5 : 4)) return false;
    for (let parent = dirname(path); ; parent = dirname(parent)) {
      if (!allowed(await stat(parent), 1)) return false;
      if (parent === dirname(parent)) return true;
    }
  } catch {
    return false;
  }
}

/** Whether the path exists, as a file, directory or (even broken) link. */
export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
