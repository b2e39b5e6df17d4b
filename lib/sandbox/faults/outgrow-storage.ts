import { join } from "node:path";
import { storageBytes } from "../../alarms/alarm.ts";
import { bytesText } from "../../words.ts";
import type { SandboxState } from "../state.ts";
import { ballastBytes, makeBallast, removeBallast } from "./ballast.ts";
import { type Fault, type FaultContext, storageOf } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/**
 * A file in the database's own directory. PostgreSQL counts it with the database; by its name base backups and
 * copies of the cluster leave it out, as they do temporary files.
 */
export async function fileInDatabase(state: SandboxState, fault: string): Promise<string> {
  const [row] = await withSuperuser(state, (session) =>
    session.query<{ oid: string }>("select oid::text from pg_database where datname = current_database()"),
  );
  return join(state.primary.dataDirectory, "base", row?.oid ?? "", `pgsql_tmp.pgkeep-fault-${fault}`);
}

export const outgrowStorage: Fault = {
  name: "outgrow-storage",
  alarms: ["free-storage", "storage-ceiling", "storage-forecast"],
  argument: { word: "gigabytes", values: ["1", "10", "100", "1000"] },
  summary:
    "put a file into the database that shows so many gigabytes, or database.maxStorageGigabytes: PostgreSQL says that the database is so large (it takes no room on this machine, and no backup has it)",
  apply: async (context) => {
    const { state } = context;
    const file = await fileInDatabase(state, "outgrow-storage");
    const present = await ballastBytes(file);
    if (present !== undefined) {
      const message = `the database shows ${bytesText(present)} more already`;
      return { outcome: "already-applied", message, details: { file, bytes: present } };
    }
    const bytes = wanted(context);
    await makeBallast(state, file, bytes);
    return {
      outcome: "applied",
      message: `the database shows ${bytesText(bytes)} more than it has`,
      details: { file, bytes },
    };
  },
  repair: async ({ state }) => {
    const file = await fileInDatabase(state, "outgrow-storage");
    return (await removeBallast(file))
      ? { outcome: "repaired", message: "the database shows its own size again", details: { file } }
      : { outcome: "not-applied", message: "the database shows its own size", details: { file } };
  },
};

function wanted(context: FaultContext): number {
  const { argument } = context;
  if (argument !== undefined) return storageBytes(Number(argument));
  return storageBytes(storageOf(context).maxStorageGigabytes);
}
