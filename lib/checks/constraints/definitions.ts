import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import type { ReviewContext } from "../review-check.ts";

/**
 * `CHECK (…)`, `FOREIGN KEY …` of each constraint, by OID. Reading one can take ACCESS SHARE on its table: those of
 * tables that somebody has locked, or waits to lock, exclusively are left out.
 */
export async function readConstraintDefinitions(
  { session }: ReviewContext,
  oids: readonly number[],
): Promise<Map<number, string>> {
  if (oids.length === 0) return new Map();
  try {
    const rows = await session.query<{ oid: number; definition: string }>(
      `select con.oid::int8 as oid, pg_get_constraintdef(con.oid) as definition
         from pg_constraint con
        where con.oid = any($1::oid[])
          and con.conrelid not in (
            select l.relation from pg_locks l
             where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.relation is not null
               and l.database = (select d.oid from pg_database d where d.datname = current_database()))`,
      [oids],
    );
    return new Map(rows.map(({ oid, definition }) => [oid, definition]));
  } catch (error) {
    if (hasSqlState(error, SqlState.lockNotAvailable, SqlState.queryCanceled)) return new Map();
    throw error;
  }
}
