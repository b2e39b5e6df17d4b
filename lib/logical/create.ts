import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errorMessage, PgkeepError, UsageError } from "../errors.ts";
import type { ClientLogin, Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";
import { compactTime } from "../retention/calendar.ts";
import { encryptFor } from "./age.ts";
import { clientFailure, databaseOption, runClient } from "./client.ts";
import { type DatabaseFacts, readDatabaseFacts, readTables } from "./contents.ts";
import type { Keys } from "./key-file.ts";
import {
  type DumpedFile,
  type DumpedTable,
  type DumpFormat,
  type Manifest,
  type Selection,
  serializeManifest,
} from "./manifest.ts";
import { selectionOptions } from "./selection.ts";
import type { Draft, DumpStore } from "./store.ts";
import { type ClientTools, findTools, supportsZstd, type ToolSearch } from "./tools.ts";

export interface Compression {
  algorithm: "none" | "gzip" | "zstd";
  /** null: the algorithm's own default. */
  level: number | null;
}

/** What reaches the server: a login for programs, and sessions of the same login. */
export interface Source {
  description: string;
  login: ClientLogin;
  connect(options?: {
    database?: string;
    statementTimeoutMilliseconds?: number;
    signal?: AbortSignal;
  }): Promise<Session>;
  /** PATH and PG* of whoever runs us. */
  environment?: Record<string, string | undefined>;
  tools: ToolSearch;
}

export interface CreateRequest {
  source: Source;
  store: DumpStore;
  selection: Selection;
  /** Default: directory; custom where there is a key or no local directory, so that nothing plain is stored. */
  format?: DumpFormat | undefined;
  /** Default: zstd where pg_dump has it, else gzip. */
  compression?: Compression | undefined;
  jobs: number;
  keys?: Keys | undefined;
  /** A table that is locked for longer ends the dump. */
  lockWaitSeconds: number;
  dryRun: boolean;
  now: Date;
  signal?: AbortSignal | undefined;
  progress?: (message: string) => void;
}

/** What a dump will be, or has been. */
export interface DumpPlan {
  id: string;
  format: DumpFormat;
  compression: Compression;
  jobs: number;
  tool: ClientTools;
  tables: DumpedTable[];
}

/**
 * Takes one logical backup. Until its manifest is written, as the last file, it is not one.
 * @throws PgkeepError `not-found` (no pg_dump that fits), `insufficient-privilege` naming what may not be read,
 * `unreachable`, `timeout` (a lock), `statement-failed`
 */
export async function createDump(
  request: CreateRequest,
): Promise<{ plan: DumpPlan; manifest: Manifest | null }> {
  const { source, store, signal } = request;
  const session = await source.connect({
    statementTimeoutMilliseconds: 300_000,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    // The snapshot's transaction waits for the dump, however long that takes.
    await session.query(
      "select set_config('idle_in_transaction_session_timeout', '0', false), set_config('tcp_keepalives_idle', '60', false)",
    );
    // Never committed: it changes nothing, and its end with the session must not undo a finished dump.
    await session.query("begin isolation level repeatable read read only");
    const tables = await readTables(session, request.selection);
    const facts = await readDatabaseFacts(session);
    const plan = await planDump(request, session.serverVersionNumber, tables);
    if (request.dryRun) return { plan, manifest: null };
    const [exported] = await session.query<{ snapshot: string }>("select pg_export_snapshot() as snapshot");
    const snapshot = exported?.snapshot as string;
    const draft = await store.begin(plan.id);
    try {
      const manifest = await fillDraft(request, plan, facts, draft, snapshot, session.serverVersionNumber);
      return { plan, manifest };
    } catch (error) {
      await draft.abandon().catch(() => {});
      throw error;
    }
  } finally {
    await session.close();
  }
}

async function planDump(
  request: CreateRequest,
  serverVersionNumber: number,
  tables: DumpedTable[],
): Promise<DumpPlan> {
  const tool = await findTools(majorOf(serverVersionNumber), request.source.tools);
  const format = request.format ?? (request.keys === undefined ? "directory" : "custom");
  if (request.jobs > 1 && format !== "directory" && request.format !== undefined) {
    throw new UsageError(`the format ${format} is written by one process`, {
      remedy: "give --format directory for a parallel dump, or --jobs 1",
    });
  }
  return {
    id: await freeId(request),
    format,
    compression: await chooseCompression(request.compression, format, tool),
    jobs: format === "directory" ? request.jobs : 1,
    tool,
    tables,
  };
}

/** By database and time; a second one in the same second gets a number. */
async function freeId({ store, source, now }: CreateRequest): Promise<string> {
  const id = `${slug(source.login.database)}-${compactTime(now)}`;
  const taken = new Set((await store.list()).map((entry) => entry.id));
  for (let number = 2; ; number += 1) {
    const candidate = number === 2 ? id : `${id}-${number - 1}`;
    if (!taken.has(candidate)) return candidate;
  }
}

/** What is left of a name when only lower-case letters, digits and hyphens may stay. */
function slug(name: string): string {
  const words = name
    .toLowerCase()
    .slice(0, 63)
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
  const text = words.join("-");
  return /^[a-z]/.test(text) ? text : `database${text === "" ? "" : `-${text}`}`;
}

async function chooseCompression(
  wanted: Compression | undefined,
  format: DumpFormat,
  tool: ClientTools,
): Promise<Compression> {
  if (format === "tar") {
    if (wanted !== undefined && wanted.algorithm !== "none") {
      throw new UsageError("pg_dump does not compress the format tar", { remedy: "choose --format custom" });
    }
    return { algorithm: "none", level: null };
  }
  if (wanted?.algorithm === "zstd" && !(await supportsZstd(tool))) {
    throw new UsageError(`${tool.pgDump} cannot compress with zstd`, {
      remedy: "choose --compress gzip, or install pg_dump 16 or newer built with zstd",
    });
  }
  if (wanted?.algorithm === "zstd" && format === "plain") {
    throw new UsageError("a plain dump is compressed with gzip only", { remedy: "choose --format custom" });
  }
  if (wanted !== undefined) return wanted;
  // The way back of a plain dump is psql, which we feed ourselves.
  return { algorithm: format !== "plain" && (await supportsZstd(tool)) ? "zstd" : "gzip", level: null };
}

function compressionOption({ algorithm, level }: Compression, tool: ClientTools): string[] {
  if (majorOf(tool.versionNumber) < 16) {
    // Without a level, a plain dump would not be compressed at all; 6 is zlib's own default.
    return [`--compress=${algorithm === "none" ? 0 : (level ?? 6)}`];
  }
  return [`--compress=${algorithm}${level === null || algorithm === "none" ? "" : `:${level}`}`];
}

const archiveNames: Record<Exclude<DumpFormat, "directory">, string> = {
  custom: "dump.pgdump",
  plain: "dump.sql",
  tar: "dump.tar",
};

/** Where the archive is within a backup; a directory for the format directory. */
export function archivePath(manifest: Pick<Manifest, "format" | "compression" | "encryption">): string {
  if (manifest.format === "directory") return "dump";
  const packed = manifest.format === "plain" && manifest.compression.algorithm === "gzip" ? ".gz" : "";
  return `${archiveNames[manifest.format]}${packed}${manifest.encryption === null ? "" : ".age"}`;
}

async function fillDraft(
  request: CreateRequest,
  plan: DumpPlan,
  facts: DatabaseFacts,
  draft: Draft,
  snapshot: string,
  serverVersionNumber: number,
): Promise<Manifest> {
  const { source, keys, now, signal } = request;
  const encryption =
    keys === undefined
      ? null
      : { format: "age-v1" as const, recipients: keys.recipients.map(({ text }) => text) };
  const { format, compression, tool } = plan;
  const path = archivePath({ format, compression, encryption });
  request.progress?.(
    `dumping ${source.login.database} with ${tool.pgDump} (${format}${plan.jobs > 1 ? `, ${plan.jobs} at a time` : ""})`,
  );
  const args = [
    databaseOption(source.login.database),
    "--no-password",
    `--format=${format}`,
    `--snapshot=${snapshot}`,
    `--lock-wait-timeout=${request.lockWaitSeconds * 1000}`,
    // A format that cannot be compressed refuses the option.
    ...(format === "tar" ? [] : compressionOption(compression, tool)),
    ...(plan.jobs > 1 ? [`--jobs=${plan.jobs}`] : []),
    ...selectionOptions(request.selection),
  ];
  const dump = async (to: { file: string } | { output: (stdout: Readable) => Promise<void> }) => {
    try {
      await runClient({
        program: tool.pgDump,
        args: "file" in to ? [...args, `--file=${to.file}`] : args,
        login: source.login,
        environment: source.environment,
        ...("file" in to ? {} : { output: to.output }),
        signal,
      });
    } catch (error) {
      throw storeFailure(clientFailure(error, "pg_dump", `dumping ${source.login.database}`), request.store);
    }
  };

  let files: DumpedFile[];
  if (format === "directory") {
    if (draft.directory === undefined) {
      throw new UsageError(`the format directory cannot be streamed to ${request.store.location}`, {
        remedy: "choose --format custom",
      });
    }
    await dump({ file: join(draft.directory, path) });
    files = await (keys === undefined
      ? hashDirectory(draft.directory, path, signal)
      : encryptDirectory(draft, draft.directory, path, keys, signal));
  } else if (draft.directory !== undefined && keys === undefined && format !== "plain") {
    // Written by pg_dump itself, the archive gets the offsets that a parallel restore jumps to.
    await dump({ file: join(draft.directory, path) });
    files = [await hashFile(draft.directory, path, signal)];
  } else {
    let file: DumpedFile | undefined;
    await dump({
      output: async (stdout) => {
        file = await storeStream(draft, path, stdout, keys);
      },
    });
    files = [file as DumpedFile];
  }
  const finishedAt = new Date(Math.max(Date.now(), now.getTime()));
  const manifest: Manifest = {
    formatVersion: 1,
    id: plan.id,
    database: source.login.database,
    ...facts,
    serverVersionNumber,
    tool: { name: "pg_dump", versionNumber: tool.versionNumber },
    startedAt: now.toISOString(),
    finishedAt: finishedAt.toISOString(),
    seconds: (finishedAt.getTime() - now.getTime()) / 1000,
    format,
    compression,
    jobs: plan.jobs,
    selection: request.selection,
    snapshot,
    tables: plan.tables,
    encryption,
    sizeBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    files,
  };
  signal?.throwIfAborted();
  try {
    await draft.commit(serializeManifest(manifest));
  } catch (error) {
    throw storeFailure(error, request.store);
  }
  return manifest;
}

function storeFailure(error: unknown, store: DumpStore): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== "ENOSPC" && code !== "EDQUOT" && code !== "EFBIG") return error;
  return new PgkeepError("statement-failed", `no room is left in ${store.location}: ${errorMessage(error)}`, {
    remedy: "make room there (`pgkeep dump prune`), or choose another place with --to",
    cause: error,
  });
}

/** Counts and hashes what passes. */
export class Meter extends Transform {
  bytes = 0;
  private readonly hash = createHash("sha256");
  override _transform(chunk: Buffer, _: BufferEncoding, done: (error: null, chunk: Buffer) => void): void {
    this.bytes += chunk.length;
    this.hash.update(chunk);
    done(null, chunk);
  }
  digest(): string {
    return this.hash.digest("hex");
  }
}

/** Encrypts when there are keys, measures both sides, stores. */
async function storeStream(
  draft: Draft,
  path: string,
  source: Readable,
  keys: Keys | undefined,
): Promise<DumpedFile> {
  const stored = new Meter();
  if (keys === undefined) {
    await Promise.all([pipeline(source, stored), draft.write(path, stored)]);
    return { path, bytes: stored.bytes, sha256: stored.digest() };
  }
  const plain = new Meter();
  await Promise.all([
    pipeline(source, plain, encryptFor(keys.recipients), stored),
    draft.write(path, stored),
  ]);
  return {
    path,
    bytes: stored.bytes,
    sha256: stored.digest(),
    plainBytes: plain.bytes,
    plainSha256: plain.digest(),
  };
}

async function hashFile(directory: string, path: string, signal?: AbortSignal): Promise<DumpedFile> {
  const hash = createHash("sha256");
  let bytes = 0;
  const source = createReadStream(join(directory, path), { highWaterMark: 1024 * 1024 });
  for await (const chunk of source as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { path, bytes, sha256: hash.digest("hex") };
}

async function hashDirectory(directory: string, path: string, signal?: AbortSignal): Promise<DumpedFile[]> {
  const files: DumpedFile[] = [];
  for (const name of (await readdir(join(directory, path))).sort()) {
    files.push(await hashFile(directory, `${path}/${name}`, signal));
  }
  return files;
}

/** pg_dump writes a directory in the clear: each file is encrypted and the clear one removed before the commit. */
async function encryptDirectory(
  draft: Draft,
  directory: string,
  path: string,
  keys: Keys,
  signal?: AbortSignal,
): Promise<DumpedFile[]> {
  const files: DumpedFile[] = [];
  for (const name of (await readdir(join(directory, path))).sort()) {
    signal?.throwIfAborted();
    const source = createReadStream(join(directory, path, name));
    files.push(await storeStream(draft, `${path}/${name}.age`, source, keys));
    await draft.remove(`${path}/${name}`);
  }
  return files;
}
