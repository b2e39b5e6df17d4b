import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";

/** When a table was last worked on, and its dead rows (TOAST included) then. */
interface After {
  oid: number;
  dead: number;
  workedAt: Date | null;
}

/**
 * Dead rows of these tables now. Before 15 the statistics arrive some time after the statement has ended, so
 * those are waited for, up to three seconds; a table whose numbers have not arrived is left out.
 */
export async function readDeadRows(
  session: Session,
  clock: Clock,
  worked: readonly { oid: number; before: Date | null }[],
): Promise<Map<number, number>> {
  const dead = new Map<number, number>();
  if (worked.length === 0) return dead;
  const immediate = statisticsAreImmediate(session);
  const attempts = immediate ? 1 : 30;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    if (attempt > 0) await clock.sleep(100);
    const rows = await readWorkedAt(
      session,
      worked.map((table) => table.oid),
    );
    const now = new Map(rows.map((row) => [row.oid, row]));
    for (const { oid, before } of worked) {
      const row = now.get(oid);
      if (row === undefined || dead.has(oid)) continue;
      const arrived = row.workedAt !== null && (before === null || row.workedAt.getTime() > before.getTime());
      if (arrived) dead.set(oid, row.dead);
    }
    if (dead.size === worked.length) break;
  }
  return dead;
}

/** From 15 on VACUUM and ANALYZE have reported when they end; before, a collector hears of it some time later. */
export function statisticsAreImmediate(session: Session): boolean {
  return majorOf(session.serverVersionNumber) >= 15;
}

/** When any VACUUM or ANALYZE of these tables ended last, by the server's clock. */
export async function readWorkedAt(session: Session, oids: readonly number[]): Promise<After[]> {
  return session.query<After>(
    `select c.oid::int8 as oid,
            (pg_stat_get_dead_tuples(c.oid) + coalesce(pg_stat_get_dead_tuples(nullif(c.reltoastrelid, 0)), 0))::int8
              as dead,
            greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid),
                     pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) as "workedAt"
       from pg_class c where c.oid = any($1::oid[])`,
    [oids],
  );
}
