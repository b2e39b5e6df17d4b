import { qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface Unlogged {
  schema: string;
  table: string;
  rows: number;
  bytes: number;
  keyless: boolean;
}

/** Names that say that the rows may be lost. */
const disposable = /(?:^|_)(?:cache[ds]?|tmp|temp|scratch|staging|stage|import[s]?|work|sessions?)(?:_|$)/i;

/** Unlogged tables with rows: a crash empties them, a failover too, and replicas never see a row. */
export const unloggedTables: ReviewCheck = {
  name: "unlogged-tables",
  title: "Which tables are emptied by a crash?",
  area: "space",
  async run({ session }) {
    const rows = await session.query<Unlogged>(
      `select n.nspname::text as schema, c.relname::text as table,
              greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)::float8, 0) as rows,
              (greatest(c.relpages, 0) * current_setting('block_size')::int8)::float8 as bytes,
              not exists (select from pg_index x where x.indrelid = c.oid and x.indisunique) as keyless
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'r' and c.relpersistence = 'u' and ${userRelation()}
        order by c.relpages desc, c.oid`,
    );
    const kept = rows.filter(({ table, rows: count }) => count > 0 && !disposable.test(table));
    return concludeReview({
      findings: kept.map(finding),
      facts: { unlogged: rows.length },
      good: ["No table of the application is emptied by a crash."],
      obstacle:
        session.isStandby && rows.length > kept.length
          ? "a standby has no rows of unlogged tables: ask the primary"
          : undefined,
    });
  },
};

function finding({ schema, table, rows, bytes, keyless }: Unlogged): ReviewFinding {
  const name = qualified(schema, table);
  const up = `ALTER TABLE ${name} SET LOGGED;`;
  const down = `ALTER TABLE ${name} SET UNLOGGED;`;
  const count = countText(Math.round(rows), "row");
  return {
    check: "unlogged-tables",
    key: `unlogged-tables/${schema}.${table}`,
    severity: keyless ? "low" : "medium",
    confidence: keyless ? "suspected" : "likely",
    object: { schema, table },
    title: `a crash empties ${name}, with about ${count}`,
    evidence: { rows: Math.round(rows), size: bytesText(bytes), persistence: "unlogged" },
    impact:
      "After a crash or a failover the table is empty; replicas and physical backups have none of its rows.",
    blastRadius: `rows of ${name}, and whatever reads them after a failover`,
    rootCause: "It was made UNLOGGED to write faster.",
    prevention: "Keep UNLOGGED for what can be computed again, and say so in the table's name or comment.",
    effort: "minutes",
    remediation: {
      sql: up,
      lock: "ACCESS EXCLUSIVE on the table while it is rewritten into the log",
      rollback: down,
    },
    fix: { up: [up], down: [down], proof: [`relpersistence is "u"; about ${count}, ${bytesText(bytes)}`] },
  };
}
