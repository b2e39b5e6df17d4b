import type { Session } from "../ports/databases.ts";

/** One table of the application. */
export interface TableFacts {
  oid: number;
  schema: string;
  name: string;
  filenode: number | null;
  /** Names and types of its columns, as a hash. */
  columns: string;
  estimatedRows: number;
  pages: number;
}

export interface TableCounters {
  inserted: number;
  updated: number;
  deleted: number;
}

export interface DatabaseCounters {
  transactionsCommitted: number;
  /** By the table's oid. */
  tables: ReadonlyMap<number, TableCounters>;
}

/** Ordinary tables and partitions that a restore brings back: not of the system, of extensions, unlogged or temporary. */
const ofApplication = `
  c.relkind = 'r' and c.relpersistence = 'p'
  and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgkeep')
  and not exists (select from pg_depend d
                  where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`;

export async function readTables(session: Session): Promise<TableFacts[]> {
  return session.query<TableFacts>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name,
            pg_relation_filenode(c.oid)::bigint as filenode,
            (select md5(coalesce(string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ','
                                  order by a.attnum), ''))
             from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
            c.reltuples::float8 as "estimatedRows", c.relpages::bigint as pages
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where ${ofApplication}`,
  );
}

/** Cumulative statistics of the application's tables, as far as the server has gathered them. */
export async function readCounters(session: Session): Promise<DatabaseCounters> {
  const rows = await session.query<TableCounters & { oid: number }>(
    `select c.oid::bigint as oid, pg_stat_get_tuples_inserted(c.oid) as inserted,
            pg_stat_get_tuples_updated(c.oid) as updated, pg_stat_get_tuples_deleted(c.oid) as deleted
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where ${ofApplication}`,
  );
  const [database] = await session.query<{ committed: number }>(
    "select xact_commit as committed from pg_stat_database where datname = current_database()",
  );
  return {
    transactionsCommitted: database?.committed ?? 0,
    tables: new Map(rows.map(({ oid, ...counters }) => [oid, counters])),
  };
}

/** Key of a table in the maps of this folder. */
export function tableKey(table: { schema: string; name: string }): string {
  return JSON.stringify([table.schema, table.name]);
}

export function tableText(table: { schema: string; name: string }): string {
  return `${table.schema}.${table.name}`;
}
