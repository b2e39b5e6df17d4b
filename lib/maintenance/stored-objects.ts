import type { Session } from "../ports/databases.ts";

/** A table, materialised view or TOAST table with pages of its own. */
export interface StoredTable {
  oid: number;
  schema: string;
  name: string;
  kind: "r" | "m" | "t";
  /** `p` permanent, `u` unlogged. */
  persistence: string;
  pages: number;
  rows: number;
  /** Of a TOAST table: the table that it belongs to. */
  owner: { schema: string; table: string } | null;
}

/** Everything with a heap, system catalogs too, smallest first. TOAST tables only on request. */
export function readTables(session: Session, options: { toast?: boolean } = {}): Promise<StoredTable[]> {
  return session.query<StoredTable>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
            c.relpersistence::text as persistence, greatest(c.relpages, 0)::bigint as pages,
            greatest(c.reltuples, 0)::float8 as rows,
            case when o.oid is not null then jsonb_build_object('schema', m.nspname, 'table', o.relname) end as owner
     from pg_class c
     join pg_namespace n on n.oid = c.relnamespace
     left join pg_class o on c.relkind = 't' and o.reltoastrelid = c.oid
     left join pg_namespace m on m.oid = o.relnamespace
     where c.relkind in ('r', 'm' ${options.toast === true ? ", 't'" : ""}) and c.relpersistence <> 't'
       and pg_relation_filenode(c.oid) is not null
     order by c.relpages, c.oid`,
  );
}

/** An index that is valid and has entries of its own. */
export interface StoredIndex {
  oid: number;
  schema: string;
  name: string;
  tableSchema: string;
  table: string;
  method: string;
  persistence: string;
  unique: boolean;
  /** An exclusion constraint's: it cannot be rebuilt concurrently. */
  exclusion: boolean;
  pages: number;
}

/** Every index that amcheck might look at, smallest first. */
export function readIndexes(session: Session): Promise<StoredIndex[]> {
  return session.query<StoredIndex>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name,
            tn.nspname::text as "tableSchema", t.relname::text as "table", a.amname::text as method,
            c.relpersistence::text as persistence, i.indisunique as "unique", i.indisexclusion as exclusion,
            greatest(c.relpages, 0)::bigint as pages
     from pg_index i
     join pg_class c on c.oid = i.indexrelid
     join pg_am a on a.oid = c.relam
     join pg_namespace n on n.oid = c.relnamespace
     join pg_class t on t.oid = i.indrelid
     join pg_namespace tn on tn.oid = t.relnamespace
     where c.relkind = 'i' and c.relpersistence <> 't' and i.indisvalid and i.indisready
     order by c.relpages, c.oid`,
  );
}

/** Access methods that amcheck of this server has a checker for. */
export function checkableMethods(session: Session): ReadonlySet<string> {
  return new Set(session.serverVersionNumber >= 180_000 ? ["btree", "gin"] : ["btree"]);
}
