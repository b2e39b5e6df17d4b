import { pagesOf, readSuspectedReferences, takesNotValid } from "../maintenance/references.ts";
import {
  checkableMethods,
  readIndexes,
  readTables,
  type StoredIndex,
  type StoredTable,
} from "../maintenance/stored-objects.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";

export const kinds = [
  "table",
  "index",
  "foreign-key",
  "constraint",
  "sequence",
  "reference",
  "enum-like",
] as const;
export type Kind = (typeof kinds)[number];

interface Common {
  /** Unique, and the same in the next run: what is recorded about it is found by it. */
  key: string;
  /** Names of tables that belong to nobody's data: `schema` and `table` decide about skipping. */
  schema: string;
  table: string;
  /** For people. */
  label: string;
  /** Pages that a look reads, by the last VACUUM or ANALYZE. */
  pages: number;
  /** Rows that a look reads. */
  rows: number;
  /** A standby does not know the answer. */
  primaryOnly: boolean;
}

export type ConstraintItem = Common & {
  kind: "foreign-key" | "constraint";
  oid: number;
  name: string;
  type: "f" | "c" | "n";
  validated: boolean;
  /** `schema.table` that a foreign key refers to. */
  referenced: string | null;
  /** Whether it could be added again NOT VALID. */
  takesNotValid: boolean;
};

export type ReferenceItem = Common & {
  kind: "reference";
  oid: number;
  columnNumber: number;
  column: string;
  parent: number;
  parentSchema: string;
  parentTable: string;
  parentColumn: string;
  takesNotValid: boolean;
};

export type EnumItem = Common & {
  kind: "enum-like";
  oid: number;
  columnNumber: number;
  column: string;
  enumOid: number;
  enumName: string;
  /** Where a column of the same name has that type. */
  sibling: string;
};

/** One thing to look at. */
export type Item =
  | (Common & { kind: "table"; stored: StoredTable })
  | (Common & { kind: "index"; stored: StoredIndex })
  | ConstraintItem
  | ReferenceItem
  | EnumItem
  | (Common & { kind: "sequence"; oid: number; sequenceSchema: string; name: string });

/** Everything that can be looked at, and what cannot for what it is. */
export interface Inventory {
  items: Item[];
  /** Indexes for which amcheck has no checker, by access method. */
  withoutChecker: Map<string, string[]>;
  skipped: string[];
}

/** Schemas whose rows are nobody's data. */
const ownSchemas = "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgkeep')";
const notOfExtension = (oid: string) =>
  `not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = ${oid} and e.deptype = 'e')`;

/**
 * Lists what there is on the primary, without a lock on any of it: a function that writes an expression out, such as
 * `pg_get_constraintdef`, would wait for whoever has locked the table. `skip` leaves out tables with everything that
 * belongs to them.
 */
export async function takeInventory(session: Session, skip: readonly TableName[]): Promise<Inventory> {
  const methods = checkableMethods(session);
  const withoutChecker = new Map<string, string[]>();
  const items: Item[] = [];
  for (const stored of await readTables(session, { toast: true })) items.push(tableItem(stored));
  for (const stored of await readIndexes(session)) {
    if (methods.has(stored.method)) items.push(indexItem(stored));
    else {
      const names = withoutChecker.get(stored.method) ?? [];
      withoutChecker.set(stored.method, [...names, `${stored.schema}.${stored.name}`]);
    }
  }
  items.push(...(await readConstraints(session)));
  items.push(...(await readSequences(session)));
  items.push(...(await readReferences(session)));
  items.push(...(await readEnumLike(session)));
  const isSkipped = (item: Item) =>
    skip.some(({ schema, table }) => item.schema === schema && item.table === table);
  return {
    items: items.filter((item) => !isSkipped(item)),
    withoutChecker,
    skipped: [...new Set(items.filter(isSkipped).map(({ schema, table }) => `${schema}.${table}`))],
  };
}

function tableItem(stored: StoredTable): Item {
  const { oid, schema, name, kind, persistence, pages, rows, owner } = stored;
  return {
    kind: "table",
    key: `table/${oid}`,
    schema: owner?.schema ?? schema,
    table: owner?.table ?? name,
    label:
      kind === "t" && owner !== null
        ? `TOAST table of ${owner.schema}.${owner.table}`
        : `table ${schema}.${name}`,
    pages,
    rows: kind === "t" ? 0 : rows,
    // An unlogged table has no contents on a standby.
    primaryOnly: persistence === "u",
    stored,
  };
}

function indexItem(stored: StoredIndex): Item {
  const { oid, schema, name, tableSchema, table, persistence, pages } = stored;
  return {
    kind: "index",
    key: `index/${oid}`,
    schema: tableSchema,
    table,
    label: `index ${schema}.${name}`,
    pages,
    rows: 0,
    primaryOnly: persistence === "u",
    stored,
  };
}

/**
 * Foreign keys, and checks and not-null constraints that are NOT VALID. A partition's own are its parent's; those
 * that are NOT ENFORCED (18) may be violated by right.
 */
async function readConstraints(session: Session): Promise<ConstraintItem[]> {
  const rows = await session.query<Omit<ConstraintItem, "key" | "kind" | "label">>(
    `select k.oid::bigint as oid, k.conname::text as name, k.contype::text as type, k.convalidated as validated,
            n.nspname::text as schema, c.relname::text as "table",
            format('%s.%s', rn.nspname, r.relname) as referenced,
            ${pagesOf("c.oid")} + case when r.oid is null then 0 else ${pagesOf("r.oid")} end as pages,
            greatest(c.reltuples, 0)::float8 as rows, c.relpersistence = 'u' as "primaryOnly",
            k.contype <> 'f' or ${takesNotValid("c")} as "takesNotValid"
     from pg_constraint k
     join pg_class c on c.oid = k.conrelid and c.relkind in ('r', 'p') and c.relpersistence <> 't'
     join pg_namespace n on n.oid = c.relnamespace
     left join pg_class r on r.oid = k.confrelid and k.contype = 'f'
     left join pg_namespace rn on rn.oid = r.relnamespace
     where ${ownSchemas}
       and (k.contype = 'f' and k.conparentid = 0
            or k.contype in ('c', 'n') and not k.convalidated and not (c.relispartition and k.coninhcount > 0))
       ${session.serverVersionNumber >= 180_000 ? "and k.conenforced" : ""}`,
  );
  return rows.map((row) => {
    const kind = row.type === "f" ? ("foreign-key" as const) : ("constraint" as const);
    return {
      ...row,
      kind,
      referenced: row.type === "f" ? row.referenced : null,
      key: `constraint/${row.oid}`,
      label: `${row.type === "f" ? "foreign key" : row.type === "c" ? "check" : "not-null constraint"} ${row.name} of ${row.schema}.${row.table}`,
    };
  });
}

async function readSequences(session: Session): Promise<Item[]> {
  const rows = await session.query<{
    oid: number;
    schema: string;
    name: string;
    table: string | null;
    tableSchema: string | null;
    pages: number;
  }>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name,
            t.relname::text as "table", tn.nspname::text as "tableSchema",
            greatest(coalesce(t.relpages, 0), 0)::bigint as pages
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     left join lateral (select d.refobjid as oid from pg_depend d
                        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refobjsubid > 0
                          and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') limit 1) o on true
     left join pg_class t on t.oid = o.oid
     left join pg_namespace tn on tn.oid = t.relnamespace
     where c.relkind = 'S' and c.relpersistence <> 't' and ${ownSchemas} and ${notOfExtension("c.oid")}`,
  );
  return rows.map(({ oid, schema, name, table, tableSchema }) => ({
    kind: "sequence",
    key: `sequence/${oid}`,
    schema: tableSchema ?? schema,
    table: table ?? name,
    label: `sequence ${schema}.${name}`,
    // Mostly one look into the column's index.
    pages: 1,
    rows: 0,
    // A standby shows up to 32 numbers that were logged ahead as if they were used.
    primaryOnly: true,
    oid,
    sequenceSchema: schema,
    name,
  }));
}

async function readReferences(session: Session): Promise<ReferenceItem[]> {
  const rows = await readSuspectedReferences(session, { sizes: true });
  return rows.map(({ unlogged, ...row }) => ({
    ...row,
    kind: "reference",
    key: `reference/${row.oid}.${row.columnNumber}`,
    label: `column ${row.column} of ${row.schema}.${row.table}`,
    primaryOnly: unlogged,
  }));
}

/**
 * Text columns whose name is that of an enum column of another table in the same schema: all such columns have the
 * same enum, and the text has no check of its own.
 */
async function readEnumLike(session: Session): Promise<EnumItem[]> {
  const rows = await session.query<Omit<EnumItem, "key" | "kind" | "label">>(
    `with attribute as (
       select c.oid, n.oid as namespace, n.nspname::text as schema, c.relname::text as name, c.reltuples, c.relpersistence,
              a.attnum, a.attname::text as "column", a.atttypid
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
         and ${ownSchemas} and ${notOfExtension("c.oid")}),
     enumerated as (
       select a.namespace, a."column", min(a.atttypid::bigint)::oid as type, min(format('%s.%s', a.schema, a.name)) as sibling
       from attribute a join pg_type t on t.oid = a.atttypid and t.typtype = 'e'
       group by 1, 2 having count(distinct a.atttypid) = 1)
     select a.oid::bigint as oid, a.attnum::int as "columnNumber", a."column", a.schema, a.name as "table",
            greatest(a.reltuples, 0)::float8 as rows, a.relpersistence = 'u' as "primaryOnly",
            e.type::bigint as "enumOid", format_type(e.type, null) as "enumName", e.sibling,
            ${pagesOf("a.oid")} as pages
     from attribute a
     join enumerated e on e.namespace = a.namespace and e."column" = a."column"
     where a.atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
       and not exists (select from pg_constraint k
                       where k.conrelid = a.oid and k.contype in ('c', 'f') and a.attnum = any (k.conkey))`,
  );
  return rows.map((row) => ({
    ...row,
    kind: "enum-like",
    key: `enum-like/${row.oid}.${row.columnNumber}`,
    label: `column ${row.column} of ${row.schema}.${row.table}`,
  }));
}
