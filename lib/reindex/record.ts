import type { Session } from "../ports/databases.ts";
import { definitionSql } from "./index-facts.ts";

/** A rebuild that was begun and is not known to be over: what pgkeep left behind is recognised by it. */
export interface RebuildRecord {
  indexOid: number;
  tableOid: number;
  schema: string;
  table: string;
  index: string;
  definition: string;
  /** Indexes that the table had before: never ours, whatever their names. */
  indexesBefore: number[];
  backendPid: number;
  backendStartedAt: string;
}

const columns = `index_oid::int8 as "indexOid", table_oid::int8 as "tableOid", schema_name as schema, table_name as table,
  index_name as index, definition, to_jsonb(indexes_before::int8[]) as "indexesBefore",
  backend_pid as "backendPid", backend_started_at::text as "backendStartedAt"`;

/**
 * Where rebuilds are recorded. Without the schema `pgkeep` they are kept in memory: then a run cleans up after
 * itself, and nobody knows what a killed run has left.
 */
export class RebuildRecords {
  /** Why nothing is recorded; null when it is. */
  readonly obstacle: string | null;

  constructor(obstacle: string | null) {
    this.obstacle = obstacle;
  }

  static async open(session: Session): Promise<RebuildRecords> {
    const rows = await session.query<{ installed: boolean; writable: boolean }>(
      `select c.oid is not null as installed,
              coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
                and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
                and has_table_privilege(c.oid, 'delete'), false) as writable
         from (select 1) as one
         left join pg_namespace n on n.nspname = 'pgkeep'
         left join pg_class c on c.relnamespace = n.oid and c.relname = 'index_rebuild' and c.relkind = 'r'`,
    );
    const row = rows[0];
    if (row?.installed !== true) {
      return new RebuildRecords(
        "the schema pgkeep is not installed, or older than this pgkeep (`pgkeep install`)",
      );
    }
    return new RebuildRecords(
      row.writable ? null : `the role ${session.user} may not write to pgkeep.index_rebuild`,
    );
  }

  /** What earlier runs began and did not end. */
  async unfinished(session: Session): Promise<RebuildRecord[]> {
    if (this.obstacle !== null) return [];
    return session.query<RebuildRecord>(
      `select ${columns} from pgkeep.index_rebuild order by started_at, index_oid`,
    );
  }

  /**
   * Notes that this session is about to rebuild the index, and says how large it is. Undefined when there is no
   * index of that OID under that name any more.
   */
  async begin(
    session: Session,
    index: { oid: number; schema: string; index: string },
  ): Promise<(RebuildRecord & { bytes: number }) | undefined> {
    const select = `
      select i.oid as index_oid, c.oid as table_oid, n.nspname::text as schema_name, c.relname::text as table_name,
             i.relname::text as index_name, ${definitionSql("i", "x")} as definition,
             array(select y.indexrelid from pg_index y where y.indrelid = c.oid) as indexes_before,
             pg_backend_pid() as backend_pid,
             (select backend_start from pg_stat_activity where pid = pg_backend_pid()) as backend_started_at
        from pg_class i join pg_index x on x.indexrelid = i.oid join pg_class c on c.oid = x.indrelid
        join pg_namespace n on n.oid = i.relnamespace
       where i.oid = $1 and i.relkind = 'i' and n.nspname::text = $2 and i.relname::text = $3`;
    const written =
      this.obstacle === null
        ? `insert into pgkeep.index_rebuild (index_oid, table_oid, schema_name, table_name, index_name, definition,
                                             indexes_before, backend_pid, backend_started_at) ${select}
           on conflict (index_oid) do update set
             table_oid = excluded.table_oid, schema_name = excluded.schema_name, table_name = excluded.table_name,
             index_name = excluded.index_name, definition = excluded.definition,
             -- What an earlier attempt has left is still ours.
             indexes_before = (select coalesce(array_agg(o), '{}') from unnest(excluded.indexes_before) o
                                where o = any(pgkeep.index_rebuild.indexes_before)),
             backend_pid = excluded.backend_pid, backend_started_at = excluded.backend_started_at,
             started_at = excluded.started_at
           returning *`
        : select;
    const rows = await session.query<RebuildRecord & { bytes: number }>(
      `with begun as (${written}) select ${columns}, pg_relation_size(index_oid)::int8 as bytes from begun`,
      [index.oid, index.schema, index.index],
    );
    return rows[0];
  }

  async end(session: Session, record: Pick<RebuildRecord, "indexOid">): Promise<void> {
    if (this.obstacle !== null) return;
    await session.query("delete from pgkeep.index_rebuild where index_oid = $1", [record.indexOid]);
  }
}
