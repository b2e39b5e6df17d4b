import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** A table, partitioned table, partition or materialised view, with its counters. */
export interface TableEntry {
  oid: number;
  schema: string;
  table: string;
  kind: "r" | "p" | "m";
  /** The partitioned table that it is a partition of. */
  parent: number | null;
  /** Of this table and all its partitions, as of their last VACUUM or ANALYZE. */
  pages: number;
  /** Rows of this table and all its partitions, as far as anybody has counted; 0 when nobody has. */
  rows: number;
  /** Of this table and all its partitions, since the statistics began. */
  sequentialScans: number;
  rowsReadSequentially: number;
  inserted: number;
  updated: number;
  hotUpdated: number;
  deleted: number;
}

export interface Tables {
  all: readonly TableEntry[];
  byOid: ReadonlyMap<number, TableEntry>;
  /** Partitions that hold rows, of a partitioned table. */
  leavesOf(table: TableEntry): TableEntry[];
  blockBytes: number;
}

/** Every table of the user's with its size and its counters, read once for all checks. No locks on relations. */
export function readTables(context: ReviewContext): Promise<Tables> {
  return context.once("tables-with-counters", async () => {
    const { session } = context;
    const [server] = await session.query<{ blockBytes: number }>(
      `select current_setting('block_size')::int as "blockBytes"`,
    );
    const all = await session.query<TableEntry>(
      `select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, c.relkind::text as kind,
              h.inhparent::int8 as parent, greatest(c.relpages, 0)::int8 as pages,
              case when c.relkind = 'p' then 0 when c.reltuples > 0 then c.reltuples::float8
                   else pg_stat_get_live_tuples(c.oid)::float8 end as rows,
              pg_stat_get_numscans(c.oid)::int8 as "sequentialScans",
              pg_stat_get_tuples_returned(c.oid)::int8 as "rowsReadSequentially",
              pg_stat_get_tuples_inserted(c.oid)::int8 as inserted, pg_stat_get_tuples_updated(c.oid)::int8 as updated,
              pg_stat_get_tuples_hot_updated(c.oid)::int8 as "hotUpdated",
              pg_stat_get_tuples_deleted(c.oid)::int8 as deleted
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         left join pg_inherits h on h.inhrelid = c.oid and c.relispartition
        where c.relkind in ('r', 'p', 'm') and ${userRelation()}`,
    );
    const byOid = new Map(all.map((one) => [one.oid, one]));
    const leaves = new Map<number, TableEntry[]>();
    for (const leaf of all) {
      if (leaf.kind === "p") continue;
      for (let up = leaf.parent; up !== null; ) {
        const whole = byOid.get(up);
        if (whole === undefined) break;
        const known = leaves.get(up);
        if (known === undefined) leaves.set(up, [leaf]);
        else known.push(leaf);
        for (const counter of counters) whole[counter] += leaf[counter];
        up = whole.parent;
      }
    }
    return {
      all,
      byOid,
      leavesOf: (table) => leaves.get(table.oid) ?? [],
      blockBytes: server?.blockBytes ?? 8192,
    };
  });
}

const counters = [
  "pages",
  "rows",
  "sequentialScans",
  "rowsReadSequentially",
  "inserted",
  "updated",
  "hotUpdated",
  "deleted",
] as const;
