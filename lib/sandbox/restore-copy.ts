import { createHash } from "node:crypto";
import { mkdir, open, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PgkeepError } from "../errors.ts";
import type { BackupProblem } from "../ports/backups.ts";
import type { BackupStore, StoredBackup, StoredFile } from "./backup-store.ts";
import type { Owner } from "./owner.ts";
import { describeFile } from "./relation-files.ts";

/** Directories that a server needs and that a base backup holds empty. */
const emptyDirectories = [
  ...["pg_wal", "pg_wal/archive_status", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial"],
  ...["pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_commit_ts"],
  ...["pg_logical", "pg_logical/snapshots", "pg_logical/mappings"],
];
const chunkBytes = 1 << 20;
const workers = 4;

export interface FilesChecked {
  files: number;
  bytes: number;
  problems: BackupProblem[];
}

/**
 * Recomputes the checksum of every file of a backup; with `to`, copies it in the same pass. Files that the
 * backup does not list are a problem too: a server would read them.
 */
export async function checkFiles(
  store: BackupStore,
  backup: StoredBackup,
  to?: { directory: string; owner: Owner | null },
  signal?: AbortSignal,
): Promise<FilesChecked> {
  const from = store.dataOf(backup.id);
  const result: FilesChecked = { files: 0, bytes: 0, problems: [] };
  if (to !== undefined) await makeDirectories(backup, to);
  let next = 0;
  const work = async () => {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    for (let file = backup.files[next++]; file !== undefined; file = backup.files[next++]) {
      signal?.throwIfAborted();
      const problem = await checkFile(join(from, file.path), file, buffer, to);
      result.files++;
      result.bytes += file.bytes;
      if (problem !== undefined) result.problems.push(describe(file.path, problem, backup));
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  const listed = new Set(backup.files.map(({ path }) => path));
  for (const path of await filesBelow(from)) {
    if (!listed.has(path)) result.problems.push(describe(path, "is not part of the backup", backup));
  }
  result.problems.sort((a, b) => (a.subject < b.subject ? -1 : 1));
  return result;
}

/** The one error for a backup whose files are not what they were. @throws nothing; returns the error */
export function damagedBackup(id: string, problems: readonly BackupProblem[]): PgkeepError {
  const shown = problems.slice(0, 5).map(problemText).join("; ");
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : "";
  return new PgkeepError("backup-invalid", `the backup ${id} is damaged: ${shown}${more}`, {
    remedy:
      "restore from another backup (`pgkeep backup list`), and take a new one with `pgkeep backup create`",
  });
}

export function problemText({ subject, relation, problem }: BackupProblem): string {
  return `${subject}${relation === undefined ? "" : ` (${relation})`}: ${problem}`;
}

function describe(path: string, problem: string, backup: StoredBackup): BackupProblem {
  const relation = describeFile(path, backup.relations);
  return { subject: path, ...(relation === undefined ? {} : { relation }), problem };
}

async function checkFile(
  path: string,
  expected: StoredFile,
  buffer: Buffer,
  to: { directory: string; owner: Owner | null } | undefined,
): Promise<string | undefined> {
  const source = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (source === undefined) return "is missing";
  try {
    const target = to === undefined ? undefined : await open(join(to.directory, expected.path), "wx", 0o600);
    try {
      if (target !== undefined && to?.owner != null) await target.chown(to.owner.uid, to.owner.gid);
      const hash = createHash("sha256");
      let bytes = 0;
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, chunkBytes, bytes);
        if (bytesRead === 0) break;
        const chunk = buffer.subarray(0, bytesRead);
        hash.update(chunk);
        await target?.writeFile(chunk);
        bytes += bytesRead;
      }
      if (bytes !== expected.bytes) return `has ${bytes} bytes instead of ${expected.bytes}`;
      if (hash.digest("hex") !== expected.sha256) return "its content was changed: the checksum differs";
      return undefined;
    } finally {
      await target?.close();
    }
  } finally {
    await source.close();
  }
}

async function makeDirectories(
  backup: StoredBackup,
  to: { directory: string; owner: Owner | null },
): Promise<void> {
  const wanted = new Set<string>(["", ...emptyDirectories]);
  for (const { path } of backup.files) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) wanted.add(parent);
  }
  for (const path of [...wanted].sort()) {
    const directory = await mkdir(join(to.directory, path), { recursive: true, mode: 0o700 });
    if (directory !== undefined && to.owner !== null) await giveDirectory(join(to.directory, path), to.owner);
  }
}

async function giveDirectory(path: string, owner: Owner): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.chown(owner.uid, owner.gid);
  } finally {
    await directory.close();
  }
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(directory.length + 1));
}
