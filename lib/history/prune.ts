import type { Session } from "../ports/databases.ts";

export interface Pruned {
  days: number;
  statementDays: number;
}

/**
 * Forgets all but the newest days. Days that have something count, not the calendar: a clock that is years ahead for
 * one run costs one day, and not the whole history.
 */
export async function prune(
  session: Session,
  keep: { keepDays: number; keepStatementSnapshots: number },
): Promise<Pruned> {
  const [row] = await session.query<{ oldest: string | null; statements: string | null }>(
    `select (select day::text from pgkeep.history_day order by day desc offset $1::int limit 1) as oldest,
            (select day::text from pgkeep.history_day where statements is not null
              order by day desc offset $2::int limit 1) as statements`,
    [keep.keepDays, keep.keepStatementSnapshots],
  );
  const pruned: Pruned = { days: 0, statementDays: 0 };
  const statementsUntil = row?.statements ?? null;
  if (statementsUntil !== null) {
    pruned.statementDays = (
      await session.query(
        "update pgkeep.history_day set statements = null where day <= $1::date and statements is not null returning 1",
        [statementsUntil],
      )
    ).length;
    await session.query("delete from pgkeep.history_statement where day <= $1::date", [statementsUntil]);
    await session.query(
      `delete from pgkeep.history_statement_text t
        where not exists (select from pgkeep.history_statement s where s.query_id = t.query_id)`,
    );
  }
  const until = row?.oldest ?? null;
  if (until !== null) {
    pruned.days = (
      await session.query("delete from pgkeep.history_day where day <= $1::date returning 1", [until])
    ).length;
    await session.query("delete from pgkeep.history_table_before where until_day <= $1::date", [until]);
    // Gone on a day means that it was last seen on an earlier one.
    await session.query("delete from pgkeep.history_table where gone_day <= $1::date", [until]);
  }
  return pruned;
}
