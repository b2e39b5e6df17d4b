import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { countText } from "../../words.ts";
import type { StoredBackup } from "../backup-store.ts";
import { BackupStore } from "../backup-store.ts";
import { exists } from "../owner.ts";
import type { SandboxState } from "../state.ts";
import type { Fault } from "./fault.ts";
import { newestBackup } from "./newest-backup.ts";

/** Beyond the period and the slack of a weekly backup. */
const agedDays = 9;
const agedMilliseconds = agedDays * 86_400_000;

/** One file for each backup that looks older, with when it really began. */
function recordsDirectory(state: SandboxState): string {
  return join(state.directory, "faults", "late-backup");
}

export const lateBackup: Fault = {
  name: "late-backup",
  alarms: ["backup-late"],
  summary: `let every backup look as if it had begun ${agedDays} days earlier: check-recovery measures that none was taken since, whatever back-up says of its runs`,
  apply: async ({ state }) => {
    await newestBackup(state);
    const store = new BackupStore(state.backupsDirectory);
    const directory = recordsDirectory(state);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const aged: string[] = [];
    for (const { id, managed, status } of await store.list()) {
      const record = join(directory, `${id}.json`);
      if (!managed || status !== "available" || (await exists(record))) continue;
      const { startedAt } = await store.read(id);
      await writeFile(record, JSON.stringify({ startedAt }), { mode: 0o600 });
      await changeBeginning(store, id, new Date(Date.parse(startedAt) - agedMilliseconds).toISOString());
      aged.push(id);
    }
    const details = { days: agedDays, backups: aged };
    return aged.length === 0
      ? { outcome: "already-applied", message: "every backup looks old", details }
      : {
          outcome: "applied",
          message: `${countText(aged.length, "backup")} (${aged.join(", ")}) look ${agedDays} days older`,
          details,
        };
  },
  repair: async ({ state }) => {
    const store = new BackupStore(state.backupsDirectory);
    const names = await readdir(recordsDirectory(state)).catch(() => []);
    const repaired: string[] = [];
    for (const name of names) {
      const record = join(recordsDirectory(state), name);
      const id = name.slice(0, -".json".length);
      const { startedAt } = JSON.parse(await readFile(record, "utf8")) as Pick<StoredBackup, "startedAt">;
      // Somebody may have deleted it since.
      if (await exists(store.pathOf(id))) {
        await changeBeginning(store, id, startedAt);
        repaired.push(id);
      }
      await rm(record);
    }
    const details = { days: agedDays, backups: repaired };
    return names.length === 0
      ? { outcome: "not-applied", message: "no backup looks older than it is", details }
      : {
          outcome: "repaired",
          message: `${countText(repaired.length, "backup")} look as old as they are`,
          details,
        };
  },
};

/** Only when it began: what can be restored from it depends on when it ended. */
async function changeBeginning(store: BackupStore, id: string, startedAt: string): Promise<void> {
  await store.replaceDescription({ ...(await store.read(id)), startedAt });
}
