import { type Dirent, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { storageBytes } from "../../alarms/alarm.ts";
import type { ServerState } from "../state.ts";
import { type Measure, ofServer } from "./measure.ts";

/** A file that counts as stored by this server without being one of its own: a sparse one fills the disk for nothing. */
export function ballastFile({ dataDirectory }: Pick<ServerState, "dataDirectory">): string {
  return `${dataDirectory}.ballast`;
}

/**
 * Sizes are those that files show, not the blocks that they take.
 * - `FreeStorageSpace`. AWS: free bytes of the instance's storage. Ours: `database.storageGigabytes` less everything
 *   in the server's data directory and tablespaces and the files named after it beside it (its log, its ballast).
 *   Storage does not grow by itself. 0 when there is more.
 * - `TransactionLogsDiskUsage`, `ReplicationSlotDiskUsage`. AWS: disk space used by transaction logs, and by the files
 *   of replication slots. Ours: everything in `pg_wal` and in `pg_replslot`.
 *
 * Of the primary only: no alarm reads a replica's, and a look at every file takes time. Absent while it does not run.
 */
export const storage: Measure = {
  metrics: ["FreeStorageSpace", "TransactionLogsDiskUsage", "ReplicationSlotDiskUsage"],
  start() {
    const unchanging: Known = new Map();
    return async ({ state, config, servers }) => {
      const primary = servers.find(({ name }) => name === state.primary.name);
      if (primary === undefined) return [];
      const { dataDirectory } = primary;
      const used = sizeOf(dataDirectory, unchanging) + tablespaces(dataDirectory) + beside(dataDirectory);
      const allocated = storageBytes(config.database.storageGigabytes);
      return [
        ofServer("FreeStorageSpace", primary, Math.max(0, allocated - used)),
        ofServer("TransactionLogsDiskUsage", primary, sizeOf(join(dataDirectory, "pg_wal"))),
        ofServer("ReplicationSlotDiskUsage", primary, sizeOf(join(dataDirectory, "pg_replslot"))),
      ];
    };
  },
};

/** Sizes of directories by path, with the time at which a file last came or went. */
type Known = Map<string, { size: number; changedAt: number }>;

/** Databases that initdb makes (FirstNormalObjectId): nobody writes there, and they have most of the files. */
const initialDatabase = /\/base\/(\d+)$/;
const firstNormalObjectId = 16_384;

/** Synchronous, as a few thousand small answers take a fraction of the time that way. Links are not followed. */
function sizeOf(directory: string, unchanging?: Known): number {
  const database = Number(initialDatabase.exec(directory)?.[1]);
  if (unchanging === undefined || !(database < firstNormalObjectId)) return look(directory, unchanging);
  const changedAt = statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const known = unchanging.get(directory);
  if (known?.changedAt === changedAt) return known.size;
  const size = look(directory, unchanging);
  unchanging.set(directory, { size, changedAt });
  return size;
}

function look(directory: string, unchanging: Known | undefined): number {
  let total = 0;
  for (const entry of entriesOf(directory)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) total += sizeOf(path, unchanging);
    else if (entry.isFile()) total += fileSize(path);
  }
  return total;
}

function tablespaces(dataDirectory: string): number {
  const links = join(dataDirectory, "pg_tblspc");
  return entriesOf(links).reduce((total, { name }) => total + sizeOf(join(links, name)), 0);
}

function beside(dataDirectory: string): number {
  const directory = dirname(dataDirectory);
  const prefix = `${basename(dataDirectory)}.`;
  return entriesOf(directory)
    .filter((entry) => entry.isFile() && entry.name.startsWith(prefix))
    .reduce((total, { name }) => total + fileSize(join(directory, name)), 0);
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return []; // dropped meanwhile
  }
}

function fileSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
