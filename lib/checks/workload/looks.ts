import {
  type NoStatements,
  type StatementsView,
  statementColumns,
  statementsFunction,
} from "../../history/statements-view.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { literal, qualified } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { grantMonitor } from "../outcome.ts";
import { readableBytes } from "./parse.ts";

/** Texts are read of those that took the most time, and of those called most often: the rest is too cheap to matter. */
const textsByTime = 600;
const textsByCalls = 200;
/** Rows of pg_stat_statements looked at; its own default keeps 5,000. */
const rowsRead = 20_000;
/** Of a text too long to be parsed, enough to be recognised. */
const shownBytes = 600;

/** Running totals of one statement of this database, over all roles. */
export interface Counts {
  calls: number;
  rows: number;
  /** Execution alone; planning apart, which is 0 unless pg_stat_statements.track_planning is on. */
  execMilliseconds: number;
  planMilliseconds: number;
  blocksHit: number;
  blocksRead: number;
  blocksDirtied: number;
  readMilliseconds: number;
  tempBlocksWritten: number;
  walBytes: number;
}

export interface Row extends Counts {
  id: string | null;
  toplevel: boolean;
  maxMilliseconds: number;
  query: string | null;
  bytes: number | null;
}

/** Settings that keep statements from being counted although the extension is there. */
export async function notCounting(session: Session): Promise<string[]> {
  const [row] = await session.query<{ track: string | null; ids: string | null }>(
    "select current_setting('pg_stat_statements.track', true) as track, current_setting('compute_query_id', true) as ids",
  );
  return [
    ...(row?.track === "none"
      ? [
          "statements are not counted: ALTER SYSTEM SET pg_stat_statements.track = top; and SELECT pg_reload_conf(); (on a managed server, in its parameter group)",
        ]
      : []),
    ...(row?.ids === "off"
      ? [
          "statements have no numbers: ALTER SYSTEM SET compute_query_id = auto; and SELECT pg_reload_conf(); (on a managed server, in its parameter group)",
        ]
      : []),
  ];
}

/** What must be done before statements are counted. */
export async function enabling(session: Session, { missing, reason }: NoStatements): Promise<string> {
  if (missing === "version") return reason;
  if (missing === "right") {
    return `${reason}: GRANT EXECUTE on its functions and USAGE on its schema, or ${grantMonitor(session)}`;
  }
  const [row] = await session.query<{ loaded: boolean; libraries: string | null }>(
    `select current_setting('pg_stat_statements.max', true) is not null as loaded,
            (select setting from pg_settings where name = 'shared_preload_libraries') as libraries`,
  );
  const create = missing === "extension" ? "CREATE EXTENSION pg_stat_statements;" : "";
  if (row?.loaded === true) return `no statement is counted here: ${create}`;
  const others = (row?.libraries ?? "").split(",").flatMap((one) => (one.trim() === "" ? [] : [one.trim()]));
  const libraries = [...others, "pg_stat_statements"].map((one) => literal(one)).join(", ");
  return `no statement is counted here: ALTER SYSTEM SET shared_preload_libraries = ${libraries}; (on a managed server, in its parameter group), restart the server${create === "" ? "" : `, then ${create}`}`;
}

export interface Look {
  at: Date;
  commits: number;
  rows: Row[];
  problem?: string;
}

function lookQuery(view: StatementsView, texts: boolean): string {
  const { toplevel, readMilliseconds } = statementColumns(view);
  const query = texts
    ? `case when by_time <= ${textsByTime} or by_calls <= ${textsByCalls} then query end as query, bytes`
    : "null as query, null as bytes";
  // Cut before anything is sorted: megabytes of texts would go through temporary files.
  const cut = texts
    ? `case when octet_length(s.query) <= ${readableBytes} then s.query else left(s.query, ${shownBytes}) end as query,
                       octet_length(s.query) as bytes`
    : "null as query, null as bytes";
  return `
select queryid::text as id, toplevel, calls, rows, total_exec_time as "execMilliseconds", total_plan_time as "planMilliseconds",
       max_exec_time as "maxMilliseconds", shared_blks_hit as "blocksHit", shared_blks_read as "blocksRead",
       shared_blks_dirtied as "blocksDirtied", read_ms as "readMilliseconds", temp_blks_written as "tempBlocksWritten",
       wal_bytes::int8 as "walBytes", ${query}
  from (select counted.*,
               row_number() over (order by total_exec_time desc, queryid) as by_time,
               row_number() over (order by calls desc, queryid) as by_calls
          from (select s.queryid, ${toplevel} as toplevel, s.calls, s.rows, s.total_exec_time, s.total_plan_time,
                       s.max_exec_time, s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied,
                       ${readMilliseconds} as read_ms, s.temp_blks_written, s.wal_bytes,
                       ${cut}
                  from ${statementsFunction(view)}(${texts}) s
                 where s.dbid = (select oid from pg_database where datname = current_database())
                offset 0) as counted) as ranked
 order by by_time limit ${rowsRead}`;
}

/** All counters as they are now, the costliest first; with the texts of those that matter. */
export async function look(session: Session, view: StatementsView, texts: boolean): Promise<Look> {
  const [moment] = await session.query<{ at: Date; commits: number }>(
    `select clock_timestamp() as at, xact_commit as commits from pg_stat_database where datname = current_database()`,
  );
  return {
    at: moment?.at ?? new Date(0),
    commits: moment?.commits ?? 0,
    rows: await session.query<Row>(lookQuery(view, texts)),
  };
}

/** What a statement of another database contains can keep all texts from being read. */
export async function lookWithTexts(session: Session, view: StatementsView): Promise<Look> {
  try {
    return await look(session, view, true);
  } catch (error) {
    if (!hasSqlState(error, SqlState.characterNotInRepertoire, SqlState.untranslatableCharacter)) throw error;
    const reset = `SELECT ${qualified(view.schema, "pg_stat_statements_reset")}(0, oid, 0) FROM pg_database WHERE pg_encoding_to_char(encoding) = 'SQL_ASCII';`;
    return {
      ...(await look(session, view, false)),
      problem: `no text can be read, because a statement of some database holds bytes that are no text in this one's encoding: ${reset}`,
    };
  }
}

export interface Info {
  since: Date | null;
  evictions: number | null;
}

/** Since when all is counted, and how often something was forgotten. */
export async function readInfo(session: Session, view: StatementsView): Promise<Info> {
  if (view.minor < 9) return { since: null, evictions: null };
  const [row] = await session.query<Info>(
    `select stats_reset as since, dealloc as evictions from ${qualified(view.schema, "pg_stat_statements_info")}`,
  );
  return row ?? { since: null, evictions: null };
}

export const counters = [
  "calls",
  "rows",
  "execMilliseconds",
  "planMilliseconds",
  "blocksHit",
  "blocksRead",
  "blocksDirtied",
  "readMilliseconds",
  "tempBlocksWritten",
  "walBytes",
] as const satisfies readonly (keyof Counts)[];

export const nothing = (): Counts =>
  Object.fromEntries(counters.map((counter) => [counter, 0])) as Record<keyof Counts, number>;

export function add(to: Counts, more: Counts): void {
  for (const counter of counters) to[counter] += more[counter];
}

/** By PostgreSQL's number, over all roles. */
export function sums(rows: readonly (Counts & { id: string | null })[]): Map<string, Counts> {
  const byId = new Map<string, Counts>();
  for (const row of rows) {
    if (row.id === null) continue;
    const sum = byId.get(row.id) ?? nothing();
    add(sum, row);
    byId.set(row.id, sum);
  }
  return byId;
}
