import { PgkeepError } from "../errors.ts";
import type { Backup, RestoreRequest } from "../ports/backups.ts";
import type { StoredBackup } from "./backup-store.ts";
import { recover, recoverySettings, requestRecovery } from "./recovery.ts";
import { checkFiles, damagedBackup } from "./restore-copy.ts";
import type { RestoreDirectory, RestoreMarker } from "./restore-directory.ts";
import type { RestoreSource } from "./restore-source.ts";
import { completeWal, requireWal } from "./restore-wal.ts";
import type { ServerFiles } from "./server.ts";
import type { Archive } from "./wal-archive.ts";

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
  await requestRecovery(server);
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
