import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** A table that is partitioned by ranges of one time, or by anything else. */
export interface Partitioned {
  oid: number;
  schema: string;
  table: string;
  strategy: "r" | "l" | "h";
  /** Columns of the key. */
  columns: number;
  /** The key's column, when it is one and no expression. */
  key: string | null;
  isTime: boolean;
  partitions: number;
  /** The last range ends with MAXVALUE. */
  isOpen: boolean;
  /** End of the last range of a table by time; null without one. */
  lastEnd: Date | null;
  /** Length of that range. */
  lastSeconds: number | null;
  /** Rows that went into the newest partition or the default one since the statistics began. */
  inserted: number;
  defaultSchema: string | null;
  defaultTable: string | null;
  defaultKind: string | null;
  defaultPages: number;
  /** By the counters, or the last ANALYZE where there are none. */
  defaultRows: number;
}

/**
 * Every partitioned table at the top with its last range and its default partition, read once. Ranges are read as the
 * server writes them for this session (told the partition, it would lock it); no partition is looked into.
 */
export function readPartitioned(context: ReviewContext): Promise<Partitioned[]> {
  return context.once("partitioned-tables", () =>
    context.session.query<Partitioned>(
      `with parent as materialized (
         select c.oid, n.nspname::text as schema, c.relname::text as name, p.partstrat::text as strategy,
                p.partnatts::int as columns, a.attname::text as key, p.partdefid,
                coalesce(t.typname in ('date', 'timestamp', 'timestamptz') and t.typnamespace = 'pg_catalog'::regnamespace, false) as is_time
           from pg_partitioned_table p
           join pg_class c on c.oid = p.partrelid and not c.relispartition
           join pg_namespace n on n.oid = c.relnamespace
           left join pg_attribute a on p.partnatts = 1 and a.attrelid = c.oid and a.attnum = p.partattrs[0] and a.attnum > 0
           left join pg_type t on t.oid = a.atttypid
          where ${userRelation()}),
       bound as materialized (
         select i.inhparent, i.inhrelid, p.is_time and p.strategy = 'r' as is_range_of_time,
                case when p.is_time and p.strategy = 'r'
                     then regexp_match(pg_get_expr(c.relpartbound, 0), '^FOR VALUES FROM \\((.*)\\) TO \\((.*)\\)$') end as ends
           from parent p join pg_inherits i on i.inhparent = p.oid join pg_class c on c.oid = i.inhrelid
          where c.oid <> p.partdefid and not i.inhdetachpending),
       range as materialized (
         select inhparent, inhrelid, ends[2] = 'MAXVALUE' as is_open,
                case when is_range_of_time and ends[2] ~ '^''' then trim(both '''' from ends[2])::timestamptz end as upper,
                case when is_range_of_time and ends[1] ~ '^''' then trim(both '''' from ends[1])::timestamptz end as lower
           from bound),
       last as (
         select distinct on (inhparent) * from range where upper is not null and isfinite(upper)
          order by inhparent, upper desc),
       total as (
         select inhparent, count(*)::int as partitions, coalesce(bool_or(is_open), false) as is_open from range group by inhparent)
       select p.oid::int8 as oid, p.schema, p.name as table, p.strategy, p.columns, p.key, p.is_time as "isTime",
              coalesce(t.partitions, 0) as partitions, coalesce(t.is_open, false) as "isOpen", l.upper as "lastEnd",
              case when isfinite(l.lower) then extract(epoch from l.upper - l.lower)::float8 end as "lastSeconds",
              (coalesce(pg_stat_get_tuples_inserted(l.inhrelid), 0) + coalesce(pg_stat_get_tuples_inserted(nullif(p.partdefid, 0)), 0))::int8 as inserted,
              dn.nspname::text as "defaultSchema", d.relname::text as "defaultTable", d.relkind::text as "defaultKind",
              greatest(d.relpages, 0)::int8 as "defaultPages",
              greatest(coalesce(d.reltuples, 0)::float8, coalesce(pg_stat_get_live_tuples(d.oid), 0)::float8, 0) as "defaultRows"
         from parent p
         left join total t on t.inhparent = p.oid
         left join last l on l.inhparent = p.oid
         left join pg_class d on d.oid = nullif(p.partdefid, 0)
         left join pg_namespace dn on dn.oid = d.relnamespace
        order by p.schema, p.name`,
    ),
  );
}
