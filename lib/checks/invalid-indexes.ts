import { qualified } from "../postgres/identifiers.ts";
import { bytesText, countText } from "../words.ts";
import type { Check, Finding } from "./check.ts";
import { conclude, metric, whySessionsAreHidden } from "./outcome.ts";

interface InvalidIndex {
  schema: string;
  table: string;
  index: string;
  unique: boolean;
  ready: boolean;
  bytes: number;
  total: number;
}

/** At most this many are reported one by one. */
const shown = 20;

/** What REINDEX CONCURRENTLY calls the new index, and the old one when it is done (PostgreSQL, REINDEX). */
const leftover = /_cc(?:new|old)\d*$/;

/**
 * Indexes that a concurrent build has left behind: each write pays for them, and no query uses them. Those that
 * somebody is building or dropping now, and the parents of partitioned indexes, are no faults.
 */
export const invalidIndexes: Check = {
  name: "invalid-indexes",
  title: "Has a concurrent build left an invalid index?",
  async run({ session }) {
    if (session.isStandby) {
      return conclude({ obstacle: "a standby does not show which indexes are being built: ask the primary" });
    }
    const found = await session.query<InvalidIndex>(
      `select n.nspname::text as schema, t.relname::text as table, i.relname::text as index,
              x.indisunique as unique, x.indisready as ready,
              greatest(i.relpages, 0)::float8 * current_setting('block_size')::int as bytes,
              count(*) over () as total
         from pg_index x
         join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
         join pg_class t on t.oid = x.indrelid
         join pg_namespace n on n.oid = i.relnamespace
        where not (x.indisvalid and x.indisready and x.indislive)
          and not exists (select from pg_stat_progress_create_index p
                           where p.datname = current_database() and p.relid = x.indrelid)
          and not exists (select from pg_locks l
                           where l.locktype = 'relation' and l.relation = x.indexrelid and l.granted
                             and l.database = (select oid from pg_database where datname = current_database())
                             and l.mode in ('ShareUpdateExclusiveLock', 'AccessExclusiveLock'))
        order by i.relpages desc, i.oid
        limit $1`,
      [shown],
    );
    const total = found[0]?.total ?? 0;
    const hidden = total > 0 ? await whySessionsAreHidden(session) : undefined;
    if (hidden !== undefined) return conclude({ obstacle: hidden, facts: { invalid: total } });
    return conclude({
      facts: { invalid: total },
      metrics: [metric("InvalidIndexes", total)],
      findings: found.map(finding),
    });
  },
};

function finding(one: InvalidIndex): Finding {
  const { schema, table, index, unique, ready, bytes, total } = one;
  const name = qualified(schema, index);
  const isLeftover = leftover.test(index);
  return {
    check: "invalid-indexes",
    key: `invalid-indexes/${schema}.${index}`,
    severity: unique && !isLeftover ? "high" : "medium",
    confidence: "certain",
    object: { schema, table, index },
    title: `index ${name} of ${qualified(schema, table)} is invalid`,
    evidence: { unique, maintainedByWrites: ready, size: bytesText(bytes), invalidIndexes: total },
    impact: `No query uses it${ready ? ", and every write to the table keeps it up" : ""}.${unique ? " It does not prove that what was there before is unique." : ""}`,
    blastRadius: `${countText(total, "index", "indexes")} of this database`,
    remediation: {
      sql: isLeftover ? `DROP INDEX CONCURRENTLY ${name};` : `REINDEX INDEX CONCURRENTLY ${name};`,
      lock: "SHARE UPDATE EXCLUSIVE on the table",
      rollback: isLeftover ? "none needed: the index that it stood in for is there" : "none needed",
    },
  };
}
