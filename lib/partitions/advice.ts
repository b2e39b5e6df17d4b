import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";
import type { Advice } from "./report.ts";

interface Row {
  schema: string;
  table: string;
  rows: number;
  pages: number;
  blockBytes: number;
  candidates: string[];
}

/** Large tables that are not partitioned, by the server's own estimate of their rows: nothing is counted. */
export async function readAdvice(session: Session, leastRows: number): Promise<Advice[]> {
  const rows = await session.query<Row>(
    `select n.nspname::text as schema, c.relname::text as table, c.reltuples::int8 as rows, c.relpages::int8 as pages,
            current_setting('block_size')::int as "blockBytes",
            array(select a.attname::text from pg_attribute a
                   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attnotnull
                     and (a.atttypid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
                          or a.atttypid in ('int4'::regtype, 'int8'::regtype)
                             and exists (select from pg_index x where x.indrelid = c.oid and x.indisprimary and x.indkey[0] = a.attnum))
                   order by a.atttypid in ('int4'::regtype, 'int8'::regtype), a.attnum limit 3) as candidates
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind = 'r' and not c.relispartition and c.reltuples > $1
        and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
      order by c.reltuples desc limit 100`,
    [leastRows],
  );
  return rows.map(({ schema, table, pages, blockBytes, ...row }) => ({
    table: qualified(schema, table),
    ...row,
    bytes: pages * blockBytes,
    text:
      row.candidates.length === 0
        ? "no column of a time, and no integer key: partitioning it would need one, or a hash of the primary key"
        : `old rows go in no time when it is partitioned by ${row.candidates.join(" or ")}; the primary key and every unique index then need that column`,
  }));
}
