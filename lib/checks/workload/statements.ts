import { setTimeout as delay } from "node:timers/promises";
import {
  findStatementsView,
  type NoStatements,
  type StatementsView,
  statementColumns,
  statementsFunction,
} from "../../history/statements-view.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { literal, qualified } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { maskLiterals } from "../mask-literals.ts";
import { grantMonitor } from "../outcome.ts";
import type { ReviewContext } from "../review-check.ts";
import { loadParser, parseStatement, readableBytes, type StatementFacts } from "./parse.ts";
import { nameOfShape, originOf, shapeOf } from "./text.ts";

/** Texts are read of those that took the most time, and of those called most often: the rest is too cheap to matter. */
const textsByTime = 600;
const textsByCalls = 200;
/** Rows of pg_stat_statements looked at; its own default keeps 5,000. */
const rowsRead = 20_000;
/** Time for parsing, whatever the machine: what is left is counted as unread. */
const parseMilliseconds = 2_500;
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

/** A statement, or several that differ in the length of their lists only. */
export interface Statement {
  /** Stable over servers and time; of the text, not of PostgreSQL's own number. */
  name: string;
  queryIds: string[];
  /** As pg_stat_statements has it; undefined when it was not read. */
  text?: string;
  /** Without literals and comments, cut: for people. */
  shown: string;
  origin?: string;
  /** Undefined when the text could not be read. */
  facts?: StatementFacts;
  /** Called by clients; false for what functions and triggers run. */
  toplevel: boolean;
  total: Counts;
  maxMilliseconds: number;
  /** What happened between the two looks that `--observe` asks for, or since the last day of the history. */
  recent?: Counts;
}

/** Two looks at the same counters. */
export interface Between {
  seconds: number;
  /** `observed` by this review, or `history`. */
  by: "observed" | "history";
  commits?: number;
}

export interface Workload {
  view: StatementsView;
  statements: Statement[];
  /** Of all statements that clients called, the invisible ones too. */
  totalMilliseconds: number;
  /** Since when they are counted. */
  since: Date | null;
  seconds: number | null;
  /** How often the least used had to leave for lack of room; null before 1.9. */
  evictions: number | null;
  between?: Between;
  /** Why something stays unseen. */
  obstacle?: string;
  facts: {
    statements: number;
    hidden: number;
    tooLong: number;
    unparsed: number;
    withoutText: number;
  };
}

export interface Row extends Counts {
  id: string | null;
  toplevel: boolean;
  maxMilliseconds: number;
  query: string | null;
  bytes: number | null;
}

/** The statements of this database, read and parsed once for a review. */
export function workloadOf(context: ReviewContext): Promise<Workload | NoStatements> {
  return context.once("workload", () => loadWorkload(context));
}

async function loadWorkload(context: ReviewContext): Promise<Workload | NoStatements> {
  const { session, observeMilliseconds } = context;
  const view = await findStatementsView(session);
  if ("missing" in view) return { ...view, reason: await enabling(session, view) };
  await loadParser();
  const first = observeMilliseconds > 0 ? await look(session, view, false) : undefined;
  if (first !== undefined) {
    await delay(Math.min(observeMilliseconds, context.budget.left()), undefined, { signal: context.signal });
  }
  const info = await readInfo(session, view);
  const main = await lookWithTexts(session, view);
  const merged = merge(main.rows);
  const since = info.since;
  const workload: Workload = {
    view,
    statements: merged.statements,
    totalMilliseconds: main.rows.reduce((sum, row) => sum + (row.toplevel ? row.execMilliseconds : 0), 0),
    since,
    seconds: since === null ? null : Math.max(0, (main.at.getTime() - since.getTime()) / 1000),
    evictions: info.evictions,
    facts: merged.facts,
  };
  const obstacles = [
    ...(await notCounting(session)),
    ...(merged.facts.hidden === 0
      ? []
      : [
          `${merged.facts.hidden} statements of other roles are hidden from ${session.user}: ${grantMonitor(session)}`,
        ]),
    ...(main.problem === undefined ? [] : [main.problem]),
  ];
  if (obstacles.length > 0) workload.obstacle = obstacles.join("; ");
  if (first !== undefined) {
    addRecent(workload, sums(first.rows));
    workload.between = {
      seconds: (main.at.getTime() - first.at.getTime()) / 1000,
      by: "observed",
      commits: main.commits - first.commits,
    };
  } else await sinceHistory(session, workload, main.at, info);
  return workload;
}

/** Settings that keep statements from being counted although the extension is there. */
async function notCounting(session: Session): Promise<string[]> {
  const [row] = await session.query<{ track: string | null; ids: string | null }>(
    "select current_setting('pg_stat_statements.track', true) as track, current_setting('compute_query_id', true) as ids",
  );
  return [
    ...(row?.track === "none"
      ? [
          "statements are not counted: ALTER SYSTEM SET pg_stat_statements.track = top; and SELECT pg_reload_conf();",
        ]
      : []),
    ...(row?.ids === "off"
      ? ["statements have no numbers: ALTER SYSTEM SET compute_query_id = auto; and SELECT pg_reload_conf();"]
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
    ? `case when by_time <= ${textsByTime} or by_calls <= ${textsByCalls} then
         case when octet_length(query) <= ${readableBytes} then query else left(query, ${shownBytes}) end end as query,
       octet_length(query) as bytes`
    : "null as query, null as bytes";
  return `
select queryid::text as id, toplevel, calls, rows, total_exec_time as "execMilliseconds", total_plan_time as "planMilliseconds",
       max_exec_time as "maxMilliseconds", shared_blks_hit as "blocksHit", shared_blks_read as "blocksRead",
       shared_blks_dirtied as "blocksDirtied", read_ms as "readMilliseconds", temp_blks_written as "tempBlocksWritten",
       wal_bytes::int8 as "walBytes", ${query}
  from (select s.queryid, ${toplevel} as toplevel, s.calls, s.rows, s.total_exec_time, s.total_plan_time, s.max_exec_time,
               s.shared_blks_hit, s.shared_blks_read, s.shared_blks_dirtied, ${readMilliseconds} as read_ms,
               s.temp_blks_written, s.wal_bytes, s.query,
               row_number() over (order by s.total_exec_time desc, s.queryid) as by_time,
               row_number() over (order by s.calls desc, s.queryid) as by_calls
          from ${statementsFunction(view)}(${texts}) s
         where s.dbid = (select oid from pg_database where datname = current_database())) as ranked
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
async function lookWithTexts(session: Session, view: StatementsView): Promise<Look> {
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

function add(to: Counts, more: Counts): void {
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

function merge(rows: readonly Row[]): Pick<Workload, "statements" | "facts"> {
  const facts = { statements: 0, hidden: 0, tooLong: 0, unparsed: 0, withoutText: 0 };
  const byShape = new Map<string, Statement & { readable: boolean }>();
  const shapes = new Map<string, string>();
  for (const row of rows) {
    if (row.id === null) {
      facts.hidden += 1;
      continue;
    }
    const tooLong = (row.bytes ?? 0) > readableBytes;
    const described = row.query === null ? undefined : shapeOf(row.query);
    const shape = shapes.get(row.id) ?? (described === undefined || tooLong ? row.id : described.shape);
    shapes.set(row.id, shape);
    const known = byShape.get(shape);
    if (known !== undefined) {
      add(known.total, row);
      if (!known.queryIds.includes(row.id)) known.queryIds.push(row.id);
      known.maxMilliseconds = Math.max(known.maxMilliseconds, row.maxMilliseconds);
      known.toplevel ||= row.toplevel;
      continue;
    }
    facts.statements += 1;
    if (tooLong) facts.tooLong += 1;
    if (row.query === null) facts.withoutText += 1;
    const origin = described === undefined ? undefined : originOf(described.comments);
    const total = nothing();
    add(total, row);
    byShape.set(shape, {
      name: nameOfShape(shape),
      queryIds: [row.id],
      ...(row.query === null || tooLong ? {} : { text: row.query }),
      shown: row.query === null ? `(statement ${row.id})` : maskLiterals(row.query),
      ...(origin === undefined ? {} : { origin }),
      toplevel: row.toplevel,
      total,
      maxMilliseconds: row.maxMilliseconds,
      readable: row.query !== null && !tooLong,
    });
  }
  const until = performance.now() + parseMilliseconds;
  const statements = [...byShape.values()].map(({ readable, ...statement }): Statement => {
    if (!readable || statement.text === undefined) return statement;
    const parsed = performance.now() < until ? parseStatement(statement.text) : undefined;
    if (parsed !== undefined) return { ...statement, facts: parsed };
    facts.unparsed += 1;
    return statement;
  });
  return { statements, facts };
}

/** Differences to an earlier look. A counter that fell has begun anew in between. */
function addRecent(workload: Workload, before: ReadonlyMap<string, Counts>, onlyKnown = false): void {
  for (const statement of workload.statements) {
    const then = nothing();
    let known = false;
    for (const id of statement.queryIds) {
      const counts = before.get(id);
      if (counts === undefined) continue;
      known = true;
      add(then, counts);
    }
    if (onlyKnown && !known) continue;
    if (statement.total.calls < then.calls) continue;
    const recent = nothing();
    for (const counter of counters) recent[counter] = Math.max(0, statement.total[counter] - then[counter]);
    statement.recent = recent;
  }
}

interface Snapshot {
  day: string;
  seconds: number;
  /** Null before 1.9. */
  reset: Date | null;
}

/** The last day of the history is the earlier look, when nothing was reset since. Without one, there is none. */
async function sinceHistory(session: Session, workload: Workload, at: Date, info: Info): Promise<void> {
  try {
    const [snapshot] = await session.query<Snapshot>(
      `select day::text as day, extract(epoch from $1::timestamptz - taken_at)::float8 as seconds, statements_reset as reset
         from pgkeep.history_day
        where statements > 0 and taken_at < $1::timestamptz - interval '1 minute'
          and database_oid = (select oid from pg_database where datname = current_database())
          and server_started_at <= $1::timestamptz
        order by day desc limit 1`,
      [at],
    );
    if (snapshot === undefined || snapshot.reset?.getTime() !== info.since?.getTime()) return;
    const rows = await session.query<Counts & { id: string }>(
      `select query_id::text as id, sum(calls)::int8 as calls, sum(rows)::int8 as rows, sum(exec_ms) as "execMilliseconds",
              sum(plan_ms) as "planMilliseconds", sum(blocks_hit)::int8 as "blocksHit", sum(blocks_read)::int8 as "blocksRead",
              sum(blocks_dirtied)::int8 as "blocksDirtied", sum(read_ms) as "readMilliseconds",
              sum(temp_blocks_written)::int8 as "tempBlocksWritten", sum(wal_bytes)::int8 as "walBytes"
         from pgkeep.history_statement where day = $1::date group by query_id`,
      [snapshot.day],
    );
    addRecent(workload, sums(rows), true);
    workload.between = { seconds: snapshot.seconds, by: "history" };
  } catch (error) {
    if (
      !hasSqlState(
        error,
        SqlState.undefinedTable,
        SqlState.invalidSchemaName,
        SqlState.undefinedColumn,
        SqlState.insufficientPrivilege,
      )
    ) {
      throw error;
    }
  }
}
