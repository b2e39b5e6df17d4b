import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { ParentFacts } from "./facts.ts";
import { asOwner } from "./retire.ts";

/** Schema of pg_partman and how it names the table, where it looks after it. */
export interface Partman {
  schema: string;
  parentTable: string;
  version: string;
}

/** @returns undefined where the extension is not installed or does not know the table */
export async function readPartman(session: Session, table: { oid: number }): Promise<Partman | undefined> {
  const installed = await session.query<{ schema: string; version: string }>(
    `select n.nspname::text as schema, e.extversion as version
       from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_partman'`,
  );
  const extension = installed[0];
  if (extension === undefined) return undefined;
  try {
    const rows = await session.query<{ parent: string }>(
      `select parent_table as parent from ${identifier(extension.schema)}.part_config
        where parent_table = (select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                               where c.oid = $1)`,
      [table.oid],
    );
    const parentTable = rows[0]?.parent;
    return parentTable === undefined ? undefined : { ...extension, parentTable };
  } catch (error) {
    if (!hasSqlState(error, SqlState.insufficientPrivilege)) throw error;
    // Whether pg_partman has it cannot be known; two that make partitions of one table would get in each other's way.
    return { ...extension, parentTable: "" };
  }
}

/** The function and not the procedure: that one takes all tables, and goes on when one fails. */
export function partmanStatement({ schema, parentTable }: Partman): string {
  return `SELECT ${identifier(schema)}.run_maintenance(p_parent_table => ${literal(parentTable).trim()}, p_jobmon => false)`;
}

/** Its own functions are found by the search path in some versions. */
export async function runPartman(session: Session, facts: ParentFacts, partman: Partman): Promise<void> {
  await session.query("select set_config('search_path', $1, false)", [
    `pg_catalog, ${identifier(partman.schema)}`,
  ]);
  try {
    await asOwner(session, facts, () => session.query(partmanStatement(partman)));
  } finally {
    await session.query("select set_config('search_path', 'pg_catalog', false)").catch(() => {});
  }
}
