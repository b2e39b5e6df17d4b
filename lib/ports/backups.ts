import type { Endpoint } from "./databases.ts";

export type BackupStatus = "creating" | "available" | "failed" | "deleting";

/** One physical backup (a snapshot on AWS, a base backup in the sandbox). */
export interface Backup {
  /** Stable, sortable name made from the database and the UTC time, e.g. `pgkeep-shop-20260102t030405z`. */
  id: string;
  database: string;
  status: BackupStatus;
  /** When the copy began; the retention rules count from here. */
  startedAt: Date;
  finishedAt?: Date;
  sizeBytes?: number;
  /** A person asked to keep this one whatever the rules say, and why. */
  pinned?: { reason: string };
  /** When `verify` or a drill last proved it, if ever. */
  verifiedAt?: Date;
  /** False for anything that pgkeep did not make: listed, never deleted. */
  managed: boolean;
  serverVersionNumber?: number;
  /** First WAL position that a restore needs, and the first one at which it is consistent. */
  startLsn?: string;
  stopLsn?: string;
}

export interface RecoveryWindow {
  /** No moment before this can be restored to. */
  earliest: Date;
  /** Every transaction acknowledged up to here can be restored. */
  latest: Date;
}

/** One thing that is wrong with a stored backup, e.g. a file whose checksum differs. */
export interface BackupProblem {
  /** The file, segment or object at fault. */
  subject: string;
  /** The table or index it belongs to, when known. */
  relation?: string;
  problem: string;
}

export interface BackupVerification {
  backupId: string;
  ok: boolean;
  filesChecked: number;
  bytesChecked: number;
  walSegmentsChecked: number;
  problems: BackupProblem[];
}

export type RestoreTarget =
  /** Everything that the archive holds. */
  | { kind: "latest" }
  /** Every transaction that committed up to and including `time`, none after. */
  | { kind: "time"; time: Date }
  /** The state at the end of that backup, without replay beyond it. */
  | { kind: "backup"; backupId: string };

export interface RestoreRequest {
  /** Name of the new instance. Asking twice for the same name continues the same restore. */
  name: string;
  target: RestoreTarget;
  /** Start from this backup instead of the newest one before the target. */
  fromBackupId?: string;
  /** It is for the calling process alone: where the adapter can, it disappears with it, also when that is killed. */
  ephemeral?: boolean;
}

export type RestoreState =
  /** `pollAfterSeconds`: how long to wait before asking again, as the adapter knows it. */
  | { status: "restoring"; detail: string; pollAfterSeconds: number }
  | {
      status: "available";
      endpoint: Endpoint;
      backupId: string;
      /** Last commit that the restored server replayed, when it replayed any. */
      lastCommitAt?: Date;
    };

/** Physical backups, the WAL archive and restores of one database. */
export interface Backups {
  /** True where moments are recovered from these very backups, so that pruning must leave what the window needs. */
  readonly recoversFromBackups?: boolean;
  /**
   * Starts, or finds when it exists, the backup with this id. Resolves when its status is final or still `creating`.
   * @throws PgkeepError `backup-invalid` naming table and block when the server's own files are corrupt
   */
  create(id: string): Promise<Backup>;
  list(): Promise<Backup[]>;
  /** @throws PgkeepError `not-found`; `refused` for a pinned or unmanaged one */
  remove(id: string): Promise<void>;
  pin(id: string, reason: string): Promise<void>;
  unpin(id: string): Promise<void>;
  /** Recomputes the checksums and looks for gaps in the WAL it needs; records `verifiedAt` when fine. */
  verify(id: string): Promise<BackupVerification>;
  /** Records that a drill has restored and proved this backup. */
  markVerified(id: string, at: Date): Promise<void>;
  recoveryWindow(): Promise<RecoveryWindow | undefined>;
  /** Starts the restore, or reports how far it is. @throws PgkeepError `restore-failed`, `backup-invalid`, `not-found` */
  restore(request: RestoreRequest): Promise<RestoreState>;
  /** Names of the instances that `restore` made and nobody discarded, when the adapter can tell. */
  restored?(): Promise<string[]>;
  /** Stops and deletes an instance that `restore` made under this name; nothing else, and fine when it is gone. */
  discard(name: string): Promise<void>;
}
