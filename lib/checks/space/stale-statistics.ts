import { qualified } from "../../postgres/identifiers.ts";
import { triggersOf } from "../../vacuum/triggers.ts";
import { countText, durationText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import { readVacuumState } from "./vacuum-state.ts";

/** The planner guesses small tables well enough without statistics. */
const fewestRows = 1_000;
/** Autovacuum analyses at 10 % by default; with five times its trigger changed, plans go by another table. */
const staleRatio = 5;
const staleShare = 0.3;
const staleRows = 10_000;

interface Row {
  oid: number;
  schema: string;
  table: string;
  kind: "r" | "p" | "m" | "f";
  isPartition: boolean;
  neverAnalyzed: boolean;
  rows: number;
  changed: number;
  options: string[] | null;
  secondsSince: number | null;
}

/**
 * Tables that the planner knows nothing or old things about. Autovacuum never analyses a partitioned table as a whole:
 * joins and groups over it go by guesses until somebody does.
 */
export const staleStatistics: ReviewCheck = {
  name: "stale-statistics",
  title: "Which tables does the planner know too little about?",
  area: "space",
  needs: { primary: true },
  async run(context) {
    const { facts, underWay } = await readVacuumState(context);
    if (!facts.settings.countsTracked) {
      return concludeReview({
        obstacle:
          "changes are not counted: ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf(); (on a managed server, in its parameter group)",
      });
    }
    const rows = await context.session.query<Row>(query);
    const findings = rows.flatMap((row) => {
      if (underWay.has(row.oid)) return [];
      if (row.neverAnalyzed) return row.rows >= fewestRows ? [unknown(row)] : [];
      const trigger = triggersOf(
        { relTuples: row.rows, relPages: 0, allFrozenPages: 0, options: row.options },
        facts.settings,
      ).changed;
      const isStale =
        row.kind !== "p" &&
        row.changed >= staleRows &&
        row.changed >= trigger * staleRatio &&
        row.changed >= row.rows * staleShare;
      return isStale ? [stale(row, trigger)] : [];
    });
    return concludeReview({
      findings,
      facts: { tables: rows.length },
      good: ["The planner has recent statistics of every table."],
    });
  },
};

// reltuples is −1 until the first VACUUM or ANALYZE, for a partitioned table until the first ANALYZE (14 and newer).
const query = `
with recursive tree as (
  select c.oid as root, i.inhrelid as member from pg_class c join pg_inherits i on i.inhparent = c.oid where c.relkind = 'p'
  union all
  select t.root, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.member
), parts as (
  select t.root, sum(greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)::float8)) as rows
    from tree t join pg_class c on c.oid = t.member and c.relkind = 'r' group by t.root
)
select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, c.relkind::text as kind,
       c.relispartition as "isPartition",
       c.reltuples < 0 as "neverAnalyzed",
       case when c.relkind = 'p' then coalesce(p.rows, 0)
            else greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)::float8) end as rows,
       pg_stat_get_mod_since_analyze(c.oid)::int8 as changed, c.reloptions as options,
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_analyze_time(c.oid),
               pg_stat_get_last_autoanalyze_time(c.oid)))::float8 as "secondsSince"
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join parts p on p.root = c.oid
 where (c.relkind in ('r', 'm') or c.relkind = 'p' and not c.relispartition) and c.relpersistence <> 't' and ${userRelation()}
 order by rows desc, c.oid`;

const shared = (row: Row, name: string) => ({
  check: "stale-statistics",
  key: `stale-statistics/${row.schema}.${row.table}`,
  object: { schema: row.schema, table: row.table },
  blastRadius: `plans of statements on ${name}`,
  effort: "minutes" as const,
  remediation: {
    sql: `ANALYZE ${name};`,
    lock: "SHARE UPDATE EXCLUSIVE: reads and writes go on",
    rollback: "none needed",
  },
});

function unknown(row: Row): ReviewFinding {
  const name = qualified(row.schema, row.table);
  const isParent = row.kind === "p";
  return {
    ...shared(row, name),
    severity: isParent ? "low" : "medium",
    confidence: "certain",
    title: `${isParent ? "the partitioned table " : ""}${name} was never analyzed${isParent ? " as a whole" : ""}`,
    evidence: { rows: Math.round(row.rows), lastAnalyze: null },
    impact: isParent
      ? "Joins, DISTINCT and GROUP BY over all its partitions are planned with guessed numbers of values."
      : "The planner guesses how many rows a condition leaves, and joins by those guesses.",
    rootCause: isParent
      ? "Autovacuum analyzes partitions only, never the partitioned table."
      : "Autovacuum has not come to it since it was loaded, or is off.",
    prevention: isParent
      ? "Let pgkeep's vacuum run: it analyzes partitioned tables when their partitions have changed."
      : "ANALYZE at the end of each bulk load.",
  };
}

function stale(row: Row, trigger: number): ReviewFinding {
  const name = qualified(row.schema, row.table);
  return {
    ...shared(row, name),
    severity: "medium",
    confidence: "likely",
    title: `${countText(row.changed, "row")} of ${name} changed since its last ANALYZE, ${round(row.changed / Math.max(1, trigger))} times what calls for one`,
    evidence: {
      rows: Math.round(row.rows),
      changedSinceAnalyze: row.changed,
      trigger: Math.round(trigger),
      lastAnalyze: row.secondsSince === null ? "none known" : `${durationText(row.secondsSince)} ago`,
    },
    impact:
      "The planner goes by what the table was: it picks the wrong index or the wrong join when rows have moved.",
    rootCause: "Autovacuum does not come to it, is off for it, or is cancelled by locks.",
    prevention: "Let autovacuum or pgkeep's vacuum look after it; ANALYZE after bulk changes.",
  };
}
