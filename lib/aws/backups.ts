import { PgkeepError } from "../errors.ts";
import type {
  Backup,
  BackupProblem,
  BackupStatus,
  Backups,
  BackupVerification,
  RecoveryWindow,
  RestoreRequest,
  RestoreState,
} from "../ports/backups.ts";
import { durationText } from "../words.ts";
import type { AwsClients } from "./clients.ts";
import { recoveryWindow } from "./recovery-window.ts";
import { type PlatformResources, pinnedTag, snapshotTag } from "./resources.ts";
import { Restores } from "./restore.ts";
import { type Snapshot, type Snapshots, snapshotsIn } from "./snapshots.ts";
import { decodeTagValue, encodeTagValue, verifiedTag } from "./tags.ts";

export interface RdsBackupsOptions {
  now?: () => Date;
  /** The longest time between two scheduled backups: `verify` says when the newest is older than two of them. */
  scheduledEverySeconds?: number | undefined;
  /** How long `discard` waits for an instance that cannot be deleted yet. Default 720,000. */
  discardPatienceMilliseconds?: number;
  /** Pause between two looks at it. Default 15,000. */
  discardPollMilliseconds?: number;
}

/**
 * What RDS gives as the backup of a restore to a moment when pgkeep has taken none before it: AWS's own
 * automated backup, which has no manifest and cannot be marked.
 */
export const automatedBackup = "automated";

/**
 * Backups as RDS snapshots, with copies in other regions. A snapshot is pgkeep's when its name begins with
 * `pgkeep-<key>-` and its tag names the database; nothing else is ever deleted or tagged.
 *
 * `verify` says what can be said without restoring: that the snapshot and its copies exist, are complete,
 * encrypted and of this database, and the newest no older than its schedule makes it. Only a drill proves the data, so only `markVerified` records `verifiedAt`.
 */
export function rdsBackups(
  clients: AwsClients,
  resources: PlatformResources,
  options: RdsBackupsOptions = {},
): Backups {
  return new RdsBackups(clients, resources, options);
}

class RdsBackups implements Backups {
  private readonly clients: AwsClients;
  private readonly resources: PlatformResources;
  private readonly now: () => Date;
  private readonly scheduledEverySeconds: number | undefined;
  private readonly home: Snapshots;
  private readonly elsewhere: Snapshots[];
  private readonly restores: Restores;

  constructor(clients: AwsClients, resources: PlatformResources, options: RdsBackupsOptions) {
    this.clients = clients;
    this.resources = resources;
    this.now = options.now ?? (() => new Date());
    this.scheduledEverySeconds = options.scheduledEverySeconds;
    this.home = snapshotsIn(clients, resources, resources.region);
    this.elsewhere = resources.copyToRegions.map((region) => snapshotsIn(clients, resources, region));
    this.restores = new Restores(clients, resources, options);
  }

  async create(id: string): Promise<Backup> {
    this.requireOwnName(id);
    const existing = await this.home.find(id);
    if (existing === undefined) return this.begin(id);
    const backup = this.describe(existing);
    if (!backup.managed) {
      throw new PgkeepError("refused", `a snapshot named ${id} exists, which pgkeep did not take`, {
        remedy: "delete or rename it, or ask for a backup under another name",
      });
    }
    if (backup.status === "available") await this.copyElsewhere(existing);
    if (backup.status === "deleting") return { ...backup, status: "creating" };
    if (backup.status === "failed" && backup.pinned === undefined) {
      // The name is free once it is gone; whoever polls for the end takes it again then.
      await this.home.remove(id);
      return { ...backup, status: "creating" };
    }
    return backup;
  }

  private async begin(id: string): Promise<Backup> {
    const made =
      (await this.home.create(id, { [snapshotTag]: this.resources.key })) ?? (await this.home.find(id));
    if (made === undefined) throw this.absent(id);
    return this.describe(made);
  }

  /** Begins the copies that are missing; RDS makes them in its own time, and `verify` looks at them. */
  private async copyElsewhere(snapshot: Snapshot): Promise<void> {
    for (const place of this.elsewhere) {
      const copy = await place.find(snapshot.id);
      if (copy !== undefined) {
        if (copy.status !== "failed" || !this.describe(copy).managed) continue;
        await place.remove(copy.id);
      }
      await place.copy(
        { snapshot, region: this.home.region, kmsKeyId: keyIn(place.region, this.resources.kmsKeyArn) },
        { [snapshotTag]: this.resources.key },
      );
    }
  }

  async list(): Promise<Backup[]> {
    const snapshots = await this.home.list();
    return snapshots
      .filter(({ type }) => type !== "automated")
      .map((snapshot) => this.describe(snapshot))
      .sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime() || (a.id < b.id ? 1 : -1));
  }

  async remove(id: string): Promise<void> {
    const snapshot = await this.find(id);
    this.requireRemovable(this.describe(snapshot), this.home.region);
    const copies: { place: Snapshots; copy: Snapshot }[] = [];
    for (const place of this.elsewhere) {
      const copy = await place.find(id);
      if (copy === undefined) continue;
      this.requireRemovable(this.describe(copy), place.region);
      copies.push({ place, copy });
    }
    // The original goes last: as long as a copy is left, the next run finds it here.
    for (const { place, copy } of copies) if (copy.status !== "deleting") await place.remove(id);
    if (snapshot.status !== "deleting") await this.home.remove(id);
  }

  private requireRemovable(backup: Backup, region: string): void {
    const which = region === this.home.region ? backup.id : `the copy of ${backup.id} in ${region}`;
    if (!backup.managed) {
      throw new PgkeepError("refused", `pgkeep did not make ${which}, so it does not delete it`, {
        remedy: "delete it yourself if nobody needs it",
      });
    }
    if (backup.pinned !== undefined) {
      throw new PgkeepError("refused", `the backup ${which} is pinned: ${backup.pinned.reason}`, {
        remedy: `\`pgkeep backup unpin ${backup.id}\` first`,
      });
    }
    if (backup.status === "creating") {
      throw new PgkeepError("refused", `the backup ${which} is being made`, {
        remedy: "wait until it is complete",
      });
    }
  }

  async pin(id: string, reason: string): Promise<void> {
    const value = encodeTagValue(reason);
    await this.find(id);
    for (const { place, snapshot } of await this.everywhere(id)) {
      await place.tag(snapshot, { [pinnedTag]: value });
    }
  }

  async unpin(id: string): Promise<void> {
    await this.find(id);
    for (const { place, snapshot } of await this.everywhere(id)) await place.untag(snapshot, [pinnedTag]);
  }

  async markVerified(id: string, at: Date): Promise<void> {
    if (id === automatedBackup) return;
    const snapshot = await this.find(id);
    this.requireManaged(snapshot);
    await this.home.tag(snapshot, { [verifiedTag]: at.toISOString() });
  }

  async verify(id: string): Promise<BackupVerification> {
    const snapshot = await this.find(id);
    const problems = this.problemsOf(snapshot, id);
    let copies = 0;
    for (const place of this.elsewhere) {
      const subject = `${id} in ${place.region}`;
      const copy = await place.find(id);
      if (copy === undefined) problems.push({ subject, problem: "there is no copy" });
      else {
        copies += 1;
        problems.push(...this.problemsOf(copy, subject));
      }
    }
    problems.push(...(await this.overdue(id)));
    return {
      backupId: id,
      ok: problems.length === 0,
      filesChecked: 1 + copies,
      bytesChecked: 0,
      walSegmentsChecked: 0,
      problems,
    };
  }

  /** A backup may be sound and yet the newest of all too old: one run of the schedule may fail, not two. */
  private async overdue(id: string): Promise<BackupProblem[]> {
    const every = this.scheduledEverySeconds;
    const newest = (await this.list()).find(({ managed, status }) => managed && status === "available");
    if (every === undefined || newest?.id !== id) return [];
    const age = (this.now().getTime() - newest.startedAt.getTime()) / 1000;
    if (age <= 2 * every) return [];
    const problem = `it is the newest and ${durationText(age)} old; the schedule takes one every ${durationText(every)}`;
    return [{ subject: id, problem }];
  }

  private problemsOf(snapshot: Snapshot, subject: string): BackupProblem[] {
    const { status, encrypted, source, takenAt } = snapshot;
    const wrong = [
      status === "available" ? undefined : `its status is ${status}`,
      encrypted ? undefined : "it is not encrypted",
      source === this.resources.primary.identifier ? undefined : `it is of ${source}`,
      status === "available" && takenAt === undefined ? "it has no time" : undefined,
    ];
    return wrong.filter((problem) => problem !== undefined).map((problem) => ({ subject, problem }));
  }

  recoveryWindow(): Promise<RecoveryWindow | undefined> {
    return recoveryWindow(this.clients.rds(), this.resources);
  }

  async restore(request: RestoreRequest): Promise<RestoreState> {
    return this.restores.restore(request, {
      window: () => this.recoveryWindow(),
      snapshot: (id) => this.usable(id),
      newestBefore: (time) => this.newestBefore(time),
    });
  }

  restored(): Promise<string[]> {
    return this.restores.names();
  }

  discard(name: string): Promise<void> {
    return this.restores.discard(name);
  }

  private async usable(id: string): Promise<Snapshot> {
    const snapshot = await this.find(id);
    if (snapshot.status === "available") return snapshot;
    throw new PgkeepError("backup-invalid", `the snapshot ${id} is ${snapshot.status}, not available`, {
      remedy: "choose another with `pgkeep backup list`, or wait",
    });
  }

  private async newestBefore(time: Date | undefined): Promise<string> {
    const usable = (await this.list()).filter(
      ({ managed, status, startedAt }) =>
        managed && status === "available" && (time === undefined || startedAt.getTime() <= time.getTime()),
    );
    return usable[0]?.id ?? automatedBackup;
  }

  private async everywhere(id: string): Promise<{ place: Snapshots; snapshot: Snapshot }[]> {
    const found: { place: Snapshots; snapshot: Snapshot }[] = [];
    for (const place of [this.home, ...this.elsewhere]) {
      const snapshot = await place.find(id);
      if (snapshot === undefined) continue;
      this.requireManaged(snapshot);
      found.push({ place, snapshot });
    }
    return found;
  }

  private async find(id: string): Promise<Snapshot> {
    const snapshot = await this.home.find(id);
    if (snapshot === undefined) throw this.absent(id);
    return snapshot;
  }

  private absent(id: string): PgkeepError {
    return new PgkeepError("not-found", `there is no snapshot named ${id} in ${this.home.region}`, {
      remedy: "`pgkeep backup list` shows what there is",
    });
  }

  private requireManaged(snapshot: Snapshot): void {
    if (this.isManaged(snapshot)) return;
    throw new PgkeepError("refused", `pgkeep did not make ${snapshot.id}, so it does not tag it`, {
      remedy: "tag it yourself",
    });
  }

  private requireOwnName(id: string): void {
    const prefix = this.prefix();
    if (id.startsWith(prefix) && id.length <= 255 && /^[a-z](?:-?[a-z0-9])*$/.test(id)) return;
    throw new PgkeepError("usage", `${JSON.stringify(id)} cannot be the name of a backup of this database`, {
      remedy: `use lower-case letters, digits and single hyphens, beginning with ${prefix}`,
    });
  }

  private prefix(): string {
    return `pgkeep-${this.resources.key}-`;
  }

  private isManaged({ id, type, tags }: Snapshot): boolean {
    return type === "manual" && id.startsWith(this.prefix()) && tags.get(snapshotTag) === this.resources.key;
  }

  private describe(snapshot: Snapshot): Backup {
    const pinned = snapshot.tags.get(pinnedTag);
    const verifiedAt = new Date(snapshot.tags.get(verifiedTag) ?? Number.NaN);
    const version = versionNumber(snapshot.engineVersion);
    return {
      id: snapshot.id,
      database: this.resources.databaseName,
      status: statusOf(snapshot.status),
      startedAt: snapshot.takenAt ?? this.now(),
      managed: this.isManaged(snapshot),
      ...(snapshot.allocatedGibibytes === undefined || snapshot.allocatedGibibytes === 0
        ? {}
        : { sizeBytes: snapshot.allocatedGibibytes * 1024 ** 3 }),
      ...(pinned === undefined ? {} : { pinned: { reason: decodeTagValue(pinned) } }),
      ...(Number.isNaN(verifiedAt.getTime()) ? {} : { verifiedAt }),
      ...(version === undefined ? {} : { serverVersionNumber: version }),
    };
  }
}

/** A status that nobody knows counts as unfinished: such a backup is neither used nor deleted. */
function statusOf(status: string): BackupStatus {
  if (status === "available" || status === "deleting" || status === "failed") return status;
  return status.startsWith("incompatible") ? "failed" : "creating";
}

/** `17.4` → 170004, as `server_version_num` has it. */
function versionNumber(engineVersion: string | undefined): number | undefined {
  const match = /^(\d+)\.(\d+)/.exec(engineVersion ?? "");
  return match === null ? undefined : Number(match[1]) * 10_000 + Number(match[2]);
}

/**
 * The key for a copy in another region: the replica there of a multi-Region key (its id begins with `mrk-` and
 * is the same everywhere), else AWS's own key for RDS, since another key of one's own would have to be named.
 */
function keyIn(region: string, kmsKeyArn: string): string {
  const [arn, partition, service, , account, resource] = kmsKeyArn.split(":");
  return resource?.startsWith("key/mrk-") === true
    ? [arn, partition, service, region, account, resource].join(":")
    : "alias/aws/rds";
}
