import type { Session } from "../ports/databases.ts";
import { type BloatRange, type BtreeColumn, estimateBloat } from "./bloat.ts";
import type { IndexFacts } from "./index-facts.ts";

/** What an estimate needs to know of an index. */
type Estimated = Pick<
  IndexFacts,
  | "oid"
  | "method"
  | "pages"
  | "fillFactor"
  | "deduplicates"
  | "isPartial"
  | "indexTuples"
  | "tableTuples"
  | "liveTuples"
>;

interface Row {
  oid: number;
  isKey: boolean;
  length: number;
  align: "c" | "s" | "i" | "d";
  averageWidth: number | null;
  nullFraction: number | null;
  distinct: number | null;
}

const alignments = { c: 1, s: 2, i: 4, d: 8 };

/** Estimates the bloat of B-trees from the statistics that the role may see, by OID. One query, no locks. */
export async function estimateAll(
  session: Session,
  indexes: readonly Estimated[],
  blockBytes: number,
): Promise<Map<number, BloatRange>> {
  const trees = indexes.filter((index) => index.method === "btree");
  const columns = new Map<number, BtreeColumn[]>();
  for (const row of await session.query<Row>(columnsQuery, [trees.map((index) => index.oid)])) {
    const known = columns.get(row.oid) ?? [];
    columns.set(row.oid, known);
    known.push({
      isKey: row.isKey,
      length: row.length,
      alignment: alignments[row.align],
      statistics:
        row.averageWidth === null || row.nullFraction === null || row.distinct === null
          ? null
          : { averageWidth: row.averageWidth, nullFraction: row.nullFraction, distinct: row.distinct },
    });
  }
  return new Map(
    trees.map((index) => [
      index.oid,
      estimateBloat({
        pages: index.pages,
        blockBytes,
        fillFactor: index.fillFactor,
        rows: rowsOf(index),
        deduplicates: index.deduplicates,
        columns: columns.get(index.oid) ?? [],
      }),
    ]),
  );
}

/** Statistics of an expression stand under the index's own name. */
const columnsQuery = `
with wanted as materialized (
  select x.indexrelid, x.indrelid, x.indkey, x.indnkeyatts from unnest($1::oid[]) as w(oid) join pg_index x on x.indexrelid = w.oid
), columns as materialized (
  select x.indexrelid as oid, a.attnum, a.attnum <= x.indnkeyatts as is_key, a.attlen, a.attalign,
         n.nspname, r.relname, case when x.indkey[a.attnum - 1] = 0 then a.attname else t.attname end as attname
    from wanted x
    join pg_attribute a on a.attrelid = x.indexrelid
    left join pg_attribute t on t.attrelid = x.indrelid and t.attnum = x.indkey[a.attnum - 1]
    join pg_class r on r.oid = case when x.indkey[a.attnum - 1] = 0 then x.indexrelid else x.indrelid end
    join pg_namespace n on n.oid = r.relnamespace
)
select c.oid::int8 as oid, c.is_key as "isKey", c.attlen::int as length, c.attalign::text as align,
       s.avg_width::float8 as "averageWidth", s.null_frac::float8 as "nullFraction", s.n_distinct::float8 as "distinct"
  from columns c
  left join pg_stats s on s.schemaname = c.nspname and s.tablename = c.relname and s.attname = c.attname and not s.inherited
 order by c.oid, c.attnum`;

/** Entries of an index; null when nobody has counted them since it has its present size. */
function rowsOf(index: Estimated): { least: number; most: number } | null {
  if (index.isPartial) {
    return index.indexTuples > 0 ? { least: index.indexTuples, most: index.indexTuples } : null;
  }
  const counted = [
    ...(index.tableTuples >= 0 ? [index.tableTuples] : []),
    ...(index.liveTuples > 0 ? [index.liveTuples] : []),
  ];
  return counted.length === 0 ? null : { least: Math.min(...counted), most: Math.max(...counted) };
}
