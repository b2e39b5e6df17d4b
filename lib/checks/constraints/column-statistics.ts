import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** A column of a table of some size, with what ANALYZE last saw of it. */
export interface ColumnStatistics {
  tableOid: number;
  schema: string;
  table: string;
  isPartitioned: boolean;
  rows: number;
  number: number;
  column: string;
  /** As declared: `character varying(20)`. */
  type: string;
  /** `pg_type.typcategory`: S text, B boolean, E enum, U uuid and others … */
  category: string;
  isNotNull: boolean;
  /** A default that is not null, an identity or a generated value. */
  hasDefault: boolean;
  hasCheck: boolean;
  isForeignKey: boolean;
  nullFraction: number;
  /** Positive: values; negative: share of the rows (`pg_stats.n_distinct`). */
  distinct: number;
}

/** Statistics of fewer rows say little about the next ones. */
export const leastRows = 10_000;

/**
 * The columns that could be NOT NULL, UNIQUE or checked, of tables that have been analysed with enough rows. One query
 * for the three checks, no locks.
 */
export function readColumnStatistics(context: ReviewContext): Promise<ColumnStatistics[]> {
  return context.once("column-statistics", () =>
    context.session.query<ColumnStatistics>(
      `select c.oid::int8 as "tableOid", n.nspname::text as schema, c.relname::text as table, c.relkind = 'p' as "isPartitioned",
              c.reltuples::float8 as rows, a.attnum::int as number, a.attname::text as column,
              format_type(a.atttypid, a.atttypmod) as type, t.typcategory::text as category, a.attnotnull as "isNotNull",
              a.attidentity <> '' or (d.oid is not null and d.adbin::text !~ '^\\{CONST .*:constisnull true') as "hasDefault",
              coalesce(k.checked, false) as "hasCheck", coalesce(k.referring, false) as "isForeignKey",
              s.null_frac::float8 as "nullFraction", s.n_distinct::float8 as distinct
         from pg_stats s
         join pg_namespace n on n.nspname = s.schemaname
         join pg_class c on c.relnamespace = n.oid and c.relname = s.tablename
         join pg_attribute a on a.attrelid = c.oid and a.attname = s.attname
         join pg_type t on t.oid = a.atttypid
         left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         left join (select conrelid, u.number, bool_or(contype = 'c') as checked, bool_or(contype = 'f') as referring
                      from pg_constraint, unnest(conkey) as u(number) where contype in ('c', 'f') group by 1, 2) k
           on k.conrelid = c.oid and k.number = a.attnum
        where c.relkind in ('r', 'p') and not c.relispartition and s.inherited = (c.relkind = 'p')
          and c.reltuples >= ${leastRows} and a.attgenerated = '' and ${userRelation()}
          and ((s.null_frac = 0 and not a.attnotnull) or s.n_distinct = -1 or (s.n_distinct between 2 and 20 and t.typcategory = 'S'))
        order by c.relpages desc, c.oid, a.attnum`,
    ),
  );
}
