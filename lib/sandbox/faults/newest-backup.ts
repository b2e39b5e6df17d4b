import { PgkeepError } from "../../errors.ts";
import { BackupStore, type StoredBackup } from "../backup-store.ts";
import type { SandboxState } from "../state.ts";

/** The backup that a drill would restore. @throws PgkeepError `refused` when there is none yet */
export async function newestBackup(
  state: SandboxState,
): Promise<{ store: BackupStore; backup: StoredBackup }> {
  const store = new BackupStore(state.backupsDirectory);
  const listed = await store.list();
  const newest = listed.find((backup) => backup.managed && backup.status === "available");
  if (newest !== undefined) return { store, backup: await store.read(newest.id) };
  throw new PgkeepError("refused", "there is no backup to break yet", {
    remedy: "make one with `pgkeep run back-up`, then apply the fault again",
  });
}
