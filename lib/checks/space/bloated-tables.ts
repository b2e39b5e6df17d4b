import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import { type Heap, type MeasuredHeap, measureHeaps, pagesFor } from "./bloat-measure.ts";

export interface BloatLimits {
  /** A smaller table is not worth a rewrite. */
  smallestBytes: number;
  /** Free space that is not worth one either: tables of this size gain and lose it in a day. */
  wastedBytes: number;
  /** Of the table; a third free is what a table in motion has. */
  wastedPercent: number;
}

const highBytes = 10 * 2 ** 30;
const mediumBytes = 2 ** 30;
/** Of what is wasted; then VACUUM comes first. */
const deadShare = 0.5;
const mostTables = 500;

interface Column {
  /** pg_attribute.attlen. */
  length: number;
  alignment: number;
  /** Null without statistics, or without the right to see them. */
  width: number | null;
  nulls: number | null;
}

interface Table extends Heap {
  schema: string;
  table: string;
  rows: number;
  columns: Column[];
  columnCount: number;
  hasDropped: boolean;
  blockBytes: number;
}

/**
 * Tables most of which is free. Estimated from statistics with everything in the table's favour (padding, bitmaps of
 * nulls, whole rows on a page), then measured with `pgstattuple_approx` while the budget lasts. What could not be
 * measured is only suspected; what was measured and is sound is not reported.
 */
export function bloatedTablesBeyond(limits: BloatLimits): ReviewCheck {
  return {
    name: "bloated-tables",
    title: "Which tables are mostly free space?",
    area: "space",
    async run(context) {
      const tables = await readLargeTables(context, limits);
      const estimated = tables.map((table) => ({ table, wastedBytes: estimate(table) }));
      const unknown = estimated.filter(({ wastedBytes }) => wastedBytes === null).map(({ table }) => table);
      const suspects = estimated
        .flatMap(({ table, wastedBytes }) => (wastedBytes === null ? [] : [{ table, wastedBytes }]))
        .filter(({ table, wastedBytes }) => isBloat(wastedBytes, table.pages * table.blockBytes, limits))
        .sort((a, b) => b.wastedBytes - a.wastedBytes);
      const { measured, unmeasured, obstacle } = await measureHeaps(context, [
        ...suspects.map(({ table }) => table),
        ...unknown,
      ]);
      const findings: ReviewFinding[] = [];
      let refuted = 0;
      let unseen = 0;
      for (const { table, wastedBytes } of suspects) {
        const found = measured.get(table.oid);
        if (found === undefined) {
          // Rows that are older than a dropped column still hold it: free is not what they make it look like.
          if (table.hasDropped) unseen += 1;
          else findings.push(suspected(table, wastedBytes, unmeasured.get(table.oid) ?? obstacle));
        } else if (isBloat(found.wastedBytes, found.bytes, limits)) findings.push(confirmed(table, found));
        else refuted += 1;
      }
      for (const table of unknown) {
        const found = measured.get(table.oid);
        if (found === undefined) unseen += 1;
        else if (isBloat(found.wastedBytes, found.bytes, limits)) findings.push(confirmed(table, found));
      }
      return concludeReview({
        findings,
        facts: { largeTables: tables.length, measured: measured.size, estimatesRefuted: refuted },
        good: tables.length === 0 ? [] : ["Large tables hold rows, not free space."],
        obstacle:
          unseen === 0
            ? undefined
            : `${countText(unseen, "large table")} without statistics that ${context.session.user} may see, and not measured: ${
                obstacle ?? `ANALYZE; and GRANT pg_read_all_data TO ${identifier(context.session.user)};`
              }`,
      });
    },
  };
}

export const bloatedTables = bloatedTablesBeyond({
  smallestBytes: 10 * 2 ** 20,
  wastedBytes: 100 * 2 ** 20,
  wastedPercent: 40,
});

export function isBloat(wastedBytes: number, bytes: number, limits: BloatLimits): boolean {
  return (
    bytes >= limits.smallestBytes &&
    wastedBytes >= limits.wastedBytes &&
    wastedBytes >= (bytes * limits.wastedPercent) / 100
  );
}

/** Reads statistics of large tables only: of ten thousand small ones they would take seconds. */
function readLargeTables({ session }: ReviewContext, limits: BloatLimits): Promise<Table[]> {
  return session.query<Table>(
    `with large as materialized (
       select c.oid, n.nspname, c.relname, c.relpages, c.relallvisible, c.reltuples, c.relnatts, c.reloptions
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_am a on a.oid = c.relam and a.amname = 'heap'
        where c.relkind in ('r', 'm') and c.relpersistence <> 't'
          and c.relpages >= $1::float8 / current_setting('block_size')::int and ${userRelation()}
        order by c.relpages desc limit ${mostTables}),
     statistics as materialized (
       select schemaname, tablename, attname, avg_width, null_frac from pg_stats
        where not inherited and schemaname = any (array(select nspname from large)) and tablename = any (array(select relname from large)))
     select l.oid::int8 as oid, l.nspname::text as schema, l.relname::text as table, l.relpages::int8 as pages,
            l.relallvisible::int8 as "allVisiblePages", l.reltuples::float8 as rows,
            coalesce((select option_value::int from pg_options_to_table(l.reloptions) where option_name = 'fillfactor'), 100) as "fillFactor",
            l.relnatts::int as "columnCount", d.dropped as "hasDropped", d.columns,
            current_setting('block_size')::int as "blockBytes"
       from large l
       cross join lateral (
         select coalesce(bool_or(a.attisdropped), false) as dropped,
                coalesce(jsonb_agg(jsonb_build_object('length', a.attlen,
                  'alignment', case a.attalign when 'c' then 1 when 's' then 2 when 'i' then 4 else 8 end,
                  'width', s.avg_width, 'nulls', s.null_frac) order by a.attnum) filter (where not a.attisdropped), '[]') as columns
           from pg_attribute a
           left join statistics s on s.schemaname = l.nspname and s.tablename = l.relname and s.attname = a.attname
          where a.attrelid = l.oid and a.attnum > 0) d`,
    [limits.smallestBytes],
  );
}

const tupleHeaderBytes = 23;
const maximalAlignment = 8;
const shortVarlenaBytes = 127;
const align = (value: number, alignment: number) => Math.ceil(value / alignment) * alignment;

/** Bytes that are surely free, everything that may take space taken into account; null when nothing is known. */
function estimate(table: Table): number | null {
  const { rows, pages, blockBytes, columns } = table;
  if (rows < 0 || columns.some(({ width, length }) => width === null && length < 0)) return null;
  const each = largestRowBytes(columns, table.columnCount);
  return Math.max(0, pages - pagesFor(rows, rows * each, table.fillFactor, blockBytes)) * blockBytes;
}

function largestRowBytes(columns: readonly Column[], count: number): number {
  const bitmap = columns.some(({ nulls }) => nulls === null || nulls > 0) ? Math.ceil(count / 8) : 0;
  let data = 0;
  // Behind a value of varying length nobody knows where the next one starts: as much padding as there can be.
  let varies = false;
  for (const { length, alignment, width, nulls } of columns) {
    const present = 1 - (nulls ?? 0);
    if (length > 0) {
      data = varies ? data + (alignment - 1) * present : align(data, alignment);
      data += length * present;
    } else {
      data += (width ?? 0) * present + ((width ?? 0) > shortVarlenaBytes / 2 ? alignment - 1 : 0) * present;
      varies = true;
    }
    if (nulls !== null && nulls > 0) varies = true;
  }
  return (
    align(tupleHeaderBytes + bitmap, maximalAlignment) +
    align(data + (varies ? maximalAlignment - 1 : 0), maximalAlignment)
  );
}

function severityOf(wastedBytes: number): Severity {
  return wastedBytes >= highBytes ? "high" : wastedBytes >= mediumBytes ? "medium" : "low";
}

function confirmed(table: Table, found: MeasuredHeap): ReviewFinding {
  const isDead = found.deadBytes >= found.wastedBytes * deadShare;
  return {
    ...described(table, found.wastedBytes, found.bytes, isDead),
    confidence: "certain",
    evidence: {
      size: bytesText(found.bytes),
      wasted: bytesText(found.wastedBytes),
      wastedPercent: round((100 * found.wastedBytes) / found.bytes),
      dead: bytesText(found.deadBytes),
      free: bytesText(found.freeBytes),
      rows: Math.round(found.liveRows),
      fillFactor: table.fillFactor,
      measuredWith: "pgstattuple_approx",
    },
  };
}

function suspected(table: Table, wastedBytes: number, why: string | undefined): ReviewFinding {
  const bytes = table.pages * table.blockBytes;
  return {
    ...described(table, wastedBytes, bytes, false),
    // An estimate alone is no reason to rewrite a table.
    severity: "low",
    confidence: "suspected",
    evidence: {
      size: bytesText(bytes),
      wastedAtLeast: bytesText(wastedBytes),
      wastedPercent: round((100 * wastedBytes) / bytes),
      rows: Math.round(table.rows),
      fillFactor: table.fillFactor,
      notMeasured: why ?? "no time was left",
    },
  };
}

function described(
  { schema, table }: Table,
  wastedBytes: number,
  bytes: number,
  isDead: boolean,
): Omit<ReviewFinding, "confidence" | "evidence"> {
  const name = qualified(schema, table);
  return {
    check: "bloated-tables",
    key: `bloated-tables/${schema}.${table}`,
    severity: severityOf(wastedBytes),
    object: { schema, table },
    title: `${bytesText(wastedBytes)} of the ${bytesText(bytes)} of ${name} hold no rows`,
    impact:
      "Scans and caches carry empty pages, and backups and replicas too. New rows fill the space again, so a table that grows needs nothing.",
    blastRadius: `scans of ${name}; disk and memory that others could use`,
    rootCause: isDead
      ? "Dead rows that VACUUM has not removed yet, or could not (see vacuum-held-back)."
      : "A large delete or update, or a time in which VACUUM could not keep up.",
    prevention:
      "Vacuum often enough for the table's changes; delete old rows by dropping partitions; end old transactions.",
    effort: isDead ? "minutes" : "hours",
    remediation: isDead
      ? {
          sql: `VACUUM ${name};`,
          lock: "SHARE UPDATE EXCLUSIVE: reads and writes go on",
          rollback: "none needed",
        }
      : rewriting(name, bytes - wastedBytes),
  };
}

export function rewriting(name: string, neededBytes: number): ReviewFinding["remediation"] {
  return {
    sql: `-- Where it may not be locked for that long: pg_repack or pg_squeeze do the same with short locks.\nVACUUM (FULL, ANALYZE) ${name};`,
    lock: `ACCESS EXCLUSIVE: nobody reads or writes the table while it is rewritten, for which about ${bytesText(neededBytes)} and its indexes must be free on disk`,
    rollback: "none needed: the rows stay the same",
  };
}
