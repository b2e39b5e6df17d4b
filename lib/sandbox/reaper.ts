import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PgkeepError } from "../errors.ts";
import { canReach, exists, giveTo, type Owner } from "./owner.ts";

/** A directory without this file is never removed. */
const markerName = ".pgkeep-sandbox";
const markerText = "Made by pgkeep; removed with everything in it when its process ends.\n";

/** A private directory whose servers end, and which disappears, with this process: however it ends. */
export interface GuardedDirectory {
  path: string;
  /** Removes the directory now. The servers in it must have been stopped. */
  remove(): Promise<void>;
}

/**
 * Runs in a process of its own and waits for the end of its standard input, which only our process holds
 * open. A line there means that we have cleaned up ourselves. Otherwise it ends each server program that works
 * inside the directory (on Linux by its working directory, elsewhere by its pid file) and removes the directory.
 */
const script = `
trap '' INT HUP TERM QUIT
directory=$1
if read -r _; then exit 0; fi
cd / || exit 1
if [ ! -f "$directory/${markerName}" ] || [ -L "$directory" ]; then
  # Killed between making it and marking it: then it is empty, and only then it goes.
  rmdir "$directory" 2>/dev/null
  exit 0
fi
servers() {
  if [ -d /proc/self/fd ]; then
    for process in /proc/[0-9]*; do
      # The name first, which needs no other program: a machine has hundreds of processes and few servers.
      name=''
      read -r name < "$process/comm" 2>/dev/null
      case $name in postgres|pgbouncer|initdb) ;; *) continue ;; esac
      where=$(readlink "$process/cwd" 2>/dev/null) || continue
      case $where in "$directory"|"$directory"/*) echo "\${process#/proc/}" ;; esac
    done
  else
    find "$directory" \\( -name postmaster.pid -o -name pgbouncer.pid \\) -exec head -n 1 {} \\; | while read -r pid; do
      case $(ps -o command= -p "$pid") in *postgres*|*pgbouncer*) echo "$pid" ;; esac
    done
  fi
}
memory=$(find "$directory" -name postmaster.pid -exec sed -n '7s/^ *[0-9]* *\\([0-9][0-9]*\\)$/\\1/p' {} \\;)
round=0
while pids=$(servers); [ -n "$pids" ] && [ $round -lt 60 ]; do
  # Each time: a server that was only starting has other processes by now.
  if [ $round -lt 15 ]; then kill -QUIT $pids 2>/dev/null; else kill -KILL $pids 2>/dev/null; fi
  round=$((round + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
for id in $memory; do ipcrm -m "$id" 2>/dev/null; done
round=0
until rm -rf "$directory" 2>/dev/null || [ $round -ge 20 ]; do
  round=$((round + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
`;

/**
 * Makes a private directory for servers of `owner` below `parent` (default: the machine's directory for
 * temporary files) and a guard for it that outlives us.
 * @throws PgkeepError `start-failed` when the owner could not reach the directory
 */
export async function makeGuardedDirectory(
  owner: Owner | null,
  options: { parent?: string; prefix?: string } = {},
): Promise<GuardedDirectory> {
  const parent = await realpath(options.parent ?? tmpdir());
  const path = join(parent, `${options.prefix ?? "pgkeep-"}${randomBytes(6).toString("hex")}`);
  // Before the directory exists: there is no moment at which a kill could leave it behind.
  const release = await guardDirectory(path);
  const remove = async () => {
    await removeMarked(path);
    release();
  };
  await mkdir(path, { mode: 0o700 });
  await markGuarded(path);
  try {
    await giveTo(owner, path);
    if (!(await canReach(owner, path))) {
      throw new PgkeepError("start-failed", `the account that runs PostgreSQL cannot enter ${path}`, {
        remedy: "set TMPDIR to a directory that every account may pass through, such as /tmp",
      });
    }
    return { path, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Marks a directory as one that its guard removes. */
export async function markGuarded(path: string): Promise<void> {
  await writeFile(join(path, markerName), markerText, { mode: 0o600 });
}

/**
 * Starts the guard of a directory that is about to be made and marked. Resolves to a function that tells the
 * guard to do nothing, as we have cleaned up ourselves.
 */
export async function guardDirectory(path: string): Promise<() => void> {
  const process = spawn("/bin/sh", ["-c", script, "pgkeep-reaper", path], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    cwd: "/",
    env: { PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C" },
  });
  await new Promise<void>((resolve, reject) => {
    process.once("spawn", resolve);
    process.once("error", (error) =>
      reject(new PgkeepError("start-failed", `cannot start the sandbox's guard: ${error.message}`)),
    );
  });
  process.unref();
  process.stdin?.on("error", () => {});
  (process.stdin as unknown as { unref?: () => void }).unref?.();
  return () => void process.stdin?.end("done\n");
}

/** Removes a directory that carries our marker; any other is left alone. @throws PgkeepError `refused` */
export async function removeMarked(path: string): Promise<void> {
  if (!(await exists(path))) return;
  const marker = await readFile(join(path, markerName), "utf8").catch(() => undefined);
  if (marker !== markerText) {
    throw new PgkeepError("refused", `${path} was not made by pgkeep: it is not removed`);
  }
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}
