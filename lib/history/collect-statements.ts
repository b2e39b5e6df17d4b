import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";
import {
  findStatementsView,
  type StatementsView,
  statementColumns,
  statementsFunction,
} from "./statements-view.ts";

export interface StatementsCollected {
  /** Null when they were not looked at, or could not be. */
  kept: number | null;
  /** Why there are none. */
  reason?: string;
  notes: string[];
}

/**
 * Keeps the statements of this database that have taken the most time since they are counted. Texts are asked for
 * only when one of them is not known yet, and kept without literals: pg_stat_statements leaves those of utility
 * statements (and, of some, even passwords) where they were.
 */
export async function collectStatements(
  session: Session,
  day: string,
  request: { keepStatementSnapshots: number; statements: number; mask(statement: string): string },
): Promise<StatementsCollected> {
  if (request.keepStatementSnapshots === 0) {
    return { kept: null, reason: "history.keepStatementSnapshots is 0", notes: [] };
  }
  const view = await findStatementsView(session);
  if ("missing" in view) return { kept: null, reason: view.reason, notes: [] };
  await session.query("delete from pgkeep.history_statement where day = $1::date", [day]);
  const [row] = await session.query<{ kept: number }>(keepQuery(view), [day, request.statements]);
  await keepTexts(session, view, day, request.mask);
  await session.query(
    `update pgkeep.history_day set statements = $2::int, statements_reset = null, statements_evicted = null where day = $1::date`,
    [day, row?.kept ?? 0],
  );
  if (view.minor >= 9) {
    await session.query(
      `update pgkeep.history_day d set statements_reset = i.stats_reset, statements_evicted = i.dealloc
         from ${qualified(view.schema, "pg_stat_statements_info")} i where d.day = $1::date`,
      [day],
    );
  }
  return {
    kept: row?.kept ?? 0,
    notes: view.seesOthers
      ? []
      : [`statements of other roles cannot be seen: ${session.user} is no member of pg_read_all_stats`],
  };
}

function keepQuery(view: StatementsView): string {
  const { toplevel, readMilliseconds, since } = statementColumns(view);
  return `
with kept as (
  insert into pgkeep.history_statement (query_id, user_oid, day, toplevel, calls, rows, exec_ms, plan_ms, read_ms, blocks_hit,
         blocks_read, blocks_dirtied, temp_blocks_written, wal_bytes, counted_since)
  select s.queryid, s.userid, $1::date, ${toplevel}, s.calls, s.rows, s.total_exec_time, s.total_plan_time, ${readMilliseconds},
         s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied, s.temp_blks_written, s.wal_bytes::int8, ${since}
    from ${statementsFunction(view)}(false) s
   where s.queryid is not null and s.dbid = (select oid from pg_database where datname = current_database())
   order by s.total_exec_time + s.total_plan_time desc, s.queryid, s.userid
   limit $2::int
  on conflict do nothing
  returning 1)
select count(*) as kept from kept`;
}

async function keepTexts(
  session: Session,
  view: StatementsView,
  day: string,
  mask: (statement: string) => string,
): Promise<void> {
  const unknown = await session.query<{ id: string }>(
    `select distinct s.query_id::text as id from pgkeep.history_statement s
      where s.day = $1::date and not exists (select from pgkeep.history_statement_text t where t.query_id = s.query_id)`,
    [day],
  );
  if (unknown.length === 0) return;
  const texts = await session.query<{ id: string; query: string }>(
    `select distinct on (s.queryid) s.queryid::text as id, s.query
       from ${statementsFunction(view)}(true) s
      where s.queryid = any($1::int8[]) and s.query is not null
      order by s.queryid`,
    [unknown.map(({ id }) => id)],
  );
  await session.query(
    `insert into pgkeep.history_statement_text (query_id, query)
     select * from unnest($1::int8[], $2::text[]) on conflict do nothing`,
    [texts.map(({ id }) => id), texts.map(({ query }) => mask(query))],
  );
}
