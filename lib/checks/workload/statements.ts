import { setTimeout as delay } from "node:timers/promises";
import { findStatementsView, type NoStatements, type StatementsView } from "../../history/statements-view.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { maskLiterals } from "../mask-literals.ts";
import { grantMonitor } from "../outcome.ts";
import type { ReviewContext } from "../review-check.ts";
import {
  add,
  type Counts,
  counters,
  enabling,
  type Info,
  look,
  lookWithTexts,
  notCounting,
  nothing,
  type Row,
  readInfo,
  sums,
} from "./looks.ts";
import { loadParser, parseStatement, readableBytes, type StatementFacts } from "./parse.ts";
import { nameOfShape, originOf, shapeOf } from "./text.ts";

/** Time for parsing, whatever the machine: what is left is counted as unread. */
const parseMilliseconds = 2_500;
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
