import type { Pace } from "../maintenance/pace.ts";
import type { Session } from "../ports/databases.ts";

/** Runs that are looked back at. */
const runs = 20;
/** What earlier runs have measured counts as much as this many seconds of this one at most. */
const longestMemorySeconds = 60;
/** A statement that was stopped needs at least this much more than the time it had. */
const stoppedFactor = 1.1;

/** What earlier runs tell of how long tables take. */
export interface History {
  /** Seconds that a table needs at least, because a run stopped it after nearly as long; by `key`. */
  atLeast: ReadonlyMap<string, number>;
}

export const noHistory: History = { atLeast: new Map() };

export function key(table: { schema: string; table: string }): string {
  return JSON.stringify([table.schema, table.table]);
}

interface Row {
  schema: string;
  table: string;
  pages: number | null;
  seconds: number | null;
  stopped: number | null;
}

/**
 * Teaches the pace what earlier runs of this job have measured on this server, by their reports in `pgkeep.job_run`,
 * and finds the tables whose last attempt was stopped. Nothing is known where that is not installed or not readable.
 */
export async function readHistory(session: Session, pace: Pace): Promise<History> {
  const readable = await session.query<{ readable: boolean }>(
    `select coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), false) as readable
       from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relname = 'job_run'
      where n.nspname = 'pgkeep'`,
  );
  if (readable[0]?.readable !== true) return noHistory;
  const rows = await session.query<Row>(
    `with recent as materialized (
       select started_at, report from pgkeep.job_run
        where job = 'vacuum' and outcome in ('succeeded', 'failed') and jsonb_typeof(report) = 'object'
        order by started_at desc limit ${runs})
     select e.entry->>'schema' as schema, e.entry->>'table' as table, (e.entry->>'pages')::float8 as pages,
            (e.entry->>'seconds')::float8 as seconds, (e.entry->>'stoppedAfterSeconds')::float8 as stopped
       from recent, lateral (
              select jsonb_path_query(recent.report, '$.vacuumed.tables[*] ? (@.pages > 0)') as entry
              union all
              select jsonb_path_query(recent.report, '$.left.tables[*] ? (@.stoppedAfterSeconds > 0)')) as e
      order by recent.started_at desc`,
  );
  const atLeast = new Map<string, number>();
  const seen = new Set<string>();
  let pages = 0;
  let seconds = 0;
  for (const row of rows) {
    if (row.pages !== null && row.seconds !== null && row.pages >= 500) {
      pages += row.pages;
      seconds += row.seconds;
    }
    // Only the last that is known of each table counts.
    if (!seen.has(key(row)) && row.stopped !== null) atLeast.set(key(row), row.stopped * stoppedFactor);
    seen.add(key(row));
  }
  const share = seconds > longestMemorySeconds ? longestMemorySeconds / seconds : 1;
  pace.learn(pages * share, seconds * share);
  return { atLeast };
}
