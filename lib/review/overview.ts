import type { ReviewContext } from "../checks/review-check.ts";
import { userRelation } from "../checks/user-objects.ts";
import { isMissing } from "../checks/workload/common.ts";
import { workloadOf } from "../checks/workload/statements.ts";
import { errorMessage, PgkeepError } from "../errors.ts";
import { type TableGrowth, tableGrowth } from "../history/growth.ts";
import { readable, readDays } from "../history/read.ts";
import type { Session } from "../ports/databases.ts";

/** Enough for a picture; the rest is summed up. */
const shownTables = 20;
const shownStatements = 15;
/** Days of history in a picture. */
const shownDays = 180;

/** What a report shows as pictures: no verdict, only sizes and times. Plain JSON, small whatever the database. */
export interface Overview {
  tables: Known<TableSizes>;
  cache: Known<CacheUse>;
  load: Known<StatementLoad>;
  /** From the history that collect-history keeps. */
  loadByDay: Known<{ days: LoadDay[] }>;
  growth: Known<Growth>;
}

/** Either what was read, or why there is nothing. */
export type Known<T> = T | { reason: string };

export interface TableSizes {
  /** The largest; a partitioned table with all its partitions. Sizes as VACUUM and ANALYZE last counted them. */
  largest: TableSize[];
  tables: number;
  /** Of all tables. */
  bytes: number;
  /** Tables and partitions that nobody has vacuumed or analysed: they count as empty. */
  unmeasured: number;
}

export interface TableSize {
  schema: string;
  table: string;
  heapBytes: number;
  toastBytes: number;
  indexBytes: number;
}

export interface CacheUse {
  /** Block reads of the whole database since `since`, and how many of them shared buffers answered. */
  hits: number;
  reads: number;
  since: string | null;
  /** The tables, with their indexes and TOAST, that were read most from outside shared buffers. */
  tables: { schema: string; table: string; hits: number; reads: number }[];
}

export interface StatementLoad {
  /** The costliest, without literals. */
  statements: {
    statement: string;
    calls: number;
    meanMilliseconds: number;
    totalSeconds: number;
    hits: number;
    reads: number;
  }[];
  /** Of all statements that clients called. */
  totalSeconds: number;
  since: string | null;
}

export interface LoadDay {
  day: string;
  /** Average number of sessions that were executing the statements of the history, since the day before it. */
  busySessions: number;
  hits: number;
  reads: number;
}

export interface Growth {
  days: { day: string; bytes: number }[];
  /** Of the largest tables, the fastest growing first. */
  tables: Pick<TableGrowth, "schema" | "table" | "bytes" | "grownBytes" | "fromDay" | "toDay">[];
}

/**
 * Reads what pictures are made of, each part on its own: what fails says why, and the rest stands. Takes no locks on
 * relations, and no role needs more than CONNECT for sizes and cache.
 */
export async function readOverview(context: ReviewContext): Promise<Overview> {
  const sizes = await attempt(context, () => readSizes(context.session));
  return {
    tables: "reason" in sizes ? sizes : sizesOf(sizes.rows),
    cache: "reason" in sizes ? sizes : await attempt(context, () => readCache(context, sizes.rows)),
    load: await attempt(context, () => readLoad(context)),
    loadByDay: await attempt(context, () => readLoadByDay(context.session)),
    growth: await attempt(context, () => readGrowth(context.session, "reason" in sizes ? [] : sizes.rows)),
  };
}

/** Sizes now, and how they have grown where there is history: what needs no more than a session. */
export async function readSizesAndGrowth(session: Session): Promise<Pick<Overview, "tables" | "growth">> {
  const { rows } = await readSizes(session);
  return {
    tables: sizesOf(rows),
    growth: await readGrowth(session, rows).catch((error: unknown) => {
      if (!(error instanceof PgkeepError)) throw error;
      return { reason: error.message };
    }),
  };
}

/** Of a review that had to end before. */
export function noOverview(reason: string): Overview {
  const none = { reason };
  return { tables: none, cache: none, load: none, loadByDay: none, growth: none };
}

async function attempt<T>({ signal, budget }: ReviewContext, read: () => Promise<T>): Promise<Known<T>> {
  if (budget.left() === 0) return { reason: "the budget of the review was used up; give more with --budget" };
  try {
    return await read();
  } catch (error) {
    signal.throwIfAborted();
    const remedy = error instanceof PgkeepError && error.remedy !== undefined ? `; ${error.remedy}` : "";
    return { reason: `${errorMessage(error)}${remedy}` };
  }
}

interface SizeRow extends TableSize {
  oid: number;
  hits: number;
  fetched: number;
  tables: number;
  allBytes: number;
  unmeasured: number;
}

/** The largest tables and those read most from outside; sums over all of them stand in each row. */
async function readSizes(session: Session): Promise<{ rows: SizeRow[] }> {
  const rows = await session.query<SizeRow>(
    `with one as (
       select c.oid, c.reltoastrelid,
              coalesce(case when c.relispartition then pg_partition_root(c.oid)::oid end, c.oid) as root,
              case when c.relkind = 'p' then 0 else greatest(c.relpages, 0) end::int8 as pages,
              c.relkind <> 'p' and c.relpages = 0 and c.reltuples < 0 as unmeasured
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'm') and ${userRelation()}),
     index as (
       select x.indrelid, sum(greatest(i.relpages, 0))::int8 as pages,
              sum(pg_stat_get_blocks_hit(i.oid))::int8 as hits, sum(pg_stat_get_blocks_fetched(i.oid))::int8 as fetched
         from pg_index x join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
        group by x.indrelid),
     whole as (
       select one.root, sum(one.pages)::int8 as heap, count(*) filter (where one.unmeasured) as unmeasured,
              sum(coalesce(greatest(t.relpages, 0), 0) + coalesce(ti.pages, 0))::int8 as toast,
              sum(coalesce(x.pages, 0))::int8 as index,
              sum(pg_stat_get_blocks_hit(one.oid) + coalesce(x.hits, 0) + coalesce(pg_stat_get_blocks_hit(t.oid), 0)
                  + coalesce(ti.hits, 0))::int8 as hits,
              sum(pg_stat_get_blocks_fetched(one.oid) + coalesce(x.fetched, 0)
                  + coalesce(pg_stat_get_blocks_fetched(t.oid), 0) + coalesce(ti.fetched, 0))::int8 as fetched
         from one left join index x on x.indrelid = one.oid
         left join pg_class t on t.oid = one.reltoastrelid
         left join index ti on ti.indrelid = t.oid
        group by one.root),
     ranked as (
       select whole.*, block.size * heap as "heapBytes", block.size * toast as "toastBytes",
              block.size * index as "indexBytes", count(*) over () as tables,
              (sum(heap + toast + index) over () * block.size)::int8 as "allBytes",
              (sum(unmeasured) over ())::int8 as "allUnmeasured",
              row_number() over (order by heap + toast + index desc, root) as by_size,
              row_number() over (order by fetched - hits desc, root) as by_reads
         from whole, (select current_setting('block_size')::int8) as block (size))
     select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, "heapBytes", "toastBytes",
            "indexBytes", hits, fetched, tables, "allBytes", "allUnmeasured" as unmeasured
       from ranked r join pg_class c on c.oid = r.root join pg_namespace n on n.oid = c.relnamespace
      where by_size <= $1::int or by_reads <= $1::int
      order by by_size`,
    [shownTables],
  );
  return { rows };
}

const bytesOf = ({ heapBytes, toastBytes, indexBytes }: TableSize) => heapBytes + toastBytes + indexBytes;

function sizesOf(rows: readonly SizeRow[]): TableSizes {
  const [first] = rows;
  return {
    largest: rows
      .filter((row) => bytesOf(row) > 0)
      .slice(0, shownTables)
      .map(({ schema, table, heapBytes, toastBytes, indexBytes }) => ({
        schema,
        table,
        heapBytes,
        toastBytes,
        indexBytes,
      })),
    tables: first?.tables ?? 0,
    bytes: first?.allBytes ?? 0,
    unmeasured: first?.unmeasured ?? 0,
  };
}

async function readCache(
  { session, window }: ReviewContext,
  rows: readonly SizeRow[],
): Promise<Known<CacheUse>> {
  const [row] = await session.query<{ hits: number; reads: number }>(
    "select blks_hit as hits, blks_read as reads from pg_stat_database where datname = current_database()",
  );
  if (row === undefined || row.hits + row.reads === 0) return { reason: "no block read was counted yet" };
  return {
    ...row,
    since: window.since?.toISOString() ?? null,
    tables: rows
      .map(({ schema, table, hits, fetched }) => ({
        schema,
        table,
        hits,
        reads: Math.max(0, fetched - hits),
      }))
      .filter(({ reads }) => reads > 0)
      .sort((a, b) => b.reads - a.reads)
      .slice(0, shownTables),
  };
}

async function readLoad(context: ReviewContext): Promise<Known<StatementLoad>> {
  const workload = await workloadOf(context);
  if (isMissing(workload)) return { reason: workload.reason };
  const costliest = workload.statements
    .filter(({ toplevel, total }) => toplevel && total.execMilliseconds > 0)
    .sort((a, b) => b.total.execMilliseconds - a.total.execMilliseconds)
    .slice(0, shownStatements);
  if (costliest.length === 0) return { reason: workload.obstacle ?? "no statement was counted yet" };
  return {
    statements: costliest.map(({ shown, total }) => ({
      statement: shown,
      calls: total.calls,
      meanMilliseconds: total.execMilliseconds / Math.max(1, total.calls),
      totalSeconds: total.execMilliseconds / 1000,
      hits: total.blocksHit,
      reads: total.blocksRead,
    })),
    totalSeconds: workload.totalMilliseconds / 1000,
    since: workload.since?.toISOString() ?? null,
  };
}

/**
 * Differences between neighbouring days. A statement that was not among those kept the day before is left out, unless
 * it began since; so is a day on which the counters began anew: the load is a lower bound.
 */
async function readLoadByDay(session: Session): Promise<Known<{ days: LoadDay[] }>> {
  const days = await readable(session, () =>
    session.query<LoadDay>(
      `with day as (
         select day, taken_at, lag(day) over by_day as before, lag(taken_at) over by_day as taken_before,
                statements_reset is not distinct from lag(statements_reset) over by_day as comparable
           from pgkeep.history_day where statements > 0
         window by_day as (order by day)),
       change as (
         select d.day, extract(epoch from d.taken_at - d.taken_before)::float8 as seconds,
                s.exec_ms - coalesce(p.exec_ms, 0) as exec_ms, s.blocks_hit - coalesce(p.blocks_hit, 0) as hits,
                s.blocks_read - coalesce(p.blocks_read, 0) as reads
           from day d join pgkeep.history_statement s on s.day = d.day and s.toplevel
           left join pgkeep.history_statement p on p.query_id = s.query_id and p.user_oid = s.user_oid
                                               and p.toplevel and p.day = d.before
          where d.comparable and d.day > current_date - $1::int
            and case when p.query_id is null then s.counted_since > d.taken_before else s.calls >= p.calls end)
       select day::text as day, (sum(exec_ms) / 1000 / seconds)::float8 as "busySessions",
              sum(hits)::int8 as hits, sum(reads)::int8 as reads
         from change where seconds > 0 group by day, seconds order by day`,
      [shownDays],
    ),
  );
  return days.length > 1 ? { days } : { reason: tooFewDays };
}

const tooFewDays =
  "the history has too few days to compare: `pgkeep run collect-history` once a day, then ask again";

async function readGrowth(session: Session, rows: readonly SizeRow[]): Promise<Known<Growth>> {
  const all = await readDays(session);
  // An estimate beside a measurement would look like growth.
  const basis = all.at(-1)?.sizeBasis;
  const days = all
    .filter(({ sizeBasis }) => sizeBasis === basis)
    .slice(-shownDays)
    .map(({ day, databaseBytes }) => ({ day, bytes: databaseBytes }));
  const [first] = days;
  if (days.length < 2 || first === undefined) return { reason: tooFewDays };
  const oids = rows.slice(0, shownTables).map(({ oid }) => oid);
  const tables = await tableGrowth(session, { oids, sinceDay: first.day });
  return {
    days,
    tables: tables
      .filter(({ grownBytes }) => grownBytes !== null && grownBytes !== 0)
      .map(({ schema, table, bytes, grownBytes, fromDay, toDay }) => ({
        schema,
        table,
        bytes,
        grownBytes,
        fromDay,
        toDay,
      })),
  };
}
