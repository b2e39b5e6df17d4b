import { join } from "node:path";
import type { Readable } from "node:stream";
import { errorMessage, PgkeepError, UsageError } from "../errors.ts";
import { majorOf } from "../postgres/versions.ts";
import { compactTime } from "../retention/calendar.ts";
import { archivePath } from "./archive-path.ts";
import { clientFailure, databaseOption, runClient } from "./client.ts";
import { type Compression, chooseCompression, compressionOption } from "./compression.ts";
import { type DatabaseFacts, readDatabaseFacts, readTables } from "./contents.ts";
import { hashDirectory, hashFile, storeDirectory, storeStream } from "./dump-files.ts";
import { type KeyService, sealFor } from "./envelope.ts";
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
import type { Source } from "./source.ts";
import type { Draft, DumpStore } from "./store.ts";
import { type ClientTools, findTools } from "./tools.ts";

export interface CreateRequest {
  source: Source;
  store: DumpStore;
  selection: Selection;
  /** Default: directory; custom where there is a key, so that nothing plain is stored, or no local directory. */
  format?: DumpFormat | undefined;
  /** Default: zstd where pg_dump has it, else gzip. */
  compression?: Compression | undefined;
  jobs: number;
  keys?: Keys | undefined;
  /** Gives each dump a key of its own, which it is encrypted for beside `keys`. */
  keyService?: KeyService | undefined;
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
  const format = request.format ?? defaultFormat(request);
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

const defaultFormat = ({ keys, keyService, store }: CreateRequest): DumpFormat =>
  keys === undefined && keyService === undefined && store.directoryOf !== undefined ? "directory" : "custom";

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

async function fillDraft(
  request: CreateRequest,
  plan: DumpPlan,
  facts: DatabaseFacts,
  draft: Draft,
  snapshot: string,
  serverVersionNumber: number,
): Promise<Manifest> {
  const { source, now, signal } = request;
  const { keys, encryption } = await sealFor(plan.id, request.keys, request.keyService);
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
    const directory = draft.directory ?? (await draft.stage?.());
    if (directory === undefined) {
      throw new UsageError(`the format directory cannot be streamed to ${request.store.location}`, {
        remedy: "choose --format custom",
      });
    }
    await dump({ file: join(directory, path) });
    files = await (keys === undefined && draft.directory !== undefined
      ? hashDirectory(directory, path, signal)
      : storeDirectory(draft, directory, path, keys, signal));
  } else if (draft.directory !== undefined && keys === undefined && format !== "plain") {
    // Written by pg_dump itself, the archive gets the offsets that a parallel restore jumps to.
    await dump({ file: join(draft.directory, path) });
    files = [await hashFile(draft.directory, path, signal)];
  } else {
    let file: DumpedFile | undefined;
    await dump({
      output: async (stdout) => {
        file = await storeStream(draft, path, stdout, keys, expectedBytes(plan));
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

/** Without compression, and with as much again for what is kept beside the tables. */
const expectedBytes = ({ tables }: DumpPlan) =>
  2 * tables.reduce((sum, { estimatedBytes }) => sum + estimatedBytes, 0);

function storeFailure(error: unknown, store: DumpStore): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== "ENOSPC" && code !== "EDQUOT" && code !== "EFBIG") return error;
  return new PgkeepError("statement-failed", `no room is left in ${store.location}: ${errorMessage(error)}`, {
    remedy: "make room there (`pgkeep dump prune`), or choose another place with --to",
    cause: error,
  });
}
