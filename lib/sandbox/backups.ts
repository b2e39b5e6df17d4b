import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type {
  Backup,
  BackupProblem,
  Backups,
  BackupVerification,
  RecoveryWindow,
  RestoreRequest,
  RestoreState,
} from "../ports/backups.ts";
import { recoveryBase } from "../retention/plan.ts";
import { BackupStore, requireBackupId, type StoredBackup } from "./backup-store.ts";
import { takeBaseBackup } from "./base-backup.ts";
import { exists } from "./owner.ts";
import { runningPostmaster } from "./processes.ts";
import { guardDirectory, markGuarded } from "./reaper.ts";
import { runRestore } from "./restore.ts";
import { checkFiles, problemText } from "./restore-copy.ts";
import { RestoreDirectory, type RestoreMarker, sameRequest, targetText } from "./restore-directory.ts";
import type { RestoreSource } from "./restore-source.ts";
import { startServer } from "./server.ts";
import { explainSpace } from "./space.ts";
import type { SandboxState } from "./state.ts";
import { type Archive, coverage, segmentProblem } from "./wal-archive.ts";
import { parseSegmentName, segmentName } from "./wal-names.ts";

export interface SandboxBackupsOptions {
  now?: () => Date;
  /** How many days back every moment stays restorable; older WAL goes. Default: as long as there is a backup. */
  recoveryDays?: number;
  /** How long a call of `restore` waits for the end before it answers `restoring`. Default 5,000. */
  patienceMilliseconds?: number;
  /** How long the archiver may take for a backup's last segment. Default 60,000. */
  archiveTimeoutMilliseconds?: number;
  /** How long recovery may take. Default 3,600,000. */
  recoveryTimeoutMilliseconds?: number;
}

/** What of the sandbox's state backing up and restoring needs. */
export type BackupPlaces = Pick<
  SandboxState,
  | "database"
  | "primary"
  | "superuser"
  | "archiveDirectory"
  | "backupsDirectory"
  | "scratchDirectory"
  | "binDirectory"
  | "owner"
>;

/** Base backups, archived WAL and restores of a sandbox's primary. */
export function sandboxBackups(state: BackupPlaces, options: SandboxBackupsOptions = {}): Backups {
  return new SandboxBackups(state, options);
}

interface Work {
  abort: AbortController;
  /** Never rejects. */
  settled: Promise<{ marker: RestoreMarker } | { error: unknown }>;
  result?: { marker: RestoreMarker } | { error: unknown };
}

/** A local restore takes seconds. */
const pollAfterSeconds = 0.5;

class SandboxBackups implements Backups {
  private readonly state: BackupPlaces;
  private readonly store: BackupStore;
  readonly recoversFromBackups = true;
  private readonly options: Required<Omit<SandboxBackupsOptions, "recoveryDays">>;
  private readonly recoveryDays: number | undefined;
  private readonly restores = new Map<string, Work>();
  /** Of ephemeral ones: tells the guard that there is nothing left to clean up. */
  private readonly guards = new Map<string, () => void>();

  constructor(state: BackupPlaces, { recoveryDays, ...options }: SandboxBackupsOptions) {
    this.state = state;
    this.recoveryDays = recoveryDays;
    this.store = new BackupStore(state.backupsDirectory);
    this.options = {
      now: () => new Date(),
      patienceMilliseconds: 5_000,
      archiveTimeoutMilliseconds: 60_000,
      recoveryTimeoutMilliseconds: 3_600_000,
      ...options,
    };
  }

  async create(id: string): Promise<Backup> {
    requireBackupId(id);
    await this.store.sweep();
    const existing = (await this.store.list()).find((backup) => backup.id === id);
    if (existing !== undefined && existing.status !== "failed") return existing;
    if (existing !== undefined && (!existing.managed || existing.pinned !== undefined)) {
      throw new PgkeepError("refused", `a failed backup named ${id} exists, which pgkeep may not replace`, {
        remedy: "choose another name, or remove what is there",
      });
    }
    const stored = await takeBaseBackup({
      id,
      database: this.state.database,
      store: this.store,
      source: { ...this.state.primary, superuser: this.state.superuser },
      archiveDirectory: this.state.archiveDirectory,
      now: this.options.now,
      archiveTimeoutMilliseconds: this.options.archiveTimeoutMilliseconds,
    });
    if (stored?.status === "failed") throw corruptServer(id, stored.problems);
    return this.find(id);
  }

  list(): Promise<Backup[]> {
    return this.store.list();
  }

  async remove(id: string): Promise<void> {
    const backup = await this.find(id);
    if (!backup.managed) {
      throw new PgkeepError("refused", `pgkeep did not make ${id}, so it does not delete it`, {
        remedy: "delete it yourself if nobody needs it",
      });
    }
    if (backup.pinned !== undefined) {
      throw new PgkeepError("refused", `the backup ${id} is pinned: ${backup.pinned.reason}`, {
        remedy: `\`pgkeep backup unpin ${id}\` first`,
      });
    }
    if (backup.status === "creating") {
      throw new PgkeepError("refused", `the backup ${id} is being made`, {
        remedy: "wait until it is complete",
      });
    }
    await this.store.drop(id);
    await this.forgetOldWal();
  }

  /**
   * Deletes archived WAL that neither a backup needs to become consistent nor the recovery window. Keeps
   * everything when there is the least doubt about what may still be needed: no backup, one that is being
   * made, one that cannot be read.
   */
  private async forgetOldWal(): Promise<void> {
    const left = (await this.store.list()).filter(({ managed, status }) => managed || status === "failed");
    if (left.length === 0 || left.some(({ managed, status }) => !managed || status === "creating")) return;
    const stored = await Promise.all(left.map(({ id }) => this.store.read(id)));
    const bytes = stored[0]?.walSegmentBytes as number;
    if (stored.some(({ walSegmentBytes }) => walSegmentBytes !== bytes)) return;
    const number = (segment: string) => parseSegmentName(segment, bytes)?.number ?? 0;
    const ranges = stored.map((backup) => [number(backup.startSegment), number(backup.stopSegment)] as const);
    const usable = left.filter(({ status }) => status === "available");
    const base = recoveryBase(usable, this.options.now(), this.recoveryDays);
    const from =
      stored.find(({ id }) => id === base?.id)?.startSegment ??
      segmentName({ timeline: 1, number: 0 }, bytes);
    const oldest = Math.max(number(from), Math.min(...ranges.map(([start]) => start)));
    for (const name of await readdir(this.state.archiveDirectory)) {
      const segment = parseSegmentName(name, bytes)?.number;
      if (segment === undefined || segment >= oldest) continue;
      if (ranges.some(([start, stop]) => segment >= start && segment <= stop)) continue;
      await rm(join(this.state.archiveDirectory, name), { force: true });
    }
  }

  async pin(id: string, reason: string): Promise<void> {
    await this.find(id);
    await this.store.mark(id, (marks) => ({ ...marks, pinned: { reason } }));
  }

  async unpin(id: string): Promise<void> {
    await this.find(id);
    await this.store.mark(id, ({ pinned: _, ...marks }) => marks);
  }

  async markVerified(id: string, at: Date): Promise<void> {
    await this.find(id);
    await this.store.mark(id, (marks) => ({ ...marks, verifiedAt: at.toISOString() }));
  }

  async verify(id: string): Promise<BackupVerification> {
    await this.find(id);
    let stored: StoredBackup;
    try {
      stored = await this.store.read(id);
    } catch (error) {
      if (!(error instanceof PgkeepError) || error.code !== "backup-invalid") throw error;
      const problems = [{ subject: "backup.json", problem: error.message }];
      return { backupId: id, ok: false, filesChecked: 0, bytesChecked: 0, walSegmentsChecked: 0, problems };
    }
    const files = await checkFiles(this.store, stored);
    const problems = [...stored.problems, ...files.problems];
    const segments = neededSegments(stored);
    for (const segment of segments) {
      const problem = await segmentProblem(this.archive(stored), segment);
      if (problem !== undefined) problems.push({ subject: segment, problem });
    }
    const ok = problems.length === 0;
    if (ok) await this.markVerified(id, this.options.now());
    return {
      backupId: id,
      ok,
      filesChecked: files.files,
      bytesChecked: files.bytes,
      walSegmentsChecked: segments.length,
      problems,
    };
  }

  /**
   * From the end of the oldest backup that leads without a gap to the newest one's WAL, to the last write of
   * the newest archived segment that is reached without a gap.
   */
  async recoveryWindow(): Promise<RecoveryWindow | undefined> {
    const usable = (await this.store.list()).filter(
      ({ managed, status }) => managed && status === "available",
    );
    let window: (RecoveryWindow & { last: string }) | undefined;
    for (const { id } of usable) {
      const stored = await this.store.read(id);
      const archive = this.archive(stored);
      const start = parseSegmentName(stored.startSegment, stored.walSegmentBytes);
      const stop = parseSegmentName(stored.stopSegment, stored.walSegmentBytes);
      if (start === undefined || stop === undefined) continue;
      const { segments, paths } = await coverage(archive, start);
      const last = segments.at(-1);
      if (last === undefined || (parseSegmentName(last, stored.walSegmentBytes)?.number ?? -1) < stop.number)
        continue;
      const earliest = new Date(stored.finishedAt);
      if (window === undefined) {
        const written = (await stat(paths.get(last) as string)).mtime;
        const latest = new Date(
          Math.max(earliest.getTime(), Math.min(written.getTime(), this.options.now().getTime())),
        );
        window = { earliest, latest, last };
      } else if (last === window.last) {
        window.earliest = earliest;
      } else {
        break;
      }
    }
    return window === undefined ? undefined : { earliest: window.earliest, latest: window.latest };
  }

  async restore(request: RestoreRequest): Promise<RestoreState> {
    const directory = this.directoryOf(request.name);
    let work = this.restores.get(request.name);
    if (work === undefined) {
      const marker = await directory.read();
      if (marker !== undefined) {
        if (!sameRequest(marker, request)) throw otherTarget(request, marker);
        if (directory.isMadeElsewhere(marker)) {
          return { status: "restoring", detail: `process ${marker.pid} is at work on it`, pollAfterSeconds };
        }
        if (marker.state === "available") return this.available(directory, marker);
      }
      // What a killed restore has left cannot be told from a whole one: begin again.
      await directory.remove();
      if (request.ephemeral === true) this.guards.set(request.name, await guardDirectory(directory.path));
      work = this.begin(request, directory);
      this.restores.set(request.name, work);
    } else if (!sameRequest(await this.markerOf(directory, request), request)) {
      throw otherTarget(request, await this.markerOf(directory, request));
    }
    await Promise.race([work.settled, delay(this.options.patienceMilliseconds, undefined, { ref: false })]);
    if (work.result === undefined)
      return { status: "restoring", detail: "copying files and replaying WAL", pollAfterSeconds };
    this.restores.delete(request.name);
    if ("error" in work.result) throw work.result.error;
    return this.available(directory, work.result.marker);
  }

  async restored(): Promise<string[]> {
    const names: string[] = [];
    for (const name of await readdir(this.state.scratchDirectory).catch(() => [])) {
      const marker = join(this.state.scratchDirectory, name, "restore.json");
      if (await exists(marker)) names.push(name);
    }
    return names.sort();
  }

  async discard(name: string): Promise<void> {
    const work = this.restores.get(name);
    if (work !== undefined) {
      work.abort.abort(new PgkeepError("deadline", `the restore ${name} was discarded`));
      await work.settled;
      this.restores.delete(name);
    }
    await this.directoryOf(name).remove();
    this.guards.get(name)?.();
    this.guards.delete(name);
  }

  private begin(request: RestoreRequest, directory: RestoreDirectory): Work {
    const abort = new AbortController();
    const marker: RestoreMarker = {
      formatVersion: 1,
      name: request.name,
      wanted: targetText(request.target),
      ...(request.fromBackupId === undefined ? {} : { fromBackupId: request.fromBackupId }),
      pid: process.pid,
      state: "restoring",
    };
    const run = async () => {
      if (request.ephemeral === true) {
        await mkdir(directory.path, { recursive: true, mode: 0o700 });
        await markGuarded(directory.path);
      }
      await directory.begin(marker);
      const finished = await runRestore(this.source(), request, directory, marker, abort.signal);
      await directory.write(finished);
      return finished;
    };
    const work: Work = {
      abort,
      settled: run().then(
        (finished) => ({ marker: finished }),
        async (error: unknown) => {
          // Nothing half restored stays behind; what went wrong is in the error.
          await directory.remove().catch(() => {});
          return { error: explainSpace(error, `the restore ${request.name}`, this.state.scratchDirectory) };
        },
      ),
    };
    void work.settled.then((result) => {
      work.result = result;
    });
    return work;
  }

  private async available(directory: RestoreDirectory, marker: RestoreMarker): Promise<RestoreState> {
    const running = await runningPostmaster(directory.data);
    const { port } =
      running ??
      (await startServer({
        dataDirectory: directory.data,
        binDirectory: this.state.binDirectory,
        owner: this.state.owner,
      }));
    return {
      status: "available",
      endpoint: { host: "127.0.0.1", port },
      backupId: marker.backupId ?? "",
      ...(marker.lastCommitAt === undefined ? {} : { lastCommitAt: new Date(marker.lastCommitAt) }),
    };
  }

  private async markerOf(directory: RestoreDirectory, request: RestoreRequest): Promise<RestoreMarker> {
    // Between the call that began it and its marker there is nothing to compare with yet.
    return (
      (await directory.read()) ?? {
        formatVersion: 1,
        name: request.name,
        wanted: targetText(request.target),
        ...(request.fromBackupId === undefined ? {} : { fromBackupId: request.fromBackupId }),
        pid: process.pid,
        state: "restoring",
      }
    );
  }

  private source(): RestoreSource {
    const { primary, superuser, database, archiveDirectory, binDirectory, owner } = this.state;
    return {
      store: this.store,
      archiveDirectory,
      primary: { dataDirectory: primary.dataDirectory, port: primary.port, superuser, database },
      binDirectory,
      owner,
      window: () => this.recoveryWindow(),
      now: this.options.now,
      recoveryTimeoutMilliseconds: this.options.recoveryTimeoutMilliseconds,
    };
  }

  private archive(stored: StoredBackup): Archive {
    return {
      directories: [this.state.archiveDirectory],
      segmentBytes: stored.walSegmentBytes,
      systemIdentifier: stored.systemIdentifier,
    };
  }

  private directoryOf(name: string): RestoreDirectory {
    return new RestoreDirectory(this.state.scratchDirectory, name, this.state.owner);
  }

  private async find(id: string): Promise<Backup> {
    const backup = (await this.store.list()).find((entry) => entry.id === id);
    if (backup !== undefined) return backup;
    throw new PgkeepError("not-found", `there is no backup named ${id}`, {
      remedy: "see the names with `pgkeep backup list`",
    });
  }
}

/** The WAL without which the backup is not consistent, oldest first. */
function neededSegments(stored: StoredBackup): string[] {
  const start = parseSegmentName(stored.startSegment, stored.walSegmentBytes);
  const stop = parseSegmentName(stored.stopSegment, stored.walSegmentBytes);
  if (start === undefined || stop === undefined) return [stored.startSegment];
  return Array.from({ length: stop.number - start.number + 1 }, (_, index) =>
    segmentName({ timeline: stored.timeline, number: start.number + index }, stored.walSegmentBytes),
  );
}

function corruptServer(id: string, problems: readonly BackupProblem[]): PgkeepError {
  const shown = problems.slice(0, 5).map(problemText).join("; ");
  return new PgkeepError(
    "backup-invalid",
    `the backup ${id} is not usable, because the server is damaged: ${shown}`,
    {
      remedy:
        "restore the named table from an older backup (`pgkeep restore`), or drop and rebuild the named index, then back up again",
    },
  );
}

function otherTarget(request: RestoreRequest, marker: RestoreMarker): PgkeepError {
  return new PgkeepError(
    "refused",
    `an instance named ${request.name} exists already, restored to ${marker.wanted}`,
    { remedy: "choose another name, or discard it with `pgkeep restore --discard NAME`" },
  );
}
