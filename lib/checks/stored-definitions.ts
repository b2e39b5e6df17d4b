import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

/** More cannot be read within a statement's time. */
const mostDefinitions = 5_000;

const sources = {
  index: {
    select: "select o.indexrelid::int8 as oid, pg_get_indexdef(o.indexrelid) as definition from pg_index o",
    oid: "o.indexrelid",
    table: "o.indrelid",
  },
  constraint: {
    select: "select o.oid::int8 as oid, pg_get_constraintdef(o.oid) as definition from pg_constraint o",
    oid: "o.oid",
    table: "o.conrelid",
  },
} as const;

/**
 * `CREATE INDEX …` or `CHECK (…)`, `FOREIGN KEY …` of each, by OID. Reading one takes ACCESS SHARE on its table: those
 * of tables that somebody has locked, or waits to lock, exclusively are left out.
 */
export async function readStoredDefinitions(
  session: Session,
  kind: keyof typeof sources,
  oids: readonly number[],
): Promise<Map<number, string>> {
  if (oids.length === 0) return new Map();
  const { select, oid, table } = sources[kind];
  try {
    const rows = await session.query<{ oid: number; definition: string }>(
      `${select}
        where ${oid} = any($1::oid[])
          and ${table} not in (
            select l.relation from pg_locks l
             where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.relation is not null
               and l.database = (select d.oid from pg_database d where d.datname = current_database()))`,
      [oids.slice(0, mostDefinitions)],
    );
    return new Map(rows.map((row) => [row.oid, row.definition]));
  } catch (error) {
    if (hasSqlState(error, SqlState.lockNotAvailable, SqlState.queryCanceled)) return new Map();
    throw error;
  }
}
