import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Owner } from "../../lib/sandbox/owner.ts";

const run = (program: string, ...args: string[]) => spawnSync(program, args, { stdio: "pipe" }).status === 0;

/** A file system of its own, small enough to be full. */
export interface SmallDisk {
  readonly directory: string;
  resize(megabytes: number): void;
  remove(): void;
}

/** Mounts one over `directory`, an empty one, for `owner`. */
export function mountSmallDisk(directory: string, megabytes: number, owner: Owner | null): SmallDisk {
  const who = owner === null ? "" : `,uid=${owner.uid},gid=${owner.gid}`;
  if (!run("mount", "-t", "tmpfs", "-o", `size=${megabytes}m,mode=700${who}`, "tmpfs", directory)) {
    throw new Error(`cannot mount a small file system on ${directory}`);
  }
  return {
    directory,
    resize(size) {
      if (!run("mount", "-o", `remount,size=${size}m`, directory)) throw new Error("cannot resize it");
    },
    // Lazily: a server may still have its working directory there.
    remove: () => void run("umount", "-l", directory),
  };
}

/** Why no small file system can be made here, or undefined: for the title of a test that is skipped. */
export function noSmallDisk(): string | undefined {
  if (process.getuid?.() !== 0) return "skipped: only root can mount a small file system";
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-disk-"));
  try {
    mountSmallDisk(directory, 1, null).remove();
    return undefined;
  } catch {
    return "skipped: this machine lets nobody mount a file system";
  } finally {
    rmdirSync(directory);
  }
}
