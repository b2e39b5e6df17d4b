import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type { BackupProblem } from "../ports/backups.ts";
import type { Session } from "../ports/databases.ts";
import { connect } from "../postgres/connect.ts";
import type { BackupStore, StoredBackup } from "./backup-store.ts";
import { type CopiedFile, copyRunningCluster } from "./base-copy.ts";
import { failingPages, pageBytes } from "./page-checksum.ts";
import { describeFile, relationFiles } from "./relation-files.ts";
import { explainSpace } from "./space.ts";
import type { Login } from "./state.ts";
import { segmentProblem } from "./wal-archive.ts";
import { parseLsn, parseSegmentName, segmentBefore, segmentName } from "./wal-names.ts";

export interface BaseBackupRequest {
  id: string;
  database: string;
  store: BackupStore;
  source: { dataDirectory: string; port: number; superuser: Login };
  archiveDirectory: string;
  now(): Date;
  /** How long the archiver may take for the last segment. */
  archiveTimeoutMilliseconds: number;
}

interface ClusterFacts {
  version: number;
  system: string;
  checksums: boolean;
  segment_bytes: number;
}

/**
 * Takes a base backup of a running server into the store: copies and hashes its files, verifies the checksum
 * of each page that was not being changed, waits until the WAL it needs is archived. A corrupt page on the
 * server makes the backup `failed`, with the table and block in `problems`; its files are kept for a rescue.
 * Resolves to undefined when another run makes this backup at the moment.
 * @throws PgkeepError `unreachable`, `refused`, `backup-invalid` when the WAL is not archived in time
 */
export async function takeBaseBackup(request: BaseBackupRequest): Promise<StoredBackup | undefined> {
  const { id, store, source } = request;
  const session = await connect(
    { host: "127.0.0.1", port: source.port, database: request.database, ...source.superuser },
    { statementTimeoutMilliseconds: 0 },
  );
  try {
    const startedAt = request.now();
    const directory = await store.begin(id, request.database, startedAt).catch((error: unknown) => {
      throw explainSpace(error, `the backup ${id}`, store.directory);
    });
    if (directory === undefined) return undefined;
    try {
      const stored = await copyInto(directory, request, session, startedAt);
      await store.finish(stored);
      return stored;
    } catch (error) {
      await store.abandon(id);
      throw explainSpace(error, `the backup ${id}`, store.directory);
    }
  } finally {
    await session.close();
  }
}

async function copyInto(
  directory: string,
  request: BaseBackupRequest,
  session: Session,
  startedAt: Date,
): Promise<StoredBackup> {
  const { source } = request;
  const [facts] = await session.query<ClusterFacts>(
    `select current_setting('server_version_num')::int as version,
            (select system_identifier::text from pg_control_system()) as system,
            current_setting('data_checksums')::boolean as checksums,
            (select setting::int from pg_settings where name = 'wal_segment_size') as segment_bytes`,
  );
  if (facts === undefined) throw new PgkeepError("internal", "the server described itself with no row");
  const relations = await relationFiles(source);
  const data = join(directory, "data");
  const copy = await copyRunningCluster({
    session,
    from: source.dataDirectory,
    to: data,
    label: request.id,
    owner: null,
    hash: true,
  });
  const [end] = await session.query<{ now: Date }>("select clock_timestamp() as now");
  const problems = facts.checksums
    ? await corruptPages(copy.files, data, source.dataDirectory, parseLsn(copy.startLsn), relations)
    : [];
  const stopSegment = segmentName(
    { timeline: copy.timeline, number: segmentBefore(parseLsn(copy.stopLsn), facts.segment_bytes) },
    facts.segment_bytes,
  );
  await waitForArchive(request, session, copy.startWalFile, stopSegment, facts);
  return {
    formatVersion: 1,
    id: request.id,
    database: request.database,
    status: problems.length === 0 ? "available" : "failed",
    startedAt: startedAt.toISOString(),
    // Rounded up: a moment is restorable from the first whole millisecond after the copy was consistent.
    finishedAt: new Date((end?.now.getTime() ?? request.now().getTime()) + 1).toISOString(),
    serverVersionNumber: facts.version,
    systemIdentifier: facts.system,
    dataChecksums: facts.checksums,
    walSegmentBytes: facts.segment_bytes,
    timeline: copy.timeline,
    startLsn: copy.startLsn,
    stopLsn: copy.stopLsn,
    startSegment: copy.startWalFile,
    stopSegment,
    sizeBytes: copy.files.reduce((sum, file) => sum + file.sizeBytes, 0),
    problems,
    files: copy.files.map(({ path, sizeBytes, sha256 }) => ({ path, bytes: sizeBytes, sha256 })),
    relations,
  };
}

/** Relation files in the databases' directories and in `global`: `16384`, `16384_vm`, `16384.1`. */
const relationFile = /^(?:base\/\d+|global)\/\d+(?:_(?:fsm|vm|init))?(?:\.(\d+))?$/;
/** Blocks in one file of a relation (RELSEG_SIZE: 1 GB). */
const blocksPerFile = 131_072;
const chunkBytes = 128 * pageBytes;

/**
 * Pages whose checksum is wrong in the copy and still wrong when read from the server again: between the two
 * readings a page that was caught half written is whole.
 */
async function corruptPages(
  files: readonly CopiedFile[],
  copyDirectory: string,
  serverDirectory: string,
  startLsn: bigint,
  relations: Record<string, string>,
): Promise<BackupProblem[]> {
  const problems: BackupProblem[] = [];
  const buffer = Buffer.alloc(chunkBytes);
  for (const { path } of files) {
    const match = relationFile.exec(path);
    if (match === null) continue;
    const firstBlock = Number(match[1] ?? 0) * blocksPerFile;
    const file = await open(join(copyDirectory, path), "r");
    try {
      for (let offset = 0; ; offset += chunkBytes) {
        const { bytesRead } = await file.read(buffer, 0, chunkBytes, offset);
        const block = firstBlock + offset / pageBytes;
        for (const page of failingPages(buffer.subarray(0, bytesRead), block, startLsn)) {
          if (
            await isStillCorrupt(
              join(serverDirectory, path),
              offset + page * pageBytes,
              block + page,
              startLsn,
            )
          ) {
            problems.push(describeProblem(path, block + page, relations));
          }
        }
        if (bytesRead < chunkBytes) break;
      }
    } finally {
      await file.close();
    }
  }
  return problems;
}

function describeProblem(path: string, block: number, relations: Record<string, string>): BackupProblem {
  const relation = describeFile(path, relations);
  return {
    subject: path,
    ...(relation === undefined ? {} : { relation }),
    problem: `the checksum of block ${block} is wrong on the server`,
  };
}

async function isStillCorrupt(
  path: string,
  offset: number,
  block: number,
  startLsn: bigint,
): Promise<boolean> {
  await delay(50);
  try {
    const file = await open(path, "r");
    try {
      const page = Buffer.alloc(pageBytes);
      const { bytesRead } = await file.read(page, 0, pageBytes, offset);
      return bytesRead === pageBytes && failingPages(page, block, startLsn).length > 0;
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false; // dropped meanwhile
    throw error;
  }
}

async function waitForArchive(
  request: BaseBackupRequest,
  session: Session,
  startSegment: string,
  stopSegment: string,
  facts: ClusterFacts,
): Promise<void> {
  const archive = {
    directories: [request.archiveDirectory],
    segmentBytes: facts.segment_bytes,
    systemIdentifier: facts.system,
  };
  const start = parseSegmentName(startSegment, facts.segment_bytes);
  const stop = parseSegmentName(stopSegment, facts.segment_bytes);
  if (start === undefined || stop === undefined) {
    throw new PgkeepError(
      "internal",
      `the WAL segments ${startSegment} and ${stopSegment} are not understood`,
    );
  }
  const deadline = Date.now() + request.archiveTimeoutMilliseconds;
  for (let number = start.number; number <= stop.number; number++) {
    const name = segmentName({ timeline: start.timeline, number }, facts.segment_bytes);
    for (;;) {
      const problem = await segmentProblem(archive, name);
      if (problem === undefined) break;
      if (Date.now() > deadline) throw await notArchived(session, request, name, problem);
      await delay(40);
    }
  }
}

async function notArchived(
  session: Session,
  request: BaseBackupRequest,
  name: string,
  problem: string,
): Promise<PgkeepError> {
  const [archiver] = await session.query<{ failed: string | null }>(
    "select last_failed_wal as failed from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')",
  );
  const why = archiver?.failed == null ? "" : `; archiving of ${archiver.failed} fails`;
  return new PgkeepError(
    "backup-invalid",
    `the backup ${request.id} needs the WAL segment ${name}, which ${problem}${why}`,
    {
      remedy:
        "see the server's log for what archive_command says, free space in the archive, then back up again",
    },
  );
}
