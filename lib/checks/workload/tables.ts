import { type IndexCatalogue, type IndexEntry, readIndexCatalogue } from "../indexes/catalogue.ts";
import { readTables, type Tables as TableCounters, type TableEntry } from "../indexes/tables.ts";
import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import type { Workload } from "./statements.ts";

export interface Column {
  number: number;
  name: string;
  type: string;
  typeOid: number;
  notNull: boolean;
  /** Variable in length, and may be moved out of the row. */
  toastable: boolean;
  /** Distinct values when positive, a share of the rows when negative; null when not known (`pg_stats.n_distinct`). */
  distinct: number | null;
  nullFraction: number | null;
  /** Bytes in the row itself; null when nobody has analysed it or its statistics may not be read. */
  width: number | null;
}

/** A relation that a statement names. */
export interface Table {
  oid: number;
  schema: string;
  name: string;
  kind: "r" | "p" | "m" | "v" | "f";
  /** Rows, pages and counters, partitions included; undefined for views and foreign tables. */
  entry: TableEntry | undefined;
  toastPages: number;
  columns: Column[];
  indexes: readonly IndexEntry[];
  /** Row security would change this role's plans. */
  rowSecurity: boolean;
  hasRules: boolean;
  /** An index, constraint, statistics object, default or partition key calls a function that is not PostgreSQL's own. */
  callsUserFunctions: boolean;
  hasForeignPartitions: boolean;
  readable: boolean;
}

export interface Tables {
  /** Undefined when no relation of the application has the name, or several: whose search_path it was is not known. */
  find(name: { schema?: string; name: string }): Table | undefined;
  byOid(oid: number): Table | undefined;
  all: readonly Table[];
  counters: TableCounters;
  catalogue: IndexCatalogue;
  /** Names of operator classes by their OID. */
  operatorClasses: ReadonlyMap<number, string>;
  blockBytes: number;
}

/** The tables that the statements of this workload name, read once for a review. */
export function tablesOf(context: ReviewContext, workload: Workload): Promise<Tables> {
  return context.once("workload-tables", () => loadTables(context, workload));
}

const relationsQuery = `
with recursive named as materialized (
  select c.oid, n.nspname, c.relname, c.relkind, c.reltoastrelid, c.relrowsecurity, c.relhasrules
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where c.relname = any($1::text[]) and c.relkind in ('r', 'p', 'm', 'v', 'f') and ${userRelation()}),
tree as (
  select oid as root, oid as member from named
  union all
  select t.root, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.member),
objects as (
  select t.root, 'pg_class'::regclass::oid as class, t.member as id from tree t
  union all select t.root, 'pg_class'::regclass, x.indexrelid from tree t join pg_index x on x.indrelid = t.member
  union all select t.root, 'pg_constraint'::regclass, k.oid from tree t join pg_constraint k on k.conrelid = t.member
  union all select t.root, 'pg_statistic_ext'::regclass, e.oid from tree t join pg_statistic_ext e on e.stxrelid = t.member
  union all select t.root, 'pg_attrdef'::regclass, d.oid from tree t join pg_attrdef d on d.adrelid = t.member),
calling as (
  select distinct o.root from objects o join pg_depend d on d.classid = o.class and d.objid = o.id
   where d.refclassid = 'pg_proc'::regclass),
members as (
  select t.root, coalesce(sum(greatest(toast.relpages, 0)), 0)::int8 as toast_pages, bool_or(c.relkind = 'f') as is_foreign
    from tree t join pg_class c on c.oid = t.member left join pg_class toast on toast.oid = c.reltoastrelid
   group by t.root)
select c.oid::int8 as oid, c.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
       m.toast_pages as "toastPages", c.relrowsecurity and row_security_active(c.oid) as "rowSecurity",
       c.relhasrules as "hasRules", exists (select from calling where root = c.oid) as "callsUserFunctions",
       m.is_foreign as "hasForeignPartitions", has_table_privilege(c.oid, 'select') as readable
  from named c join members m on m.root = c.oid`;

const columnsQuery = `
select a.attrelid::int8 as oid, a.attnum::int as number, a.attname::text as name, format_type(a.atttypid, null) as type,
       coalesce(nullif(t.typbasetype, 0), a.atttypid)::int8 as "typeOid", a.attnotnull as "notNull",
       a.attlen = -1 and a.attstorage <> 'p' as toastable, s.n_distinct::float8 as distinct,
       s.null_frac::float8 as "nullFraction", s.avg_width as width
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  join pg_type t on t.oid = a.atttypid
  left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
       and s.inherited = (c.relkind = 'p')
 where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum`;

type Relation = Omit<Table, "entry" | "columns" | "indexes">;

async function loadTables(context: ReviewContext, workload: Workload): Promise<Tables> {
  const { session } = context;
  const relations = await session.query<Relation>(relationsQuery, [mentionedBy(workload)]);
  const columns = await session.query<Column & { oid: number }>(columnsQuery, [
    relations.map(({ oid }) => oid),
  ]);
  const classes = await session.query<{ oid: number; name: string }>(
    "select oid::int8 as oid, opcname::text as name from pg_opclass",
  );
  const counters = await readTables(context);
  const catalogue = await readIndexCatalogue(context);
  const columnsOf = new Map<number, Column[]>();
  for (const { oid, ...column } of columns) columnsOf.set(oid, [...(columnsOf.get(oid) ?? []), column]);
  const all = relations.map(
    (relation): Table => ({
      ...relation,
      entry: counters.byOid.get(relation.oid),
      columns: columnsOf.get(relation.oid) ?? [],
      indexes: catalogue.byTable.get(relation.oid) ?? [],
    }),
  );
  const byName = new Map<string, Table[]>();
  for (const table of all) byName.set(table.name, [...(byName.get(table.name) ?? []), table]);
  const byOid = new Map(all.map((table) => [table.oid, table]));
  return {
    all,
    byOid: (oid) => byOid.get(oid),
    find: ({ schema, name }) => {
      const found = byName.get(name) ?? [];
      if (schema !== undefined) return found.find((table) => table.schema === schema);
      return found.length === 1 ? found[0] : undefined;
    },
    counters,
    catalogue,
    operatorClasses: new Map(classes.map(({ oid, name }) => [oid, name])),
    blockBytes: counters.blockBytes,
  };
}

function mentionedBy({ statements }: Workload): string[] {
  const names = new Set<string>();
  for (const { facts } of statements) {
    for (const scope of facts?.scopes ?? []) {
      for (const { table } of scope.relations) if (table !== undefined) names.add(table.name);
    }
    if (facts?.target !== undefined) names.add(facts.target.name);
  }
  return [...names];
}

/** Whether a usable index finds rows by this column alone: it is the first of its key, and no row is left out. */
export function isLeading(table: Table, column: Column, methods = ["btree", "hash"]): IndexEntry | undefined {
  return table.indexes.find(
    (index) =>
      index.isUsable &&
      index.predicate === null &&
      methods.includes(index.method) &&
      index.keys[0]?.column === column.number,
  );
}

/** An index over an expression of this column; which one, only a plan tells. */
export function hasExpressionOn(table: Table, column: Column): boolean {
  const mention = new RegExp(` :varattno ${column.number} `);
  return table.indexes.some(
    (index) =>
      index.isUsable && index.keys.some(({ expression }) => expression !== null && mention.test(expression)),
  );
}

export function rowsOf(table: Table): number {
  return table.entry?.rows ?? 0;
}
