import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../../errors.ts";
import {
  findStatementsView,
  type StatementsView,
  statementsFunction,
} from "../../history/statements-view.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { maskLiterals } from "../mask-literals.ts";
import { grantMonitor, round } from "../outcome.ts";
import { type Counts, counters, enabling, type Look, look, nothing, readInfo, sums } from "./looks.ts";
import { originOf, shapeOf } from "./text.ts";

/** What statements can be ordered by. */
export const orders = ["total", "mean", "calls", "rows", "io"] as const;
export type Order = (typeof orders)[number];

/** One statement, over all roles and over a time. */
export interface TopStatement {
  queryId: string;
  /** Without literals. */
  statement: string;
  origin?: string;
  calls: number;
  rows: number;
  totalMilliseconds: number;
  meanMilliseconds: number;
  /** The slowest call since it is counted. */
  maxMilliseconds: number;
  planMilliseconds: number;
  /** Of the time of all statements. */
  sharePercent: number;
  blocksHit: number;
  blocksRead: number;
  readMilliseconds: number;
  tempBlocksWritten: number;
  walBytes: number;
}

export interface TopStatements {
  database: string;
  by: Order;
  /** Since when statements are counted; null when the extension does not tell. */
  since: string | null;
  seconds: number | null;
  /** Of all statements, those not shown too. */
  totalMilliseconds: number;
  statements: TopStatement[];
  notes: string[];
}

/** What happened between two looks. */
export interface Interval {
  at: string;
  seconds: number;
  callsPerSecond: number;
  /** Sessions that were running statements, on average. */
  busySessions: number;
  statements: TopStatement[];
}

export interface TopRequest {
  by: Order;
  limit: number;
  /** Only statements that take at least so long on average. */
  slowerThanMilliseconds?: number;
}

/** @throws PgkeepError `not-installed` with the statements that enable it */
export async function requireStatements(session: Session): Promise<StatementsView> {
  const view = await findStatementsView(session);
  if (!("missing" in view)) return view;
  const enable = await enabling(session, view);
  throw new PgkeepError(view.missing === "right" ? "insufficient-privilege" : "not-installed", view.reason, {
    remedy: enable,
  });
}

/** The statements of this database that come first by something, since they are counted. */
export async function topStatements(session: Session, request: TopRequest): Promise<TopStatements> {
  const view = await requireStatements(session);
  const info = await readInfo(session, view);
  const now = await look(session, view, false);
  const counts = sums(now.rows);
  const seconds = info.since === null ? null : round((now.at.getTime() - info.since.getTime()) / 1000, 3);
  const hidden = now.rows.filter(({ id }) => id === null).length;
  const notes = [
    ...(hidden === 0
      ? []
      : [`${hidden} statements of other roles are hidden from ${session.user}: ${grantMonitor(session)}`]),
    ...(info.evictions === null || info.evictions === 0
      ? []
      : [
          `the least used statements were forgotten ${info.evictions} times for lack of room: raise pg_stat_statements.max`,
        ]),
  ];
  return {
    database: session.database,
    by: request.by,
    since: info.since?.toISOString() ?? null,
    seconds,
    totalMilliseconds: round(totalOf(counts)),
    statements: await described(session, view, counts, now, request),
    notes,
  };
}

/**
 * Looks again and again, and gives what happened in between.
 * @param intervalSeconds between two looks
 */
export async function* watchStatements(
  session: Session,
  request: TopRequest & { intervalSeconds: number; signal: AbortSignal },
): AsyncGenerator<Interval> {
  const view = await requireStatements(session);
  let before = await look(session, view, false);
  for (;;) {
    await delay(request.intervalSeconds * 1000, undefined, { signal: request.signal });
    const now = await look(session, view, false);
    const changed = difference(sums(before.rows), sums(now.rows));
    const seconds = (now.at.getTime() - before.at.getTime()) / 1000;
    const calls = [...changed.values()].reduce((sum, one) => sum + one.calls, 0);
    yield {
      at: now.at.toISOString(),
      seconds: round(seconds, 3),
      callsPerSecond: round(calls / Math.max(0.001, seconds), 2),
      busySessions: round(totalOf(changed) / 1000 / Math.max(0.001, seconds), 3),
      statements: await described(session, view, changed, now, request),
    };
    before = now;
  }
}

/** What was counted in between; what was reset counts from 0. */
function difference(
  before: ReadonlyMap<string, Counts>,
  now: ReadonlyMap<string, Counts>,
): Map<string, Counts> {
  const changed = new Map<string, Counts>();
  for (const [id, counts] of now) {
    const then = before.get(id);
    const from = then === undefined || then.calls > counts.calls ? nothing() : then;
    if (counts.calls === from.calls) continue;
    changed.set(
      id,
      Object.fromEntries(counters.map((name) => [name, Math.max(0, counts[name] - from[name])])) as Record<
        keyof Counts,
        number
      >,
    );
  }
  return changed;
}

function totalOf(counts: ReadonlyMap<string, Counts>): number {
  return [...counts.values()].reduce((sum, one) => sum + one.execMilliseconds, 0);
}

const measures: Record<Order, (counts: Counts) => number> = {
  total: ({ execMilliseconds }) => execMilliseconds,
  mean: ({ execMilliseconds, calls }) => execMilliseconds / Math.max(1, calls),
  calls: ({ calls }) => calls,
  rows: ({ rows }) => rows,
  io: ({ blocksRead, blocksDirtied, tempBlocksWritten }) => blocksRead + blocksDirtied + tempBlocksWritten,
};

async function described(
  session: Session,
  view: StatementsView,
  counts: ReadonlyMap<string, Counts>,
  { rows }: Look,
  { by, limit, slowerThanMilliseconds = 0 }: TopRequest,
): Promise<TopStatement[]> {
  const measure = measures[by];
  const chosen = [...counts]
    .filter(([, one]) => one.calls > 0 && measures.mean(one) >= slowerThanMilliseconds)
    .sort(([idA, a], [idB, b]) => measure(b) - measure(a) || (idA < idB ? -1 : 1))
    .slice(0, limit);
  const texts = await readTexts(
    session,
    view,
    chosen.map(([id]) => id),
  );
  const all = Math.max(0.001, totalOf(counts));
  return chosen.map(([queryId, one]) => {
    const text = texts.get(queryId);
    const origin = text === undefined ? undefined : originOf(shapeOf(text).comments);
    return {
      queryId,
      statement: text === undefined ? "(its text cannot be read)" : maskLiterals(text),
      ...(origin === undefined ? {} : { origin }),
      calls: one.calls,
      rows: one.rows,
      totalMilliseconds: round(one.execMilliseconds, 3),
      meanMilliseconds: round(measures.mean(one), 3),
      maxMilliseconds: round(
        Math.max(...rows.filter(({ id }) => id === queryId).map(({ maxMilliseconds }) => maxMilliseconds)),
        3,
      ),
      planMilliseconds: round(one.planMilliseconds, 3),
      sharePercent: round((100 * one.execMilliseconds) / all),
      blocksHit: one.blocksHit,
      blocksRead: one.blocksRead,
      readMilliseconds: round(one.readMilliseconds, 3),
      tempBlocksWritten: one.tempBlocksWritten,
      walBytes: one.walBytes,
    };
  });
}

/** Of those that are shown, and of these what fits a screen. */
async function readTexts(
  session: Session,
  view: StatementsView,
  ids: readonly string[],
): Promise<Map<string, string>> {
  if (ids.length === 0) return new Map();
  try {
    const rows = await session.query<{ id: string; query: string }>(
      `select distinct on (s.queryid) s.queryid::text as id, left(s.query, 8000) as query
         from ${statementsFunction(view)}(true) s
        where s.queryid = any($1::int8[]) and s.query is not null
          and s.dbid = (select oid from pg_database where datname = current_database())
        order by s.queryid`,
      [ids],
    );
    return new Map(rows.map(({ id, query }) => [id, query]));
  } catch (error) {
    if (hasSqlState(error, SqlState.characterNotInRepertoire, SqlState.untranslatableCharacter))
      return new Map();
    throw error;
  }
}

/** The load of one day, by the statements that collect-history has kept. */
export interface DayOfLoad {
  day: string;
  seconds: number;
  calls: number;
  busySessions: number;
}

/** Load over time, oldest first; empty where no history has been collected. */
export async function loadByDay(session: Session, days: number): Promise<DayOfLoad[]> {
  try {
    return await session
      .query<DayOfLoad>(
        `with days as (
         select day, taken_at, statements_reset, lag(day) over w as before, lag(taken_at) over w as before_at,
                lag(statements_reset) over w as before_reset
           from pgkeep.history_day where statements > 0 window w as (order by day))
       select d.day::text as day, extract(epoch from d.taken_at - d.before_at)::float8 as seconds,
              sum(greatest(n.calls - b.calls, 0))::int8 as calls,
              round((sum(greatest(n.exec_ms - b.exec_ms, 0)) / 1000 / greatest(extract(epoch from d.taken_at - d.before_at), 1))::numeric, 3)::float8
                as "busySessions"
         from days d
         join pgkeep.history_statement n on n.day = d.day and n.toplevel
         join pgkeep.history_statement b on b.day = d.before and b.query_id = n.query_id and b.user_oid = n.user_oid and b.toplevel
        where d.before_at is not null and d.before_reset is not distinct from d.statements_reset
        group by d.day, d.taken_at, d.before_at
        order by d.day desc limit $1::int`,
        [days],
      )
      .then((rows) => rows.reverse());
  } catch (error) {
    const isAbsent = hasSqlState(
      error,
      SqlState.undefinedTable,
      SqlState.invalidSchemaName,
      SqlState.undefinedColumn,
      SqlState.insufficientPrivilege,
    );
    if (isAbsent) return [];
    throw error;
  }
}
