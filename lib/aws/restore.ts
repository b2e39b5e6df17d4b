import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type { RecoveryWindow, RestoreRequest, RestoreState } from "../ports/backups.ts";
import type { Endpoint } from "../ports/databases.ts";
import type { AwsClients } from "./clients.ts";
import { isNamed } from "./errors.ts";
import { type PlatformResources, restoredTag, snapshotTag } from "./resources.ts";
import { restoredClusters } from "./restored-clusters.ts";
import { restoredInstances } from "./restored-instances.ts";
import type { Snapshot } from "./snapshots.ts";
import { restoreBackupTag, restoreNameTag, restoreTargetTag, type Tags } from "./tags.ts";

/** RDS takes many minutes, and throttles who asks too often. */
const pollAfterSeconds = 60;

/** An instance or cluster that has the name of a restored one. */
export interface RestoredDatabase {
  id: string;
  /** As RDS says it: `creating`, `available`, `incompatible-restore`, `deleting`, … */
  status: string;
  endpoint?: Endpoint;
  tags: Tags;
}

/** What a restore is made of on RDS, for instances and for clusters. */
export interface RestoredDatabases {
  find(id: string): Promise<RestoredDatabase | undefined>;
  list(): Promise<RestoredDatabase[]>;
  fromSnapshot(id: string, snapshot: Snapshot, tags: Record<string, string>): Promise<void>;
  toTime(id: string, time: Date | undefined, tags: Record<string, string>): Promise<void>;
  /** What has to be made after the restore itself has begun: the instance of an Aurora cluster. */
  advance?(database: RestoredDatabase, tags: Record<string, string>): Promise<void>;
  remove(database: RestoredDatabase): Promise<void>;
}

/** What restoring needs to know of the backups. */
export interface RestoreSources {
  window(): Promise<RecoveryWindow | undefined>;
  /** An available snapshot. @throws PgkeepError `not-found`, `backup-invalid` */
  snapshot(id: string): Promise<Snapshot>;
  /** The newest backup from before a moment, or what stands for AWS's own. */
  newestBefore(time: Date | undefined): Promise<string>;
}

export interface RestoresOptions {
  discardPatienceMilliseconds?: number;
  discardPollMilliseconds?: number;
}

/**
 * Identifier of what a restore makes: `pgkeep-<key>-<name>`, shortened with a digest to the 61 characters that
 * leave room for an Aurora cluster's instance (identifiers have at most 63).
 */
export function restoredIdentifier(key: string, name: string): string {
  if (!/^[a-z](?:-?[a-z0-9])*$/.test(name) || name.length > 63) {
    throw new PgkeepError("usage", `${JSON.stringify(name)} cannot be the name of a restored instance`, {
      remedy: "use up to 63 lower-case letters, digits and single hyphens, beginning with a letter",
    });
  }
  const prefix = `pgkeep-${key}-`;
  const room = 61 - prefix.length;
  if (name.length <= room) return prefix + name;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 6);
  return `${prefix}${name.slice(0, room - 7).replace(/-+$/, "")}-${digest}`;
}

/** Restores of one database: started, polled and removed by name; told apart from everything else by their tags. */
export class Restores {
  private readonly databases: RestoredDatabases;
  private readonly resources: PlatformResources;
  private readonly options: Required<RestoresOptions>;

  constructor(clients: AwsClients, resources: PlatformResources, options: RestoresOptions) {
    this.resources = resources;
    this.databases =
      resources.topology === "instance"
        ? restoredInstances(clients.rds(), resources)
        : restoredClusters(clients.rds(), resources);
    this.options = {
      discardPatienceMilliseconds: options.discardPatienceMilliseconds ?? 720_000,
      discardPollMilliseconds: options.discardPollMilliseconds ?? 15_000,
    };
  }

  async restore(request: RestoreRequest, sources: RestoreSources): Promise<RestoreState> {
    const id = restoredIdentifier(this.resources.key, request.name);
    const existing = await this.databases.find(id);
    if (existing === undefined) return this.begin(id, request, sources);
    this.requireOwn(existing, request.name);
    const wanted = targetText(request);
    const target = existing.tags.get(restoreTargetTag);
    if (target !== wanted) {
      throw new PgkeepError("refused", `${id} was restored to ${target}, and now ${wanted} is asked for`, {
        remedy: "choose another name, or discard the first one",
      });
    }
    return this.progress(existing, request);
  }

  private async progress(existing: RestoredDatabase, request: RestoreRequest): Promise<RestoreState> {
    const { id, status, endpoint, tags } = existing;
    if (/^(failed|incompatible-|inaccessible|restore-error|storage-full)/.test(status)) {
      throw new PgkeepError("restore-failed", `${id} is ${status}`, {
        remedy: `read the events of ${id} in the RDS console, discard it, and try another backup`,
      });
    }
    if (status === "deleting") {
      throw new PgkeepError("restore-failed", `${id} is being deleted`, { remedy: "choose another name" });
    }
    await this.databases.advance?.(existing, this.tagsOf(request, tags.get(restoreBackupTag) ?? ""));
    if (status !== "available" || endpoint === undefined) {
      return { status: "restoring", detail: `${id} is ${status}`, pollAfterSeconds };
    }
    return { status: "available", endpoint, backupId: tags.get(restoreBackupTag) ?? "" };
  }

  private async begin(id: string, request: RestoreRequest, sources: RestoreSources): Promise<RestoreState> {
    const { target } = request;
    if (target.kind === "backup") {
      const snapshot = await sources.snapshot(target.backupId);
      await this.databases.fromSnapshot(id, snapshot, this.tagsOf(request, snapshot.id));
      return { status: "restoring", detail: `${id} is made from ${snapshot.id}`, pollAfterSeconds };
    }
    if (request.fromBackupId !== undefined) {
      await sources.snapshot(request.fromBackupId);
      throw new PgkeepError("refused", "RDS chooses by itself which backup a moment is restored from", {
        remedy: `leave the backup out, or restore the state at the end of ${request.fromBackupId}`,
      });
    }
    const time = target.kind === "time" ? target.time : undefined;
    await requireInside(time, sources);
    await this.databases.toTime(id, time, this.tagsOf(request, await sources.newestBefore(time)));
    return {
      status: "restoring",
      detail: `${id} is restored to ${time?.toISOString() ?? "the latest moment"}`,
      pollAfterSeconds,
    };
  }

  /** Names of all that was restored for this database and is not on its way out. */
  async names(): Promise<string[]> {
    const found = await this.databases.list();
    return found
      .filter((database) => database.status !== "deleting" && this.isOwn(database))
      .map(({ tags }) => tags.get(restoreNameTag))
      .filter((name) => name !== undefined)
      .sort();
  }

  async discard(name: string): Promise<void> {
    const id = restoredIdentifier(this.resources.key, name);
    const until = Date.now() + this.options.discardPatienceMilliseconds;
    for (;;) {
      const database = await this.databases.find(id);
      if (database === undefined || database.status === "deleting") return;
      this.requireOwn(database, name);
      try {
        await this.databases.remove(database);
        return;
      } catch (error) {
        // While it is being created or backed up, RDS does not delete it.
        const cause = error instanceof PgkeepError ? error.cause : error;
        if (!isNamed(cause, "InvalidDBInstanceState", "InvalidDBClusterState")) throw error;
        if (Date.now() >= until) {
          throw new PgkeepError("timeout", `${id} is ${database.status} and cannot be deleted yet`, {
            remedy: "discard it later; the next drill does it too",
            cause: error,
          });
        }
      }
      await delay(this.options.discardPollMilliseconds);
    }
  }

  private tagsOf(request: RestoreRequest, backupId: string): Record<string, string> {
    const [drill, person] = restoredTag.values;
    return {
      [restoredTag.key]: request.name.startsWith("drill-") ? drill : person,
      [snapshotTag]: this.resources.key,
      [restoreNameTag]: request.name,
      [restoreTargetTag]: targetText(request),
      [restoreBackupTag]: backupId,
    };
  }

  private isOwn({ id, tags }: RestoredDatabase): boolean {
    const purpose = tags.get(restoredTag.key);
    return (
      id.startsWith(`pgkeep-${this.resources.key}-`) &&
      restoredTag.values.some((value) => value === purpose) &&
      tags.get(snapshotTag) === this.resources.key
    );
  }

  private requireOwn(database: RestoredDatabase, name: string): void {
    if (this.isOwn(database) && database.tags.get(restoreNameTag) === name) return;
    throw new PgkeepError(
      "refused",
      `${database.id} was not made by a restore named ${name}: it is left alone`,
      {
        remedy: "choose another name",
      },
    );
  }
}

function targetText({ target, fromBackupId }: RestoreRequest): string {
  const start = fromBackupId === undefined ? "" : ` from ${fromBackupId}`;
  if (target.kind === "latest") return `latest${start}`;
  return target.kind === "time" ? `${target.time.toISOString()}${start}` : target.backupId;
}

async function requireInside(time: Date | undefined, sources: RestoreSources): Promise<void> {
  const window = await sources.window();
  if (window === undefined) {
    throw new PgkeepError("restore-failed", "AWS has no automated backup of this database to restore from", {
      remedy: "restore a snapshot with --backup, and see that backups.pointInTimeRecoveryDays is in force",
    });
  }
  if (time === undefined || (time >= window.earliest && time <= window.latest)) return;
  throw new PgkeepError(
    "restore-failed",
    `${time.toISOString()} lies outside: moments from ${window.earliest.toISOString()} to ${window.latest.toISOString()} can be restored`,
    { remedy: "choose a time inside this window" },
  );
}
