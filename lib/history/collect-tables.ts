/**
 * Everything about all tables in one statement. Sizes are `relpages`: every function that gives the size of a relation
 * opens it with ACCESS SHARE (`try_relation_open` in dbsize.c) and would wait behind a waiting ALTER TABLE, and with it
 * all who come later. Counters come from the functions below `pg_stat_all_tables`, which need no lock either.
 *
 * Parameters: the day; oids, column numbers and positions of key columns, in the order of oids, of the tables of which
 * they were read. The others keep those that they had.
 */
export const collectTablesQuery = `
with recursive tree (oid, root) as (
  select c.oid, c.oid from pg_partitioned_table p join pg_class c on c.oid = p.partrelid where not c.relispartition
  union all
  select i.inhrelid, t.root from tree t join pg_inherits i on i.inhparent = t.oid
), relations as materialized (
  select oid, relname::text as name, relnamespace, relkind, relpages, reltuples, reltoastrelid
    from pg_class where relkind in ('r', 'm', 'p', 't') and relpersistence <> 't'
), their_indexes as materialized (
  select x.indrelid, x.indisvalid, i.oid, i.relname::text as name, i.relpages, i.relnamespace
    from pg_index x join pg_class i on i.oid = x.indexrelid
   where i.relkind = 'i' and i.relpersistence <> 't' and i.relnamespace <> 'pg_catalog'::regnamespace
), indexes as materialized (
  select o.indrelid as table_oid, array_agg(o.oid) as oids, array_agg(o.name) as names,
         array_agg(o.relpages) as page_counts, array_agg(pg_stat_get_numscans(o.oid)) as scans
    from (select * from their_indexes where relnamespace <> 'pg_toast'::regnamespace order by indrelid, oid) o
   group by o.indrelid
), toasts as materialized (
  select t.oid, t.relpages + i.relpages as pages
    from relations t join their_indexes i on i.indrelid = t.oid
   where t.relkind = 't' and i.indisvalid
), keys as materialized (
  select k.table_oid, array_agg(k.number) filter (where k.position is not null) as columns,
         array_agg(k.position) filter (where k.position is not null) as positions
    from unnest($2::oid[], $3::int2[], $4::int8[]) as k (table_oid, number, position)
   group by k.table_oid
), present as materialized (
  select c.oid as table_oid, nullif(t.root, c.oid) as root_oid, c.relkind as kind,
         case when c.relkind = 'p' then 0 when c.relpages = 0 and c.reltuples < 0 then null else c.relpages end as heap_pages,
         coalesce(toast.pages, 0) as toast_pages,
         greatest(c.reltuples, -1)::real as row_estimate,
         pg_stat_get_live_tuples(c.oid) as live_rows, pg_stat_get_dead_tuples(c.oid) as dead_rows,
         pg_stat_get_tuples_inserted(c.oid) as rows_inserted, pg_stat_get_tuples_updated(c.oid) as rows_updated,
         pg_stat_get_tuples_deleted(c.oid) as rows_deleted, pg_stat_get_numscans(c.oid) as sequential_scans,
         pg_stat_get_vacuum_count(c.oid) + pg_stat_get_autovacuum_count(c.oid) as vacuums,
         n.nspname::text as schema_name, c.name as table_name,
         coalesce(i.oids, '{}') as index_oids, coalesce(i.names, '{}') as index_names,
         coalesce(i.page_counts, '{}') as index_pages, coalesce(i.scans, '{}') as index_scans,
         k.table_oid is not null as keys_read, k.columns as read_columns, k.positions as read_values
    from relations c
    join pg_namespace n on n.oid = c.relnamespace
    left join tree t on t.oid = c.oid
    left join toasts toast on toast.oid = c.reltoastrelid
    left join indexes i on i.table_oid = c.oid
    left join keys k on k.table_oid = c.oid
   where c.relkind <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
), compared as materialized (
  select p.*, h.table_oid as noted_oid,
         coalesce(case when p.keys_read then p.read_columns else h.key_columns end, '{}') as key_columns,
         coalesce(case when p.keys_read then p.read_values else h.key_values end, '{}') as key_values
    from present p full join (select * from pgkeep.history_table where gone_day is null) h on h.table_oid = p.table_oid
   where (p.root_oid, p.kind, p.heap_pages, p.toast_pages, p.row_estimate, p.live_rows, p.dead_rows, p.rows_inserted,
          p.rows_updated, p.rows_deleted, p.sequential_scans, p.vacuums, p.schema_name, p.table_name, p.index_oids,
          p.index_names, p.index_pages, p.index_scans)
         is distinct from
         (h.root_oid, h.kind, h.heap_pages, h.toast_pages, h.row_estimate, h.live_rows, h.dead_rows, h.rows_inserted,
          h.rows_updated, h.rows_deleted, h.sequential_scans, h.vacuums, h.schema_name, h.table_name, h.index_oids,
          h.index_names, h.index_pages, h.index_scans)
      or p.keys_read and (coalesce(p.read_columns, '{}'), coalesce(p.read_values, '{}'))
                         is distinct from (h.key_columns, h.key_values)
), gone as (
  update pgkeep.history_table h set gone_day = $1::date
   from compared c where c.table_oid is null and h.table_oid = c.noted_oid and h.gone_day is null
  returning 1
), kept as (
  insert into pgkeep.history_table_before
  select h.table_oid, coalesce((select max(d.day) from pgkeep.history_day d where d.day < $1::date), $1::date - 1),
         h.heap_pages, h.toast_pages, h.row_estimate, h.live_rows, h.dead_rows, h.rows_inserted, h.rows_updated,
         h.rows_deleted, h.sequential_scans, h.vacuums, h.index_oids, h.index_pages, h.index_scans, h.key_columns, h.key_values
    from compared c join pgkeep.history_table h on h.table_oid = c.noted_oid and h.gone_day is null
   where c.table_oid is not null and h.since_day < $1::date
  on conflict (table_oid, until_day) do nothing
  returning 1
), changed as (
  update pgkeep.history_table h
     set since_day = $1::date, root_oid = c.root_oid, kind = c.kind, heap_pages = c.heap_pages, toast_pages = c.toast_pages,
         row_estimate = c.row_estimate, live_rows = c.live_rows, dead_rows = c.dead_rows, rows_inserted = c.rows_inserted,
         rows_updated = c.rows_updated, rows_deleted = c.rows_deleted, sequential_scans = c.sequential_scans,
         vacuums = c.vacuums, schema_name = c.schema_name, table_name = c.table_name, index_oids = c.index_oids,
         index_names = c.index_names, index_pages = c.index_pages, index_scans = c.index_scans,
         key_columns = c.key_columns, key_values = c.key_values
    from compared c
   where c.table_oid is not null and h.table_oid = c.noted_oid and h.gone_day is null
  returning 1
), added as (
  insert into pgkeep.history_table (table_oid, root_oid, first_day, since_day, kind, heap_pages, toast_pages, row_estimate,
         live_rows, dead_rows, rows_inserted, rows_updated, rows_deleted, sequential_scans, vacuums, schema_name, table_name,
         index_oids, index_names, index_pages, index_scans, key_columns, key_values)
  select table_oid, root_oid, $1::date, $1::date, kind, heap_pages, toast_pages, row_estimate,
         live_rows, dead_rows, rows_inserted, rows_updated, rows_deleted, sequential_scans, vacuums, schema_name, table_name,
         index_oids, index_names, index_pages, index_scans, key_columns, key_values
    from compared where noted_oid is null
  returning 1
), counted as (
  select count(*) filter (where kind <> 'p')::int as tables, count(*) filter (where heap_pages is null)::int as unmeasured
    from present
), noted as (
  update pgkeep.history_day set tables = counted.tables, tables_unmeasured = counted.unmeasured
    from counted where day = $1::date
)
select counted.tables, counted.unmeasured, (select count(*) from changed) as changed, (select count(*) from added) as added,
       (select count(*) from gone) as gone
  from counted`;
