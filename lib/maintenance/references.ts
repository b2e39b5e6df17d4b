import type { Session } from "../ports/databases.ts";

/** A column that looks as if it referred to another table's primary key. */
export interface SuspectedReference {
  oid: number;
  columnNumber: number;
  column: string;
  schema: string;
  table: string;
  /** By the last VACUUM or ANALYZE. */
  rows: number;
  parent: number;
  parentSchema: string;
  parentTable: string;
  parentColumn: string;
  /** One of both tables. */
  unlogged: boolean;
  /** Of both tables. */
  pages: number;
  takesNotValid: boolean;
}

/** Whether a foreign key can be added to this row of `pg_class` NOT VALID: a partitioned table takes none before 18. */
export function takesNotValid(relation: string): string {
  return `(${relation}.relkind <> 'p' or current_setting('server_version_num')::int >= 180000)`;
}

/** Statements that add a constraint, in two steps where the table takes it NOT VALID, and their locks. */
export function addConstraint(
  table: string,
  name: string,
  definition: string,
  inSteps: boolean,
): { statements: string[]; lock: string } {
  const add = `ALTER TABLE ${table} ADD CONSTRAINT ${name} ${definition}`;
  return inSteps
    ? {
        statements: [`${add} NOT VALID;`, `ALTER TABLE ${table} VALIDATE CONSTRAINT ${name};`],
        lock: "SHARE ROW EXCLUSIVE on both tables for a moment, then SHARE UPDATE EXCLUSIVE",
      }
    : {
        statements: [`${add};`],
        lock: "SHARE ROW EXCLUSIVE on both tables while all rows are read: a partitioned table takes no foreign key NOT VALID before PostgreSQL 18",
      };
}

/**
 * Pages of a table, or of all partitions that it has: an expression. From the catalogs alone: `pg_partition_tree` would
 * wait for whoever has locked a partition.
 */
export function pagesOf(oid: string): string {
  return `(with recursive part (oid, relkind, relpages) as (
             select l.oid, l.relkind, l.relpages from pg_class l where l.oid = ${oid}
             union all
             select l.oid, l.relkind, l.relpages from part
               join pg_inherits h on h.inhparent = part.oid and part.relkind = 'p'
               join pg_class l on l.oid = h.inhrelid)
           select coalesce(sum(greatest(relpages, 0)), 0)::bigint from part where relkind <> 'p')`;
}

/**
 * Columns that look like a foreign key and have none: `customer_id` or `customerid` beside a table `customer`,
 * `customers` (`category_id`: `categories`) in the same schema, whose primary key is one column of the same type named
 * `id` or `customer_id`. So `country_code` refers to `countries (code)` too. More than one such table: nobody knows.
 * No relation is locked.
 * @param options without `sizes`, `pages` is 0
 */
export function readSuspectedReferences(
  session: Session,
  options: { sizes: boolean },
): Promise<SuspectedReference[]> {
  const pages = options.sizes ? `${pagesOf("f.oid::oid")} + ${pagesOf("f.parent::oid")}` : "0";
  return session.query<SuspectedReference>(
    `with relation as (
       select c.oid, n.oid as namespace, n.nspname::text as schema, c.relname::text as name, c.reltuples, c.relpersistence, ${takesNotValid("c")} as takes_not_valid
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
         and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgkeep') and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')),
     parent as (
       select r.*, a.attname::text as "column", a.atttypid as type, a.attcollation as collation
       from relation r
       join pg_index i on i.indrelid = r.oid and i.indisprimary and i.indnkeyatts = 1
       join pg_attribute a on a.attrelid = r.oid and a.attnum = i.indkey[0]
       join pg_type t on t.oid = a.atttypid and t.typnamespace = 'pg_catalog'::regnamespace and t.typtype = 'b'),
     stem as (
       -- customers (id): customer_id; customers (customer_id): customer_id.
       select p.*, lower(s.name) as stem,
              case when lower(p."column") like lower(s.name) || '\\_%' then lower(p."column")
                   else lower(s.name) || '_' || lower(p."column") end as wanted
       from parent p
       cross join lateral (select p.name union select regexp_replace(p.name, 's$', '', 'i')
                           union select regexp_replace(p.name, 'es$', '', 'i')
                           union select regexp_replace(p.name, 'ies$', 'y', 'i')) s (name)
       where s.name <> ''),
     -- Equality of every part, so that ten thousand tables are hashed and not compared each with each.
     wanted as (
       select distinct p.oid, p.namespace, p.schema, p.name, p."column", p.type, p.collation, p.relpersistence, w.column_name
       from stem p cross join lateral (values (p.wanted), (replace(p.wanted, '_', ''))) w (column_name)),
     attribute as materialized (
       select c.oid, c.namespace, c.schema, c.name, c.reltuples, c.relpersistence, c.takes_not_valid, a.attnum, a.attname, a.atttypid,
              a.attcollation, lower(a.attname) as column_name
       from relation c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
     referring as materialized (
       select k.conrelid, u.number from pg_constraint k cross join unnest(k.conkey) as u(number) where k.contype = 'f'),
     found as (
       select distinct a.oid::bigint as oid, a.attnum::int as "columnNumber", a.attname::text as "column", a.schema,
              a.name as "table", greatest(a.reltuples, 0)::float8 as rows, p.oid::bigint as parent,
              p.schema as "parentSchema", p.name as "parentTable", p."column" as "parentColumn",
              a.relpersistence = 'u' or p.relpersistence = 'u' as unlogged,
              a.takes_not_valid as "takesNotValid"
       from wanted p
       join attribute a on a.namespace = p.namespace and a.column_name = p.column_name
         and a.atttypid = p.type and a.attcollation = p.collation
       where not (a.oid = p.oid and a.attname = p."column")
         and not exists (select from referring k where k.conrelid = a.oid and k.number = a.attnum))
     select f.*, ${pages} as pages
     from (select *, count(*) over (partition by oid, "columnNumber") as candidates from found) f
     where f.candidates = 1`,
  );
}
