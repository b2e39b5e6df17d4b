import { identifier } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface Unseen {
  hidden: number;
  /** Row security applies to the role: it sees no statistics of the table. */
  shielded: number;
  unanalyzed: number;
  example: string | null;
}

/**
 * Why the statistics of some tables of that many rows cannot be read, and what would change that; undefined when all
 * can. PostgreSQL leaves out the statistics of columns that the role may not read, without an error.
 */
export function whyStatisticsAreMissing(
  context: ReviewContext,
  leastRows: number,
): Promise<string | undefined> {
  return context.once(`missing-statistics-${leastRows}`, () => read(context, leastRows));
}

async function read({ session }: ReviewContext, leastRows: number): Promise<string | undefined> {
  const [row] = await session.query<Unseen>(
    `with large as (
       select n.nspname as schema, c.relname as relation, format('%I.%I', n.nspname, c.relname) as name,
              has_table_privilege(c.oid, 'SELECT') or has_any_column_privilege(c.oid, 'SELECT') as readable,
              row_security_active(c.oid) as shielded
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'm') and ${userRelation()}
          and greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)) >= $1),
     analyzed as materialized (select distinct schemaname, tablename from pg_stats),
     unanalyzed as (
       select l.name from large l
         left join analyzed s on s.schemaname = l.schema and s.tablename = l.relation
        where l.readable and not l.shielded and s.tablename is null)
     select (select count(*)::int from large where not readable) as hidden,
            (select count(*)::int from large where readable and shielded) as shielded,
            (select count(*)::int from unanalyzed) as unanalyzed, (select min(name) from unanalyzed) as example`,
    [leastRows],
  );
  if (row === undefined) return undefined;
  if (row.hidden > 0) {
    return `the statistics of ${countText(row.hidden, "table")} are hidden from ${session.user}: GRANT pg_read_all_data TO ${identifier(session.user)};`;
  }
  if (row.shielded > 0) {
    return `row security hides the statistics of ${countText(row.shielded, "table")} from ${session.user}: ALTER ROLE ${identifier(session.user)} BYPASSRLS;`;
  }
  if (row.unanalyzed > 0) {
    return `${countText(row.unanalyzed, "table")} not analysed yet: ANALYZE ${row.example ?? ""};`;
  }
  return undefined;
}
