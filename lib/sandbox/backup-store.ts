import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Backup, BackupProblem } from "../ports/backups.ts";
import { exists } from "./owner.ts";
import { isAlive } from "./processes.ts";

/** One file of the copied cluster: path below `data/`, size and SHA-256 as they were copied. */
export interface StoredFile {
  path: string;
  bytes: number;
  sha256: string;
}

/** `backup.json`: what a base backup is and what it needs. Never changed after it was written. */
export interface StoredBackup {
  formatVersion: 1;
  id: string;
  database: string;
  status: "available" | "failed";
  startedAt: string;
  finishedAt: string;
  serverVersionNumber: number;
  systemIdentifier: string;
  dataChecksums: boolean;
  walSegmentBytes: number;
  timeline: number;
  startLsn: string;
  stopLsn: string;
  startSegment: string;
  stopSegment: string;
  sizeBytes: number;
  /** Pages that were corrupt on the primary already. */
  problems: BackupProblem[];
  files: StoredFile[];
  /** `base/16384/16391` → `public.orders`, or `public.orders_pkey (index of public.orders)`. */
  relations: Record<string, string>;
}

/** What people and drills add later: `marks.json`. */
export interface BackupMarks {
  pinned?: { reason: string };
  verifiedAt?: string;
}

const partialSuffix = ".partial";
const deletingSuffix = ".deleting";
/** Followed by the process id of whoever is about to begin a backup. */
const draftPrefix = ".beginning-";
/** Ids become names of directories and of AWS snapshots: letters, digits and hyphens. */
const validId = /^[a-z](?:-?[a-z0-9])*$/;

/** @throws PgkeepError `usage` */
export function requireBackupId(id: string): void {
  if (id.length > 200 || !validId.test(id)) {
    throw new PgkeepError("usage", `${JSON.stringify(id)} cannot be the name of a backup`, {
      remedy: "use lower-case letters, digits and single hyphens, beginning with a letter",
    });
  }
}

/** Beside the directory of backups: while it is there, no backup is made or deleted, whoever the user is. */
export function readOnlyMark(backupsDirectory: string): string {
  return `${backupsDirectory}.read-only`;
}

/** The directory of the backups: what is complete, what is being made, what is not ours. */
export class BackupStore {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  pathOf(id: string): string {
    return join(this.directory, id);
  }

  dataOf(id: string): string {
    return join(this.directory, id, "data");
  }

  /** Newest first. Half-made and half-deleted ones of dead processes do not count as backups. */
  async list(): Promise<Backup[]> {
    const found: Backup[] = [];
    for (const entry of await this.entries()) {
      if (entry.endsWith(deletingSuffix) || entry.startsWith(draftPrefix)) continue;
      const partial = entry.endsWith(partialSuffix) ? entry.slice(0, -partialSuffix.length) : undefined;
      if (partial !== undefined) {
        const making = await this.making(partial);
        if (making !== undefined) {
          found.push({
            id: partial,
            database: making.database,
            status: "creating",
            startedAt: new Date(making.startedAt),
            managed: true,
          });
        }
        continue;
      }
      const backup = await this.describe(entry);
      if (backup !== undefined) found.push(backup);
    }
    return found.sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime() || (a.id < b.id ? 1 : -1));
  }

  /** @throws PgkeepError `not-found`, or `backup-invalid` when its `backup.json` is damaged */
  async read(id: string): Promise<StoredBackup> {
    requireBackupId(id);
    let text: string;
    try {
      text = await readFile(join(this.pathOf(id), "backup.json"), "utf8");
    } catch (error) {
      throw new PgkeepError("not-found", `there is no backup named ${id}`, {
        remedy: "see the names with `pgkeep backup list`",
        cause: error,
      });
    }
    return parseStored(id, text);
  }

  async marks(id: string): Promise<BackupMarks> {
    try {
      return JSON.parse(await readFile(join(this.pathOf(id), "marks.json"), "utf8")) as BackupMarks;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw new PgkeepError(
        "backup-invalid",
        `marks.json of backup ${id} cannot be read: ${errorMessage(error)}`,
        {
          remedy: `delete ${join(this.pathOf(id), "marks.json")} and pin the backup again if it was pinned`,
          cause: error,
        },
      );
    }
  }

  async mark(id: string, change: (marks: BackupMarks) => BackupMarks): Promise<void> {
    await this.read(id);
    await writeWhole(join(this.pathOf(id), "marks.json"), JSON.stringify(change(await this.marks(id))));
  }

  /**
   * Makes the directory in which the backup grows, under a name that never looks like a finished one, with its
   * maker in it from the first moment. Resolves to undefined when somebody else makes this backup.
   */
  async begin(id: string, database: string, startedAt: Date): Promise<string | undefined> {
    await this.requireWritable();
    const draft = join(this.directory, `${draftPrefix}${process.pid}-${randomUUID()}`);
    await mkdir(draft, { mode: 0o700 });
    try {
      await writeFile(
        join(draft, "making.json"),
        JSON.stringify({ pid: process.pid, database, startedAt: startedAt.toISOString() }),
      );
      await rename(draft, this.pathOf(id) + partialSuffix);
      return this.pathOf(id) + partialSuffix;
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      if (["EEXIST", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw error;
    }
  }

  /** Writes `backup.json` and gives the directory its name; an earlier failed try under it is replaced. */
  async finish(stored: StoredBackup): Promise<void> {
    await this.requireWritable();
    const partial = this.pathOf(stored.id) + partialSuffix;
    await writeWhole(join(partial, "backup.json"), serialize(stored));
    await rm(join(partial, "making.json"));
    await this.drop(stored.id);
    await rename(partial, this.pathOf(stored.id));
  }

  /** Says something else of a backup that is there. Nobody does, but for a fault that makes it look older. */
  async replaceDescription(stored: StoredBackup): Promise<void> {
    await writeWhole(join(this.pathOf(stored.id), "backup.json"), serialize(stored));
  }

  async abandon(id: string): Promise<void> {
    await rm(this.pathOf(id) + partialSuffix, { recursive: true, force: true });
  }

  /** Takes the name away first, so that a half-deleted backup is never offered. */
  async drop(id: string): Promise<void> {
    await this.requireWritable();
    const doomed = this.pathOf(id) + deletingSuffix;
    await rm(doomed, { recursive: true, force: true });
    try {
      await rename(this.pathOf(id), doomed);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    await rm(doomed, { recursive: true, force: true });
  }

  /** Removes what killed runs have left. */
  async sweep(): Promise<void> {
    if (await exists(readOnlyMark(this.directory))) return;
    for (const entry of await this.entries()) {
      const leftover =
        (entry.startsWith(draftPrefix) && !isAlive(Number.parseInt(entry.slice(draftPrefix.length), 10))) ||
        (entry.endsWith(deletingSuffix) && validId.test(entry.slice(0, -deletingSuffix.length))) ||
        (entry.endsWith(partialSuffix) &&
          validId.test(entry.slice(0, -partialSuffix.length)) &&
          (await this.making(entry.slice(0, -partialSuffix.length))) === undefined);
      if (leftover) await rm(join(this.directory, entry), { recursive: true, force: true });
    }
  }

  /** Who makes this backup now, when somebody alive does. */
  async making(id: string): Promise<{ pid: number; database: string; startedAt: string } | undefined> {
    try {
      const text = await readFile(join(this.pathOf(id) + partialSuffix, "making.json"), "utf8");
      const making = JSON.parse(text) as { pid: number; database: string; startedAt: string };
      return isAlive(making.pid) ? making : undefined;
    } catch {
      return undefined;
    }
  }

  private async requireWritable(): Promise<void> {
    if (!(await exists(readOnlyMark(this.directory)))) return;
    throw new PgkeepError(
      "refused",
      `the place for backups takes no new backup and deletes none: ${this.directory}`,
      {
        remedy: "`pgkeep sandbox fault fail-backup --repair`",
      },
    );
  }

  private async describe(entry: string): Promise<Backup | undefined> {
    let status: Awaited<ReturnType<typeof stat>>;
    try {
      status = await stat(this.pathOf(entry));
    } catch {
      return undefined; // deleted since the directory was read
    }
    const unmanaged: Backup = {
      id: entry,
      database: "",
      status: "available",
      startedAt: status.mtime,
      managed: false,
    };
    if (!status.isDirectory() || !validId.test(entry)) return unmanaged;
    let text: string;
    try {
      text = await readFile(join(this.pathOf(entry), "backup.json"), "utf8");
    } catch {
      return unmanaged;
    }
    let stored: StoredBackup;
    try {
      stored = parseStored(entry, text);
    } catch {
      // Ours by its file, and damaged: no restore can use it, and only a person may decide to delete it.
      return { ...unmanaged, status: "failed" };
    }
    // Marks that cannot be read may have held a pin: nobody prunes what they belong to.
    const marks = await this.marks(entry).catch(
      (error): BackupMarks => ({ pinned: { reason: errorMessage(error) } }),
    );
    return {
      id: entry,
      database: stored.database,
      status: stored.status,
      startedAt: new Date(stored.startedAt),
      finishedAt: new Date(stored.finishedAt),
      sizeBytes: stored.sizeBytes,
      managed: true,
      serverVersionNumber: stored.serverVersionNumber,
      startLsn: stored.startLsn,
      stopLsn: stored.stopLsn,
      ...(marks.pinned === undefined ? {} : { pinned: marks.pinned }),
      ...(marks.verifiedAt === undefined ? {} : { verifiedAt: new Date(marks.verifiedAt) }),
    };
  }

  private async entries(): Promise<string[]> {
    try {
      return await readdir(this.directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
  }
}

const checksumOf = (body: string) => createHash("sha256").update(body).digest("hex");

/** The checksum of the body stands before it, so that the file vouches for itself. */
function serialize(stored: StoredBackup): string {
  const body = JSON.stringify(stored);
  return `{"checksum":"${checksumOf(body)}","backup":${body}}\n`;
}

function parseStored(id: string, text: string): StoredBackup {
  const invalid = (problem: string) =>
    new PgkeepError("backup-invalid", `backup.json of backup ${id} ${problem}`, {
      remedy: "use another backup; this one cannot be trusted",
    });
  const match = /^\{"checksum":"([0-9a-f]{64})","backup":(.*)\}\n$/s.exec(text);
  if (match === null) throw invalid("is not what pgkeep writes, or is cut off");
  const body = match[2] as string;
  if (checksumOf(body) !== match[1]) throw invalid("was changed: its checksum differs");
  const stored = JSON.parse(body) as StoredBackup;
  if (stored.formatVersion !== 1) throw invalid(`has the unknown format ${String(stored.formatVersion)}`);
  if (stored.id !== id) throw invalid(`belongs to the backup ${String(stored.id)}`);
  return stored;
}

/** Replaces a file at once: a reader sees the old text or the new one. */
async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.${process.pid}.tmp`;
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}
