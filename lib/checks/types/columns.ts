import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** A column whose type is worth a question. */
export interface TypedColumn {
  schema: string;
  table: string;
  column: string;
  /** As `format_type` writes it. */
  type: string;
  /** The name in pg_type, below domains. */
  base: string;
}

const asked = ["timestamp", "bpchar", "money", "json", "float4", "float8", "timetz"];

/** Columns of the user's tables of those types, read once; partitions are left out, their parents stand for them. */
export function readTypedColumns(context: ReviewContext): Promise<TypedColumn[]> {
  return context.once("typed-columns", () =>
    context.session.query<TypedColumn>(
      `select n.nspname::text as schema, c.relname::text as table, a.attname::text as column,
              format_type(a.atttypid, a.atttypmod) as type, b.typname::text as base
         from pg_attribute a
         join pg_type t on t.oid = a.atttypid
         join pg_type b on b.oid = case t.typtype when 'd' then t.typbasetype else t.oid end
         join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
         join pg_namespace n on n.oid = c.relnamespace
        where a.attnum > 0 and not a.attisdropped and b.typnamespace = 'pg_catalog'::regnamespace
          and b.typname = any ($1) and ${userRelation()}
        order by n.nspname, c.relname, a.attnum`,
      [asked],
    ),
  );
}

/** By table, so that a table is named once. */
export function byTable(columns: readonly TypedColumn[]): TypedColumn[][] {
  const tables = new Map<string, TypedColumn[]>();
  for (const column of columns) {
    const key = JSON.stringify([column.schema, column.table]);
    const known = tables.get(key);
    if (known === undefined) tables.set(key, [column]);
    else known.push(column);
  }
  return [...tables.values()];
}
