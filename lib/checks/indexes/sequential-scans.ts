import { qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readIndexCatalogue } from "./catalogue.ts";
import { readTables, type TableEntry, type Tables } from "./tables.ts";
import { readUsageWindow } from "./usage-window.ts";

export interface ScanLimits {
  /** A scan of a smaller table is over before anybody notices. */
  largeRows: number;
  largeBytes: number;
  /** Statistics of less than a day show a backup or a report, not the work of a week. */
  shortestDays: number;
  /** Reports and dumps read tables as a whole a few times a day; queries without their index do each time. */
  scansPerDay: number;
}

/** A table of which most reads are sequential is meant to be read so. */
const indexedShare = 0.5;

/**
 * Large tables that are read as a whole again and again, although most look-ups of them go by an index: some query
 * lacks its index. Which one, the statements tell (the queries' part of the review); the counters only suspect it.
 */
export function sequentialScansWithin(limits: ScanLimits): ReviewCheck {
  return {
    name: "sequential-scans",
    title: "Are large tables read as a whole again and again?",
    area: "indexes",
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const since = await readUsageWindow(context.session, context.window);
      const days = (context.now.getTime() - since.getTime()) / 1000 / 86_400;
      const large = tables.all.filter((one) => one.parent === null && isLarge(one, tables, limits));
      if (large.length > 0 && days < limits.shortestDays) {
        return concludeReview({
          facts: { largeTables: large.length, since: since.toISOString() },
          obstacle: `scans are counted since ${since.toISOString()} only: ask again when that is a day`,
        });
      }
      const suspects = large.flatMap((table) => {
        const indexScans = (catalogue.byTable.get(table.oid) ?? []).reduce((sum, one) => sum + one.scans, 0);
        return isSuspect(table, indexScans, days, limits)
          ? [finding(table, indexScans, days, since, tables)]
          : [];
      });
      return concludeReview({
        facts: { largeTables: large.length, since: since.toISOString() },
        findings: suspects,
        good:
          large.length > 0
            ? [`The ${countText(large.length, "large table")} are read by their indexes.`]
            : [],
      });
    },
  };
}

export const sequentialScans = sequentialScansWithin({
  largeRows: 100_000,
  largeBytes: 64 * 2 ** 20,
  shortestDays: 1,
  scansPerDay: 24,
});

function isLarge(table: TableEntry, tables: Tables, { largeRows, largeBytes }: ScanLimits): boolean {
  return table.rows >= largeRows && table.pages * tables.blockBytes >= largeBytes;
}

/** Scans that were cut short (LIMIT, EXISTS) read few rows and count less. */
function isSuspect(
  table: TableEntry,
  indexScans: number,
  days: number,
  { scansPerDay }: ScanLimits,
): boolean {
  const whole = table.rowsReadSequentially / Math.max(1, table.rows);
  return (
    whole / days >= scansPerDay &&
    whole >= table.sequentialScans * 0.1 &&
    indexScans >= (indexScans + table.sequentialScans) * indexedShare
  );
}

function finding(
  table: TableEntry,
  indexScans: number,
  days: number,
  since: Date,
  tables: Tables,
): ReviewFinding {
  const name = qualified(table.schema, table.table);
  const bytes = table.pages * tables.blockBytes;
  const whole = Math.round(table.rowsReadSequentially / Math.max(1, table.rows));
  return {
    check: "sequential-scans",
    key: `sequential-scans/${table.schema}.${table.table}`,
    severity: "medium",
    confidence: "suspected",
    object: { schema: table.schema, table: table.table },
    title: `${name} (${bytesText(bytes)}) is read as a whole about ${Math.round(whole / days)} times a day`,
    evidence: {
      sequentialScans: table.sequentialScans,
      rowsReadSequentially: table.rowsReadSequentially,
      indexScans,
      rows: Math.round(table.rows),
      size: bytesText(bytes),
      countedSince: since.toISOString(),
    },
    impact: `Each time ${bytesText(bytes)} go through the cache and push out what others need.`,
    blastRadius: `whatever reads from the same storage and cache; queries on ${name}`,
    rootCause: "A query filters on columns without an index, or in a form that its index cannot serve.",
    prevention: "Look at the plans of new queries on large tables; log slow ones with auto_explain.",
    effort: "hours",
    since: since.toISOString(),
    remediation: {
      sql: `SELECT queryid, calls, mean_exec_time, shared_blks_read FROM pg_stat_statements ORDER BY shared_blks_hit + shared_blks_read DESC LIMIT 20;`,
      lock: "none: this names the statements; EXPLAIN them and index what they filter on, concurrently",
      rollback: "none needed",
    },
  };
}
