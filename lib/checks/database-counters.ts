import type { Session } from "../ports/databases.ts";

/** Running totals of this database, and when they began. */
export interface DatabaseTotals {
  resetAt: Date | null;
  /** Names of metrics where a metric is their difference. */
  totals: {
    BlocksHit: number;
    BlocksRead: number;
    Deadlocks: number;
    TemporaryBytes: number;
    TemporaryFiles: number;
    TransactionsCommitted: number;
    TransactionsRolledBack: number;
  };
}

/**
 * The current database's row of `pg_stat_database`, which every role may read. Together the totals tell a
 * reset that nothing announces: a crash puts all of them back to 0, and commits pass no sample unnoticed.
 */
export async function readDatabaseTotals(session: Session): Promise<DatabaseTotals> {
  const [row] = await session.query<DatabaseTotals["totals"] & { resetAt: Date | null }>(
    `select stats_reset as "resetAt", blks_hit as "BlocksHit", blks_read as "BlocksRead", deadlocks as "Deadlocks",
            temp_bytes as "TemporaryBytes", temp_files as "TemporaryFiles",
            xact_commit as "TransactionsCommitted", xact_rollback as "TransactionsRolledBack"
       from pg_stat_database where datname = current_database()`,
  );
  if (row === undefined) throw new Error("pg_stat_database has no row for this database");
  const { resetAt, ...totals } = row;
  return { resetAt, totals };
}
