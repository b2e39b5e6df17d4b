import { identifier } from "../../postgres/identifiers.ts";
import type { ReviewContext } from "../review-check.ts";
import { notOfExtension, userSchema } from "../user-objects.ts";
import type { VisibleCondition } from "../workload/index-uses.ts";
import type { IndexEntry } from "./catalogue.ts";

/**
 * Four fifths of the entries are nobody's, or more (`null_indexes` of Heroku's pg-extras lists the same indexes by
 * `null_frac`, whatever queries say).
 */
export const rareShare = 0.2;

/** What the statistics say of one column. */
export interface ColumnShares {
  oid: number;
  number: number;
  column: string;
  notNull: boolean;
  nullShare: number;
  /** Null unless boolean, with both values known. */
  falseShare: number | null;
  trueShare: number | null;
}

/** The statistics of these columns of these tables. One query; what the role may not see is left out. */
export function readShares(
  context: ReviewContext,
  wanted: readonly { index: Pick<IndexEntry, "tableOid" | "schema" | "table">; column: number }[],
): Promise<ColumnShares[]> {
  if (wanted.length === 0) return Promise.resolve([]);
  const each = new Map(wanted.map((one) => [`${one.index.tableOid} ${one.column}`, one]));
  const columns = [...each.values()];
  return context.session.query<ColumnShares>(
    `select wanted.oid, wanted.number, a.attname::text as column, a.attnotnull as "notNull",
            s.null_frac::float8 as "nullShare",
            case when a.atttypid = 'bool'::regtype and s.most_common_vals is not null then coalesce(
              s.most_common_freqs[array_position(s.most_common_vals::text::text[], 'f')], 0)::float8 end as "falseShare",
            case when a.atttypid = 'bool'::regtype and s.most_common_vals is not null then coalesce(
              s.most_common_freqs[array_position(s.most_common_vals::text::text[], 't')], 0)::float8 end as "trueShare"
       from unnest($1::int8[], $2::text[], $3::text[], $4::int[]) as wanted(oid, schema, relation, number)
       join pg_attribute a on a.attrelid = wanted.oid and a.attnum = wanted.number
       join pg_stats s on s.schemaname = wanted.schema and s.tablename = wanted.relation and s.attname = a.attname
            and not s.inherited`,
    [
      columns.map(({ index }) => index.tableOid),
      columns.map(({ index }) => index.schema),
      columns.map(({ index }) => index.table),
      columns.map(({ column }) => column),
    ],
  );
}

/** Of all rows; undefined when the statistics do not tell. */
export function shareOf({ operator }: VisibleCondition, shares: ColumnShares): number | undefined {
  const { notNull, nullShare, falseShare, trueShare } = shares;
  if (operator === "is null") return notNull ? undefined : nullShare;
  if (operator === "is not null") return 1 - nullShare;
  return (operator === "is true" ? trueShare : falseShare) ?? undefined;
}

/** The condition as the WHERE of an index. */
export function predicateOf({ operator }: VisibleCondition, { column }: ColumnShares): string {
  const name = identifier(column);
  if (operator === "is true") return name;
  return operator === "is false" ? `NOT ${name}` : `${name} ${operator.toUpperCase()}`;
}

/** Each is looked for in the source of each function. */
export const mostTables = 100;

export interface Readers {
  oid: number;
  name: string;
  kind: "relation" | "function";
}

/**
 * What else reads these tables: views and materialised views over them, tables that they inherit from, and functions
 * that have the table's name in their source; of the first tables only.
 */
export function readReaders(context: ReviewContext, tables: readonly number[]): Promise<Readers[]> {
  if (tables.length === 0) return Promise.resolve([]);
  return context.session.query<Readers>(
    `with recursive sources as materialized (
       select p.proname, lower(p.prosrc) as source
         from pg_proc p
         join pg_language l on l.oid = p.prolang and l.lanname not in ('internal', 'c')
         join pg_namespace n on n.oid = p.pronamespace
        where ${userSchema("n")} and ${notOfExtension("p.oid", "pg_proc")}),
     readers(root, reader) as (
       select one, one from unnest($1::oid[]) one
       union
       select e.root, more.reader
         from readers e
        cross join lateral (
          select r.ev_class as reader
            from pg_depend d join pg_rewrite r on r.oid = d.objid
           where d.refclassid = 'pg_class'::regclass and d.refobjid = e.reader and d.classid = 'pg_rewrite'::regclass
          union all
          select h.inhparent from pg_inherits h where h.inhrelid = e.reader) more)
     select r.root::int8 as oid, c.relname::text as name, 'relation' as kind
       from readers r join pg_class c on c.oid = r.reader where r.reader <> r.root
     union all
     select c.oid::int8, p.proname::text, 'function'
       from pg_class c
       join sources p on position(lower(replace(c.relname, '"', '""')) in p.source) > 0
      where c.oid = any($2::oid[])`,
    [tables, tables.slice(0, mostTables)],
  );
}
