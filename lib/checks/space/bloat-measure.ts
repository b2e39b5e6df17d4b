import { errorMessage, PgkeepError } from "../../errors.ts";
import { Pace } from "../../maintenance/pace.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { identifier } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { proofTime } from "../proof-time.ts";
import type { ReviewContext } from "../review-check.ts";

const pageHeaderBytes = 24;
const linePointerBytes = 4;
/** The runner lets no statement take longer than two seconds. */
const longestSeconds = 1.5;
/** A page that is visible to all is not read, only its entry in the free space map. */
const visiblePageCost = 0.02;

/** A heap, or the heap of a TOAST table. */
export interface Heap {
  oid: number;
  pages: number;
  allVisiblePages: number;
  fillFactor: number;
}

/** What `pgstattuple_approx` has found. */
export interface MeasuredHeap {
  bytes: number;
  liveRows: number;
  deadBytes: number;
  freeBytes: number;
  /** Bytes that a rewrite frees. */
  wastedBytes: number;
}

export interface MeasuredHeaps {
  measured: Map<number, MeasuredHeap>;
  /** Why a heap was not measured, by oid. */
  unmeasured: Map<number, string>;
  /** Why none can be measured, and the statement that changes it. */
  obstacle: string | undefined;
}

/** Reads these, the most promising first, with `pgstattuple_approx` for as long as the budget allows. */
export async function measureHeaps(context: ReviewContext, heaps: readonly Heap[]): Promise<MeasuredHeaps> {
  const result: MeasuredHeaps = { measured: new Map(), unmeasured: new Map(), obstacle: undefined };
  if (heaps.length === 0) return result;
  const schema = await usableSchema(context);
  if (typeof schema === "string") return { ...result, obstacle: schema };
  const hasTime = proofTime(context);
  const pace = new Pace();
  for (const heap of heaps) {
    context.signal.throwIfAborted();
    const pages = costOf(heap);
    const predicted = pace.predictSeconds(pages);
    if (predicted > longestSeconds || !hasTime()) {
      result.unmeasured.set(
        heap.oid,
        predicted > longestSeconds
          ? `reading it takes about ${Math.ceil(predicted)} s, longer than a review's statement may`
          : "no time was left for it: give more with --budget",
      );
      continue;
    }
    const began = performance.now();
    const outcome = await measure(context, schema.name, heap);
    if (typeof outcome === "string") result.unmeasured.set(heap.oid, outcome);
    else {
      result.measured.set(heap.oid, outcome);
      pace.learn(pages, (performance.now() - began) / 1000);
    }
  }
  return result;
}

const costOf = ({ pages, allVisiblePages }: Heap) =>
  Math.max(0, pages - allVisiblePages) + pages * visiblePageCost;

async function usableSchema({ session, extensions }: ReviewContext): Promise<{ name: string } | string> {
  const extension = extensions.get("pgstattuple");
  if (extension === undefined)
    return "the extension pgstattuple is not installed: CREATE EXTENSION pgstattuple;";
  const [row] = await session.query<{ usable: boolean; executable: boolean | null }>(
    `select has_schema_privilege(n.oid, 'USAGE') as usable,
            (select has_function_privilege(p.oid, 'EXECUTE') from pg_proc p
              where p.pronamespace = n.oid and p.proname = 'pgstattuple_approx') as executable
       from pg_namespace n where n.nspname = $1`,
    [extension.schema],
  );
  const user = identifier(session.user);
  if (row?.usable !== true) return `GRANT USAGE ON SCHEMA ${identifier(extension.schema)} TO ${user};`;
  return row.executable === true ? { name: extension.schema } : `GRANT pg_stat_scan_tables TO ${user};`;
}

async function measure(
  { session }: ReviewContext,
  schema: string,
  heap: Heap,
): Promise<MeasuredHeap | string> {
  try {
    const [row] = await session.query<{
      bytes: number;
      rows: number;
      rowBytes: number;
      deadBytes: number;
      freeBytes: number;
      blockBytes: number;
    }>(
      `select table_len::float8 as bytes, approx_tuple_count::float8 as rows, approx_tuple_len::float8 as "rowBytes",
              dead_tuple_len::float8 as "deadBytes", approx_free_space::float8 as "freeBytes",
              current_setting('block_size')::int as "blockBytes"
         from ${identifier(schema)}.pgstattuple_approx($1::oid::regclass)`,
      [heap.oid],
    );
    if (row === undefined) return "pgstattuple_approx answered with nothing";
    const { bytes, rows, rowBytes, deadBytes, freeBytes, blockBytes } = row;
    const needed = pagesFor(rows, rowBytes, heap.fillFactor, blockBytes) * blockBytes;
    return {
      bytes,
      liveRows: rows,
      deadBytes,
      freeBytes,
      wastedBytes: Math.max(0, Math.min(freeBytes + deadBytes, bytes - needed)),
    };
  } catch (error) {
    if (hasSqlState(error, SqlState.lockNotAvailable)) return "it was locked";
    if (hasSqlState(error, SqlState.queryCanceled)) return "reading it took too long";
    if (error instanceof PgkeepError && error.code !== "unreachable") return errorMessage(error);
    throw error;
  }
}

/**
 * Pages that these rows need, at least. A whole number of rows fits on each: the rest of a page that wide rows leave
 * free stays free after a rewrite too.
 */
export function pagesFor(rows: number, rowBytes: number, fillFactor: number, blockBytes: number): number {
  if (rows <= 0) return 0;
  const usable = ((blockBytes - pageHeaderBytes) * fillFactor) / 100;
  const each = rowBytes / rows + linePointerBytes;
  const perPage = usable / each >= 20 ? usable / each : Math.max(1, Math.floor(usable / each));
  return Math.ceil(rows / perPage);
}
