import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";

export interface StatementsCollected {
  /** Null when they were not looked at, or could not be. */
  kept: number | null;
  /** Why there are none. */
  reason?: string;
  notes: string[];
}

interface Extension {
  schema: string | null;
  version: string | null;
  loaded: boolean;
  usable: boolean;
  seesOthers: boolean;
}

/** Where pg_stat_statements is, and what this role may do with it. Its version is its own, not the server's. */
const extensionQuery = `
select n.nspname::text as schema, e.extversion as version,
       current_setting('pg_stat_statements.max', true) is not null as loaded,
       coalesce(has_schema_privilege(n.oid, 'usage')
         and exists (select from pg_proc p where p.pronamespace = n.oid and p.proname = 'pg_stat_statements'
                       and has_function_privilege(p.oid, 'execute')), false) as usable,
       pg_has_role('pg_read_all_stats', 'usage') as "seesOthers"
  from (select 1) as one
  left join pg_extension e on e.extname = 'pg_stat_statements'
  left join pg_namespace n on n.oid = e.extnamespace`;

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
  const [extension] = await session.query<Extension>(extensionQuery);
  const usable = whyNotUsable(session, extension);
  if (typeof usable === "string") return { kept: null, reason: usable, notes: [] };
  const { schema, version, seesOthers } = usable;
  await session.query("delete from pgkeep.history_statement where day = $1::date", [day]);
  const [row] = await session.query<{ kept: number }>(keepQuery(schema, version), [day, request.statements]);
  await keepTexts(session, schema, day, request.mask);
  await session.query(
    `update pgkeep.history_day set statements = $2::int, statements_reset = null, statements_evicted = null where day = $1::date`,
    [day, row?.kept ?? 0],
  );
  if (version >= 9) {
    await session.query(
      `update pgkeep.history_day d set statements_reset = i.stats_reset, statements_evicted = i.dealloc
         from ${qualified(schema, "pg_stat_statements_info")} i where d.day = $1::date`,
      [day],
    );
  }
  return {
    kept: row?.kept ?? 0,
    notes: seesOthers
      ? []
      : [`statements of other roles cannot be seen: ${session.user} is no member of pg_read_all_stats`],
  };
}

function whyNotUsable(
  session: Session,
  extension: Extension | undefined,
): string | { schema: string; version: number; seesOthers: boolean } {
  if (extension === undefined) throw new PgkeepError("internal", "the server described itself with no row");
  const { schema, version, loaded, usable, seesOthers } = extension;
  if (schema === null || version === null) {
    return "the extension pg_stat_statements is not installed in this database (`pgkeep install`)";
  }
  if (!loaded) return "pg_stat_statements is not in shared_preload_libraries";
  if (!usable) return `the role ${session.user} may not use pg_stat_statements in schema ${schema}`;
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major !== 1 || minor < 8) {
    return `pg_stat_statements ${version} is not known: update it to 1.8 or newer (ALTER EXTENSION pg_stat_statements UPDATE)`;
  }
  return { schema, version: minor, seesOthers };
}

function keepQuery(schema: string, minor: number): string {
  const toplevel = minor >= 9 ? "s.toplevel" : "true";
  // Renamed when local blocks got times of their own.
  const readMilliseconds = minor >= 11 ? "s.shared_blk_read_time" : "s.blk_read_time";
  const since = minor >= 11 ? "s.stats_since" : "null::timestamptz";
  return `
with kept as (
  insert into pgkeep.history_statement (query_id, user_oid, day, toplevel, calls, rows, exec_ms, plan_ms, read_ms, blocks_hit,
         blocks_read, blocks_dirtied, temp_blocks_written, wal_bytes, counted_since)
  select s.queryid, s.userid, $1::date, ${toplevel}, s.calls, s.rows, s.total_exec_time, s.total_plan_time, ${readMilliseconds},
         s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied, s.temp_blks_written, s.wal_bytes::int8, ${since}
    from ${qualified(schema, "pg_stat_statements")}(false) s
   where s.queryid is not null and s.dbid = (select oid from pg_database where datname = current_database())
   order by s.total_exec_time + s.total_plan_time desc, s.queryid, s.userid
   limit $2::int
  on conflict do nothing
  returning 1)
select count(*) as kept from kept`;
}

async function keepTexts(
  session: Session,
  schema: string,
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
       from ${qualified(schema, "pg_stat_statements")}(true) s
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
