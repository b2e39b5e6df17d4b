import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";

export interface TableName {
  schema: string;
  name: string;
}

export interface Column {
  name: string;
  /** With its schema and modifiers, as SQL. */
  type: string;
  /** As SQL; null when it is the type's own. */
  collation: string | null;
  notNull: boolean;
  /** Of a generated column: its values are computed, not stored by anybody. */
  generated: boolean;
  /** The default, or how a generated column is computed, as SQL. */
  expression: string | null;
  virtual: boolean;
  identity: "always" | "by default" | null;
}

/** What a table is on one server at one moment. */
export interface TableShape extends TableName {
  oid: number;
  partitioned: boolean;
  /** It is a partition of this table, as SQL. */
  partitionOf: string | null;
  /** Live columns, in the table's order. */
  columns: Column[];
}

const kinds: Record<string, string> = {
  v: "a view",
  m: "a materialized view",
  f: "a foreign table",
  S: "a sequence",
  i: "an index",
  c: "a composite type",
};

/**
 * Resolves to undefined when there is nothing of that name. The session's search path must be `pg_catalog`.
 * @throws PgkeepError `refused` when it is no table
 */
export async function readShape(
  session: Session,
  { schema, name }: TableName,
): Promise<TableShape | undefined> {
  const [table] = await session.query<{ oid: number; kind: string; parent: string | null }>(
    `select c.oid::bigint as oid, c.relkind::text as kind,
            (select i.inhparent::regclass::text from pg_inherits i
             where i.inhrelid = c.oid and c.relispartition limit 1) as parent
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = $2`,
    [schema, name],
  );
  if (table === undefined) return undefined;
  if (table.kind !== "r" && table.kind !== "p") {
    throw new PgkeepError("refused", `${schema}.${name} is ${kinds[table.kind] ?? "not a table"}`, {
      remedy: "restore the tables that its rows come from",
    });
  }
  const columns = await session.query<Column>(
    `select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
            case when a.attcollation <> t.typcollation
                 then (select format('%I.%I', n.nspname, l.collname) from pg_collation l
                       join pg_namespace n on n.oid = l.collnamespace where l.oid = a.attcollation) end as collation,
            a.attnotnull as "notNull", a.attgenerated <> '' as generated, a.attgenerated = 'v' as virtual,
            pg_get_expr(d.adbin, d.adrelid) as expression,
            case a.attidentity when 'a' then 'always' when 'd' then 'by default' end as identity
     from pg_attribute a join pg_type t on t.oid = a.atttypid
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = $1::bigint::oid and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    [table.oid],
  );
  return {
    schema,
    name,
    oid: table.oid,
    partitioned: table.kind === "p",
    partitionOf: table.parent,
    columns,
  };
}

/** How the columns of now differ from those of then, one sentence each; the order of columns does not count. */
export function columnDifferences(then: TableShape, now: TableShape): string[] {
  const current = new Map(now.columns.map((column) => [column.name, column]));
  const differences: string[] = [];
  for (const column of then.columns) {
    const other = current.get(column.name);
    current.delete(column.name);
    if (other === undefined) differences.push(`the column ${column.name} is gone since then`);
    else if (other.type !== column.type || other.collation !== column.collation)
      differences.push(
        `the column ${column.name} was ${typeText(column)} then and is ${typeText(other)} now`,
      );
    else if (other.generated !== column.generated)
      differences.push(`the column ${column.name} is ${other.generated ? "now" : "no longer"} generated`);
  }
  for (const name of current.keys()) differences.push(`the column ${name} was added since then`);
  return differences;
}

/** `text collate "C"`. */
export function typeText({ type, collation }: Column): string {
  return collation === null ? type : `${type} collate ${collation}`;
}
