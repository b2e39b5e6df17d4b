import { createHash } from "node:crypto";
import {
  chownSync,
  closeSync,
  fchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type { Owner } from "./owner.ts";

export interface CopiedFile {
  /** Relative to the data directory, with `/`. */
  path: string;
  sizeBytes: number;
  /** Of what was written; hexadecimal. Empty when hashes were not asked for. */
  sha256: string;
}

export interface CopyRequest {
  /** Data directory of a running server that is in backup mode. */
  from: string;
  /** New directory for the copy; must be absent or empty. */
  to: string;
  /** Who gets the copy; null for ourselves. */
  owner: Owner | null;
  /** Compute each file's SHA-256. Default false. */
  hash?: boolean;
  onFile?: (file: CopiedFile) => void;
  signal?: AbortSignal;
}

// What pg_basebackup leaves out: excludeDirContents and excludeFiles in PostgreSQL's basebackup.c.
const emptied = new Set([
  "pg_wal",
  "pg_replslot",
  "pg_dynshmem",
  "pg_notify",
  "pg_serial",
  "pg_snapshots",
  "pg_stat_tmp",
  "pg_subtrans",
]);
const omitted = new Set([
  "postmaster.pid",
  "postmaster.opts",
  "postgresql.auto.conf.tmp",
  "current_logfiles.tmp",
  "backup_label",
  "tablespace_map",
  "backup_manifest",
]);
const controlFile = "global/pg_control";

function isOmitted(name: string): boolean {
  return omitted.has(name) || name.startsWith("pgsql_tmp") || name.startsWith("pg_internal.init");
}

/** Temporary relations (`t3_16384`), and everything but the `_init` fork of unlogged ones. */
function isTransient(name: string, unlogged: ReadonlySet<string>): boolean {
  if (/^t\d+_\d+/.test(name)) return true;
  const match = /^(\d+)(?:_(fsm|vm|init))?(?:\.\d+)?$/.exec(name);
  return match !== null && match[2] !== "init" && unlogged.has(match[1] as string);
}

/** Other work of this process waits no longer than about this for a slice of the copy. */
const sliceMilliseconds = 10;

/**
 * Synchronous calls in short slices: a cluster is a thousand small files, for which they take a sixth of the
 * time of asynchronous ones.
 */
export async function copyClusterFiles(request: CopyRequest): Promise<CopiedFile[]> {
  const copied: CopiedFile[] = [];
  let sliceEnd = performance.now() + sliceMilliseconds;
  const breathe = async () => {
    request.signal?.throwIfAborted();
    if (performance.now() < sliceEnd) return;
    await setImmediate();
    sliceEnd = performance.now() + sliceMilliseconds;
  };
  const keep = (file: CopiedFile | undefined) => {
    if (file === undefined) return;
    copied.push(file);
    request.onFile?.(file);
  };
  const buffer = Buffer.allocUnsafe(1 << 20);
  for (const path of prepareDirectories(request)) {
    await breathe();
    keep(await copyFile(request, path, buffer, breathe));
  }
  // Last, as pg_basebackup does: the recovery that it describes must not begin before what was copied.
  keep(copyControlFile(request));
  return copied;
}

/** Makes the directories of the copy, and lists the files to copy into them. */
function prepareDirectories(request: CopyRequest): string[] {
  const { from, to, owner } = request;
  const files: string[] = [];
  const visit = (directory: string): void => {
    const entries = unlessVanished(() => readdirSync(join(from, directory), { withFileTypes: true })) ?? [];
    const unlogged = new Set(entries.flatMap((entry) => /^(\d+)_init$/.exec(entry.name)?.[1] ?? []));
    for (const entry of entries) {
      const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
      if (isOmitted(entry.name) || isTransient(entry.name, unlogged)) continue;
      if (emptied.has(path) || entry.isDirectory()) {
        mkdirSync(join(to, path), { mode: 0o700 });
        if (owner !== null) chownSync(join(to, path), owner.uid, owner.gid);
        if (!emptied.has(path)) visit(path);
      } else if (entry.isFile()) {
        if (path !== controlFile) files.push(path);
      } else {
        throw new PgkeepError("refused", `${join(from, path)} is neither a file nor a directory`);
      }
    }
  };
  visit("");
  return files;
}

/** Copies one file as far as it reaches when it is read. Resolves to undefined when it vanished meanwhile. */
async function copyFile(
  request: CopyRequest,
  path: string,
  buffer: Buffer,
  breathe: () => Promise<void>,
): Promise<CopiedFile | undefined> {
  const source = unlessVanished(() => openSync(join(request.from, path), "r"));
  if (source === undefined) return undefined;
  try {
    const target = createFile(request, path);
    try {
      const hash = request.hash === true ? createHash("sha256") : undefined;
      let sizeBytes = 0;
      for (;;) {
        const bytes = readSync(source, buffer, 0, buffer.length, sizeBytes);
        if (bytes > 0) {
          hash?.update(buffer.subarray(0, bytes));
          writeAll(target, buffer.subarray(0, bytes));
          sizeBytes += bytes;
        }
        if (bytes < buffer.length) break;
        await breathe();
      }
      return { path, sizeBytes, sha256: hash?.digest("hex") ?? "" };
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

/** The server rewrites its control file in place: only what two readings agree on was not caught half written. */
function copyControlFile(request: CopyRequest): CopiedFile {
  const file = join(request.from, controlFile);
  let content = readFileSync(file);
  for (let again = readFileSync(file); !again.equals(content); again = readFileSync(file)) content = again;
  return writeNew(request, controlFile, content);
}

/** Writes a file of the copy whose content is at hand. */
export function writeNew(request: CopyRequest, path: string, content: Buffer): CopiedFile {
  const target = createFile(request, path);
  try {
    writeAll(target, content);
  } finally {
    closeSync(target);
  }
  const sha256 = request.hash === true ? createHash("sha256").update(content).digest("hex") : "";
  return { path, sizeBytes: content.length, sha256 };
}

function createFile(request: CopyRequest, path: string): number {
  const target = openSync(join(request.to, path), "wx", 0o600);
  if (request.owner !== null) fchownSync(target, request.owner.uid, request.owner.gid);
  return target;
}

function writeAll(file: number, content: Buffer): void {
  for (let written = 0; written < content.length; ) {
    written += writeSync(file, content, written, content.length - written);
  }
}

function unlessVanished<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
