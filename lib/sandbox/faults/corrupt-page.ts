import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../../errors.ts";
import type { StoredBackup } from "../backup-store.ts";
import { exists } from "../owner.ts";
import { pageBytes } from "../page-checksum.ts";
import type { SandboxState } from "../state.ts";
import type { Fault } from "./fault.ts";
import { newestBackup } from "./newest-backup.ts";
import { inflict, planDamage } from "./page-damage.ts";

/** Nothing writes it after the load, so that replaying WAL does not bring the page back by chance. */
const table = "shop.products";

/** What repair needs, one file for each backup that was damaged. */
interface Damage {
  backup: string;
  /** Below the backup's data directory. */
  file: string;
  block: number;
  /** From the beginning of the file. */
  offset: number;
  /** Base64. */
  original: string;
}

function damageDirectory(state: SandboxState): string {
  return join(state.directory, "faults", "corrupt-page");
}

export const corruptPage: Fault = {
  name: "corrupt-page",
  alarms: ["drill-failed"],
  summary: `flip bytes in a heap page of ${table} inside the newest backup: verifying it and the drill must fail and name table and file`,
  apply: async ({ state }) => {
    const { store, backup } = await newestBackup(state);
    const record = join(damageDirectory(state), `${backup.id}.json`);
    if (await exists(record)) {
      const { file, block } = JSON.parse(await readFile(record, "utf8")) as Damage;
      return {
        outcome: "already-applied",
        message: `block ${block} of ${table} is damaged in the backup ${backup.id}`,
        details: { backup: backup.id, table, file, block },
      };
    }
    const { file, bytes } = heapFile(backup);
    const block = Math.floor(bytes / pageBytes / 2);
    const handle = await open(join(store.dataOf(backup.id), file), "r+");
    try {
      const planned = await planDamage(handle, block);
      const damage: Damage = {
        backup: backup.id,
        file,
        block,
        offset: planned.offset,
        original: planned.original.toString("base64"),
      };
      await mkdir(damageDirectory(state), { recursive: true, mode: 0o700 });
      await writeFile(record, JSON.stringify(damage), { mode: 0o600 });
      await inflict(handle, planned);
    } finally {
      await handle.close();
    }
    return {
      outcome: "applied",
      message: `block ${block} of ${table} (${file}) was damaged in the backup ${backup.id}`,
      details: { backup: backup.id, table, file, block },
    };
  },
  repair: async ({ state }) => {
    const records = await readdir(damageDirectory(state)).catch(() => []);
    const repaired: string[] = [];
    for (const name of records) {
      const record = join(damageDirectory(state), name);
      const damage = JSON.parse(await readFile(record, "utf8")) as Damage;
      const path = join(state.backupsDirectory, damage.backup, "data", damage.file);
      if (await exists(path)) {
        const handle = await open(path, "r+");
        try {
          const original = Buffer.from(damage.original, "base64");
          await handle.write(original, 0, original.length, damage.offset);
        } finally {
          await handle.close();
        }
        repaired.push(damage.backup);
      }
      await rm(record);
    }
    return repaired.length === 0
      ? { outcome: "not-applied", message: "no backup is damaged", details: { backups: repaired } }
      : {
          outcome: "repaired",
          message: `${table} is whole again in the backup ${repaired.join(", ")}`,
          details: { backups: repaired },
        };
  },
};

/** The first file of the table in the backup. @throws PgkeepError `refused` when it has no page there */
function heapFile(backup: StoredBackup): { file: string; bytes: number } {
  const path = Object.keys(backup.relations).find((key) => backup.relations[key] === table);
  const stored = backup.files.find((file) => file.path === path);
  if (stored !== undefined && stored.bytes >= pageBytes) return { file: stored.path, bytes: stored.bytes };
  throw new PgkeepError("refused", `the backup ${backup.id} has no page of ${table} to damage`, {
    remedy: "make a backup of a sandbox with its sample application, then apply the fault again",
  });
}
