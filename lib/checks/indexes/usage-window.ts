import type { Session } from "../../ports/databases.ts";
import { majorOf } from "../../postgres/versions.ts";
import type { StatisticsWindow } from "../review-check.ts";

/**
 * Since when a server has counted scans without a break. A crash resets all counters without a word in
 * `pg_stat_database` (15 and newer), but with the time in `pg_stat_bgwriter`: the later of the two counts
 * (`pgstat_reset_after_failure()` in `pgstat.c`).
 */
export async function readUsageWindow(session: Session, window?: StatisticsWindow): Promise<Date> {
  const [row] = await session.query<{ since: Date }>(
    `select greatest((select stats_reset from pg_stat_database where datname = current_database()),
                     (select stats_reset from pg_stat_bgwriter)) as since`,
  );
  return row?.since ?? window?.since ?? new Date();
}

/**
 * A moment from which on each relation is known to have existed. PostgreSQL numbers relations in the order in which
 * they are made, and some with later numbers have been vacuumed, analysed or read at a known time. (The numbers begin
 * anew after four thousand million, so this makes a claim likely, never certain.)
 */
export async function readKnownSince(session: Session): Promise<(oid: number) => Date | undefined> {
  const reads = majorOf(session.serverVersionNumber) >= 16 ? ", pg_stat_get_lastscan(c.oid)" : "";
  const rows = await session.query<{ oid: number; seen: Date }>(
    `select * from (
       select c.oid::int8 as oid, least(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid),
              pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)${reads}) as seen
         from pg_class c where c.relkind in ('r', 'm', 't', 'i')) known
      where seen is not null order by oid desc`,
  );
  let earliest: Date | undefined;
  // From the newest relation down: what existed then was there for all older ones.
  const steps: { oid: number; seen: Date }[] = [];
  for (const row of rows) {
    if (earliest !== undefined && row.seen >= earliest) continue;
    earliest = row.seen;
    steps.push({ oid: row.oid, seen: earliest });
  }
  return (oid) => steps.findLast((step) => step.oid > oid)?.seen;
}
