import { copyFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type { RestoreTarget } from "../ports/backups.ts";
import { connect } from "../postgres/connect.ts";
import type { StoredBackup } from "./backup-store.ts";
import { giveTo } from "./owner.ts";
import type { RestoreDirectory } from "./restore-directory.ts";
import type { RestoreSource } from "./restore-source.ts";
import { isRunning } from "./server.ts";
import { type Archive, coverage, fileProblem, segmentProblem } from "./wal-archive.ts";
import { parseSegmentName, type Segment, segmentName } from "./wal-names.ts";

/**
 * For a moment that the archive may not reach yet: has a running primary archive what it wrote until now, and
 * saves from a dead one the WAL that it did not archive. Resolves to whether all WAL up to now is at hand.
 */
export async function completeWal(
  source: RestoreSource,
  target: RestoreTarget,
  backup: StoredBackup,
  directory: RestoreDirectory,
  signal: AbortSignal,
): Promise<boolean> {
  if (target.kind === "backup") return false;
  if (await isRunning(source.primary.dataDirectory)) {
    // `latest` means what the archive holds: a drill that helps it along would measure a better RPO than real.
    return target.kind === "time" && (await archiveUpToNow(source, backup, signal));
  }
  return salvageWal(source, backup, directory);
}

const archiveTimeoutMilliseconds = 30_000;

async function archiveUpToNow(
  source: RestoreSource,
  backup: StoredBackup,
  signal: AbortSignal,
): Promise<boolean> {
  const { primary } = source;
  let name: string;
  try {
    const session = await connect(
      { host: "127.0.0.1", port: primary.port, database: primary.database, ...primary.superuser },
      { signal },
    );
    try {
      // A commit after the target makes recovery stop exactly there instead of running out of WAL.
      await session.query("select pg_current_xact_id()");
      const [row] = await session.query<{ name: string }>("select pg_walfile_name(pg_switch_wal()) as name");
      name = row?.name ?? "";
    } finally {
      await session.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof PgkeepError) return false; // it runs and lets nobody in: the archive must do
    throw error;
  }
  const archive: Archive = {
    directories: [source.archiveDirectory],
    segmentBytes: backup.walSegmentBytes,
    systemIdentifier: backup.systemIdentifier,
  };
  const deadline = Date.now() + archiveTimeoutMilliseconds;
  while ((await segmentProblem(archive, name)) !== undefined) {
    if (Date.now() > deadline) return false;
    await delay(30, undefined, { signal });
  }
  return true;
}

/** Copies the WAL of a dead primary that lies after the archive's end; recycled files do not count as WAL. */
async function salvageWal(
  source: RestoreSource,
  backup: StoredBackup,
  directory: RestoreDirectory,
): Promise<boolean> {
  const from = join(source.primary.dataDirectory, "pg_wal");
  const names = await readdir(from).catch(() => undefined);
  if (names === undefined) return false;
  const archived = new Set(await readdir(source.archiveDirectory).catch(() => []));
  const identity = { segmentBytes: backup.walSegmentBytes, systemIdentifier: backup.systemIdentifier };
  for (const name of names) {
    const segment = parseSegmentName(name, backup.walSegmentBytes);
    const history = /^[0-9A-F]{8}\.history$/.test(name);
    if (archived.has(name) || (segment === undefined && !history)) continue;
    if (segment !== undefined && (await fileProblem(join(from, name), segment, identity)) !== undefined)
      continue;
    await copyFile(join(from, name), join(directory.salvage, name));
    await giveTo(source.owner, join(directory.salvage, name));
  }
  return true;
}

/**
 * Looks for gaps and damage before anything is copied: recovery would take a missing segment for the end of
 * the log and quietly come up with less. Resolves to the last segment that `latest` must replay.
 */
export async function requireWal(
  archive: Archive,
  backup: StoredBackup,
  target: RestoreTarget,
  complete: boolean,
): Promise<string | undefined> {
  const start = parseSegmentName(backup.startSegment, backup.walSegmentBytes);
  const stop = parseSegmentName(backup.stopSegment, backup.walSegmentBytes);
  if (start === undefined || stop === undefined) {
    throw new PgkeepError("backup-invalid", `the backup ${backup.id} names no valid WAL segments`);
  }
  const found = await coverage(archive, start);
  const last = found.segments.at(-1);
  let reaches: Date | undefined;
  for (const name of found.segments) {
    const segment = parseSegmentName(name, archive.segmentBytes) as Segment;
    const path = found.paths.get(name) as string;
    const needed = segment.number <= stop.number;
    if (!needed && (target.kind === "backup" || isReached(target, reaches))) break;
    const problem = await fileProblem(path, segment, archive);
    if (problem !== undefined) throw badSegment(name, problem, backup, needed, reaches);
    reaches = (await stat(path)).mtime;
  }
  const length = found.segments.length;
  if (start.number + length <= stop.number) {
    const name =
      found.missing ?? segmentName({ ...start, number: start.number + length }, archive.segmentBytes);
    throw badSegment(name, "is missing from the archive", backup, true, reaches);
  }
  if (found.missing !== undefined && target.kind !== "backup" && !isReached(target, reaches)) {
    throw badSegment(found.missing, "is missing from the archive", backup, false, reaches);
  }
  return complete || target.kind !== "latest" ? undefined : last;
}

/** Whether WAL written until `reaches` holds everything before the target. */
function isReached(target: RestoreTarget, reaches: Date | undefined): boolean {
  return target.kind === "time" && reaches !== undefined && target.time.getTime() < reaches.getTime();
}

function badSegment(
  name: string,
  problem: string,
  backup: StoredBackup,
  needed: boolean,
  reaches: Date | undefined,
): PgkeepError {
  const consequence = needed
    ? `the backup ${backup.id} itself needs it`
    : `from the backup ${backup.id} nothing after about ${reaches?.toISOString() ?? backup.finishedAt} can be recovered`;
  return new PgkeepError("restore-failed", `the WAL segment ${name} ${problem}; ${consequence}`, {
    remedy:
      "bring the segment back from a copy of the archive, or restore to a moment before it; take a new backup now",
  });
}
