import { copyFile, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Backup, RecoveryWindow, RestoreRequest, RestoreTarget } from "../ports/backups.ts";
import { connect } from "../postgres/connect.ts";
import type { BackupStore, StoredBackup } from "./backup-store.ts";
import { giveTo, type Owner } from "./owner.ts";
import { checkFiles, damagedBackup } from "./restore-copy.ts";
import { type RestoreDirectory, type RestoreMarker, targetText } from "./restore-directory.ts";
import {
  configureServer,
  isRunning,
  logFile,
  type ServerFiles,
  type ServerSettings,
  startServer,
  stopServer,
} from "./server.ts";
import type { Login } from "./state.ts";
import { type Archive, coverage, fileProblem, segmentProblem } from "./wal-archive.ts";
import { parseLsn, parseSegmentName, type Segment, segmentAt, segmentName } from "./wal-names.ts";

/** What a restore works with. */
export interface RestoreSource {
  store: BackupStore;
  archiveDirectory: string;
  primary: { dataDirectory: string; port: number; superuser: Login; database: string };
  binDirectory: string;
  owner: Owner | null;
  window(): Promise<RecoveryWindow | undefined>;
  now(): Date;
  recoveryTimeoutMilliseconds: number;
}

/**
 * Makes a new cluster from a base backup and archived WAL, recovers it to the target and starts it, writable,
 * on a loopback port of its own. Nothing of it reaches the archive or the primary.
 * @throws PgkeepError `backup-invalid` naming the damaged file and its table; `restore-failed` naming the
 *   missing WAL segment, or the last moment that could be restored
 */
export async function runRestore(
  source: RestoreSource,
  request: RestoreRequest,
  directory: RestoreDirectory,
  marker: RestoreMarker,
  signal: AbortSignal,
): Promise<RestoreMarker> {
  const backup = await chooseBackup(source, request);
  const archive: Archive = {
    directories: [source.archiveDirectory, directory.salvage],
    segmentBytes: backup.walSegmentBytes,
    systemIdentifier: backup.systemIdentifier,
  };
  const complete = await completeWal(source, request.target, backup, directory, signal);
  const lastSegment = await requireWal(archive, backup, request.target, complete);
  const checked = await checkFiles(
    source.store,
    backup,
    { directory: directory.data, owner: source.owner },
    signal,
  );
  if (checked.problems.length > 0) throw damagedBackup(backup.id, checked.problems);

  const server: ServerFiles = {
    dataDirectory: directory.data,
    binDirectory: source.binDirectory,
    owner: source.owner,
  };
  const settings = await recoverySettings(server, archive);
  await touch(join(directory.data, "recovery.signal"), source.owner);
  const lastCommitAt = await recover(server, settings, request.target, backup, {
    complete,
    lastSegment,
    timeoutMilliseconds: source.recoveryTimeoutMilliseconds,
    signal,
  });
  return {
    ...marker,
    state: "available",
    backupId: backup.id,
    ...(lastCommitAt === undefined ? {} : { lastCommitAt: lastCommitAt.toISOString() }),
  };
}

/** The backup asked for, or the newest usable one that is older than the target. */
async function chooseBackup(source: RestoreSource, request: RestoreRequest): Promise<StoredBackup> {
  const { target } = request;
  const wanted = target.kind === "backup" ? target.backupId : request.fromBackupId;
  const until = target.kind === "time" ? target.time : undefined;
  if (until !== undefined && until.getTime() > source.now().getTime()) {
    throw await outsideWindow(source, until, "lies in the future");
  }
  if (wanted !== undefined) {
    const stored = await source.store.read(wanted);
    if (stored.status !== "available") {
      throw new PgkeepError("backup-invalid", `the backup ${wanted} failed, so nothing is restored from it`, {
        remedy: "choose another with `pgkeep backup list`",
      });
    }
    if (until !== undefined && new Date(stored.finishedAt).getTime() > until.getTime()) {
      throw new PgkeepError(
        "restore-failed",
        `the backup ${wanted} ended at ${stored.finishedAt}, after ${until.toISOString()}`,
        { remedy: "choose an older backup, or leave the choice to pgkeep" },
      );
    }
    return stored;
  }
  const usable = (await source.store.list()).filter(
    (backup): backup is Backup & { finishedAt: Date } =>
      backup.managed && backup.status === "available" && backup.finishedAt !== undefined,
  );
  if (usable.length === 0) {
    throw new PgkeepError("not-found", "there is no backup to restore from", {
      remedy: "take one with `pgkeep backup create`",
    });
  }
  const chosen = usable.find(
    ({ finishedAt }) => until === undefined || finishedAt.getTime() <= until.getTime(),
  );
  if (chosen === undefined)
    throw await outsideWindow(source, until as Date, "is before the oldest backup ended");
  return source.store.read(chosen.id);
}

async function outsideWindow(source: RestoreSource, time: Date, why: string): Promise<PgkeepError> {
  const window = await source.window();
  const shown =
    window === undefined
      ? "nothing can be restored now"
      : `moments from ${window.earliest.toISOString()} to ${window.latest.toISOString()} can be restored`;
  return new PgkeepError("restore-failed", `${time.toISOString()} ${why}; ${shown}`, {
    remedy: "choose a time inside this window",
  });
}

/**
 * For a moment that the archive may not reach yet: has a running primary archive what it wrote until now, and
 * saves from a dead one the WAL that it did not archive. Resolves to whether all WAL up to now is at hand.
 */
async function completeWal(
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
async function requireWal(
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

/** Settings of the old cluster without which its WAL may not replay, or it may not start. */
const inherited = [
  "max_connections",
  "max_prepared_transactions",
  "max_locks_per_transaction",
  "max_worker_processes",
  "shared_buffers",
  "fsync",
];

async function recoverySettings(server: ServerFiles, archive: Archive): Promise<ServerSettings> {
  const settings: ServerSettings = {};
  const old = await readFile(join(server.dataDirectory, "pgkeep.conf"), "utf8").catch(() => "");
  for (const line of old.split("\n")) {
    const match = /^(\w+) = '?(.*?)'?$/.exec(line);
    if (match !== null && inherited.includes(match[1] as string))
      settings[match[1] as string] = match[2] as string;
  }
  const fetch = archive.directories
    .map((directory) => shellWord(join(directory, "%f").replaceAll("%", "%%").replace(/%%f$/, "%f")))
    .map((file) => `if [ -f ${file} ]; then exec cp ${file} "%p"; fi`)
    .join("; ");
  return {
    ...settings,
    restore_command: `${fetch}; exit 1`,
    recovery_target_action: "promote",
    recovery_target_timeline: "latest",
    // Nobody is let in before the target is reached, so no query ever sees a state on the way there.
    hot_standby: false,
    archive_mode: "off",
    primary_conninfo: "",
    primary_slot_name: "",
    synchronous_standby_names: "",
    max_wal_senders: 0,
    wal_level: "replica",
  };
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function touch(file: string, owner: Owner | null): Promise<void> {
  await writeFile(file, "", { mode: 0o600 });
  await giveTo(owner, file);
}

interface RecoverOptions {
  complete: boolean;
  lastSegment: string | undefined;
  timeoutMilliseconds: number;
  signal: AbortSignal;
}

async function recover(
  server: ServerFiles,
  settings: ServerSettings,
  target: RestoreTarget,
  backup: StoredBackup,
  options: RecoverOptions,
): Promise<Date | undefined> {
  const start = async (targetSettings: ServerSettings) => {
    await configureServer(server, { ...settings, ...targetSettings });
    await startServer(server, { timeoutMilliseconds: options.timeoutMilliseconds, signal: options.signal });
  };
  try {
    await start(targetSettings(target));
  } catch (error) {
    const log = await readLog(server);
    if (!(error instanceof PgkeepError) || error.code !== "start-failed") throw error;
    if (!/recovery ended before configured recovery target was reached/.test(log)) {
      throw recoveryFailed(target, backup, log, error);
    }
    // With all WAL at hand nothing was committed between its end and the target, so its end is the target.
    if (!options.complete) throw endedEarly(target, log);
    await start({});
  }
  const log = await readLog(server);
  try {
    requireReplayed(log, backup, options.lastSegment);
  } catch (error) {
    await stopServer(server.dataDirectory, "immediate");
    throw error;
  }
  return lastCommit(log);
}

function targetSettings(target: RestoreTarget): ServerSettings {
  switch (target.kind) {
    case "latest":
      return {};
    case "backup":
      return { recovery_target: "immediate" };
    case "time":
      // Settings are read before the server knows abbreviations of time zones, so no Z.
      return {
        recovery_target_time: target.time.toISOString().replace("Z", "+00"),
        recovery_target_inclusive: true,
      };
  }
}

async function readLog(server: ServerFiles): Promise<string> {
  return readFile(logFile(server.dataDirectory), "utf8").catch(() => "");
}

/** The server's own words, in UTC because its log is. */
function lastCommit(log: string): Date | undefined {
  const all = [...log.matchAll(/last completed transaction was at log time (\S+ [\d:.]+)\+00/g)];
  const text = all.at(-1)?.[1];
  return text === undefined
    ? undefined
    : new Date(`${text.replace(" ", "T").replace(/(\.\d{3})\d+$/, "$1")}Z`);
}

/** A damaged record looks to recovery like the end of the log; the segments after it say that it is not. */
function requireReplayed(log: string, backup: StoredBackup, lastSegment: string | undefined): void {
  if (lastSegment === undefined) return;
  const done = [...log.matchAll(/redo done at ([0-9A-F]+\/[0-9A-F]+)/g)].at(-1)?.[1];
  const expected = parseSegmentName(lastSegment, backup.walSegmentBytes)?.number ?? 0;
  const reached = done === undefined ? -1 : segmentAt(parseLsn(done), backup.walSegmentBytes);
  if (reached >= expected) return;
  const reason = /(?:invalid|incorrect|unexpected|contrecord|record with)[^\n]*/.exec(log)?.[0];
  throw new PgkeepError(
    "restore-failed",
    `recovery stopped at ${done ?? "its beginning"}, before the segment ${lastSegment}${
      reason === undefined ? "" : `: ${reason}`
    }`,
    {
      remedy:
        "a WAL segment before it is damaged: bring it back from a copy of the archive; take a new backup now",
    },
  );
}

function endedEarly(target: RestoreTarget, log: string): PgkeepError {
  const last = lastCommit(log);
  return new PgkeepError(
    "restore-failed",
    `the archive ends before ${targetText(target).replace(/^time /, "")}: ${
      last === undefined
        ? "it holds no transaction after the backup"
        : `its last transaction is of ${last.toISOString()}`
    }`,
    { remedy: "restore to that moment or an earlier one" },
  );
}

function recoveryFailed(
  target: RestoreTarget,
  backup: StoredBackup,
  log: string,
  error: PgkeepError,
): PgkeepError {
  const fatal = [...log.matchAll(/(?:FATAL|PANIC): {2}(.*)/g)].map((match) => match[1]);
  const reason = fatal.find((line) => !/startup process|aborting/.test(line ?? "")) ?? errorMessage(error);
  return new PgkeepError(
    "restore-failed",
    `the backup ${backup.id} could not be recovered to ${targetText(target).replace(/^time /, "")}: ${reason}`,
    { remedy: "verify the backup with `pgkeep backup verify`, or restore from another one", cause: error },
  );
}
