import type { RecoveryWindow } from "../ports/backups.ts";
import type { BackupStore } from "./backup-store.ts";
import type { Owner } from "./owner.ts";
import type { Login } from "./state.ts";

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
