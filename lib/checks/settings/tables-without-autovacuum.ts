import { qualified } from "../../postgres/identifiers.ts";
import { bytesText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

interface Excepted {
  schema: string;
  table: string;
  bytes: number;
  deadRows: number | null;
  changed: number | null;
}

/** Tables that autovacuum was told to leave alone. It still vacuums them against wraparound, all at once and late. */
export const tablesWithoutAutovacuum: ReviewCheck = {
  name: "tables-without-autovacuum",
  title: "Which tables is autovacuum told to leave alone?",
  area: "settings",
  async run({ session }) {
    const rows = await session.query<Excepted>(
      `select n.nspname::text as schema, c.relname::text as table,
              greatest(c.relpages, 0)::float8 * current_setting('block_size')::int as bytes,
              s.n_dead_tup as "deadRows", s.n_mod_since_analyze as changed
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         left join pg_stat_all_tables s on s.relid = c.oid
        where c.relkind in ('r', 'm') and c.relpersistence <> 't' and c.reloptions is not null and ${userRelation()}
          and exists (select from pg_options_to_table(c.reloptions) o
                       where o.option_name = 'autovacuum_enabled' and not o.option_value::bool)
        order by c.relpages desc, c.oid`,
    );
    return concludeReview({
      findings: rows.map(finding),
      facts: { tables: rows.length },
      good: ["Autovacuum looks after every table."],
    });
  },
};

function finding({ schema, table, bytes, deadRows, changed }: Excepted): ReviewFinding {
  const name = qualified(schema, table);
  const up = `ALTER TABLE ${name} RESET (autovacuum_enabled);`;
  const down = `ALTER TABLE ${name} SET (autovacuum_enabled = off);`;
  return {
    check: "tables-without-autovacuum",
    key: `tables-without-autovacuum/${schema}.${table}`,
    severity: "medium",
    confidence: "certain",
    object: { schema, table },
    title: `autovacuum leaves ${name} alone`,
    evidence: { size: bytesText(bytes), deadRows, changedSinceAnalyze: changed },
    impact:
      "It bloats, its statistics grow old, and when its transaction ids run out it is vacuumed whole at a bad time",
    blastRadius: `statements on ${name}`,
    rootCause: "switched off for a bulk load, and not back on",
    prevention: "vacuum by hand after a load instead, or switch it on again in the same script",
    effort: "minutes",
    remediation: { sql: up, lock: "SHARE UPDATE EXCLUSIVE on the table", rollback: down },
    fix: {
      up: [up],
      down: [down],
      proof: [`reloptions say autovacuum_enabled = off; ${deadRows ?? "unknown"} dead rows now`],
    },
  };
}
