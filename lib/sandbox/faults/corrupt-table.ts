import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Session } from "../../ports/databases.ts";
import type { SandboxState } from "../state.ts";
import type { Fault } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { inflict, planDamage } from "./page-damage.ts";

/** Made for this, so that the application loses nothing. */
const schema = "pgkeep_fault";
const table = `${schema}.damaged`;
const block = 5;
const details = { table, block };

const isThere = async (session: Session): Promise<boolean> =>
  (await session.query("select from pg_namespace where nspname = $1", [schema])).length > 0;

export const corruptTable: Fault = {
  name: "corrupt-table",
  alarms: ["corrupt-objects", "job-failed", "backup-failed"],
  summary: `flip bytes in a page of ${table} on the primary, a table made for it: check-integrity names the table, and the next backup refuses to copy the page`,
  apply: ({ state }) =>
    withSuperuser(state, async (session) => {
      if (await isThere(session)) {
        return { outcome: "already-applied", message: `block ${block} of ${table} is damaged`, details };
      }
      try {
        const file = await makeTable(session);
        await damage(state, file);
        return {
          outcome: "applied",
          message: `block ${block} of ${table} (${file}) was damaged`,
          details: { ...details, file },
        };
      } catch (error) {
        await session.query(`drop schema if exists ${schema} cascade`);
        throw error;
      }
    }),
  repair: ({ state }) =>
    withSuperuser(state, async (session) => {
      if (!(await isThere(session))) {
        return { outcome: "not-applied", message: `there is no table ${table}`, details };
      }
      await session.query(`drop schema ${schema} cascade`);
      return {
        outcome: "repaired",
        message: `${table} was dropped; if somebody has read it since the last check-integrity, the next one counts that once more`,
        details,
      };
    }),
};

/** Resolves to its file, whose pages are nowhere in the server's memory. */
async function makeTable(session: Session): Promise<string> {
  await session.query(`create schema ${schema}`);
  await session.query(
    `create table ${table} with (autovacuum_enabled = false) as
     select n as id, repeat('sacrificial ', 10) as note from generate_series(1, 2000) as n`,
  );
  // Rewriting goes past shared buffers, and without an index nothing reads the new pages.
  await session.query(`vacuum full ${table}`);
  const [row] = await session.query<{ file: string }>("select pg_relation_filepath($1::regclass) as file", [
    table,
  ]);
  return row?.file ?? "";
}

async function damage(state: SandboxState, file: string): Promise<void> {
  const handle = await open(join(state.primary.dataDirectory, file), "r+");
  try {
    await inflict(handle, await planDamage(handle, block));
  } finally {
    await handle.close();
  }
}
