import { literal, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type IndexEntry, readIndexCatalogue } from "./catalogue.ts";
import { readTables, type TableEntry, type Tables } from "./tables.ts";
import { readUsageWindow } from "./usage-window.ts";
import { writesOf } from "./weigh.ts";

export interface OverIndexedLimits {
  /** Fewer are common on tables that are looked at from many sides. */
  leastIndexes: number;
  leastWrites: number;
  shortestDays: number;
}

/** For each read by any of the indexes so many entries are written. */
const writesPerRead = 10;

/**
 * Tables that are mostly written, with many indexes that are hardly read: each row version is entered into all of them
 * unless its update is HOT. Which of them can go, who knows the queries can tell.
 */
export function overIndexedBeyond(limits: OverIndexedLimits): ReviewCheck {
  return {
    name: "over-indexed-tables",
    title: "Are there tables whose many indexes cost more than they give?",
    area: "indexes",
    needs: { primary: true },
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const since = await readUsageWindow(context.session, context.window);
      const days = (context.now.getTime() - since.getTime()) / 86_400_000;
      const crowded = tables.all.flatMap((table) => {
        const indexes = (catalogue.byTable.get(table.oid) ?? []).filter((one) => one.isUsable);
        return table.parent === null && indexes.length >= limits.leastIndexes ? [{ table, indexes }] : [];
      });
      if (crowded.length > 0 && days < limits.shortestDays) {
        return concludeReview({
          facts: { tablesWithManyIndexes: crowded.length },
          obstacle: `reads and writes are counted since ${since.toISOString()} only: ask again when that is ${limits.shortestDays} days`,
        });
      }
      return concludeReview({
        facts: { tablesWithManyIndexes: crowded.length, since: since.toISOString() },
        findings: crowded
          .filter(({ table, indexes }) => {
            const writes = writesOf(table);
            const reads = indexes.reduce((sum, one) => sum + one.scans, 0);
            return writes >= limits.leastWrites && writes * indexes.length >= writesPerRead * reads;
          })
          .map(({ table, indexes }) => finding(table, indexes, since, tables)),
      });
    },
  };
}

export const overIndexedTables = overIndexedBeyond({
  leastIndexes: 8,
  leastWrites: 100_000,
  shortestDays: 7,
});

function finding(
  table: TableEntry,
  indexes: readonly IndexEntry[],
  since: Date,
  tables: Tables,
): ReviewFinding {
  const name = qualified(table.schema, table.table);
  const writes = writesOf(table);
  const reads = indexes.reduce((sum, one) => sum + one.scans, 0);
  const bytes = indexes.reduce((sum, one) => sum + one.pages, 0) * tables.blockBytes;
  const leastRead = [...indexes]
    .filter((one) => !one.isUnique && !one.backsConstraint)
    .sort((a, b) => a.scans - b.scans || b.pages - a.pages)
    .slice(0, 5);
  const hotPercent = table.updated === 0 ? null : Math.round((100 * table.hotUpdated) / table.updated);
  return {
    check: "over-indexed-tables",
    key: `over-indexed-tables/${table.schema}.${table.table}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: table.schema, table: table.table },
    title: `${name} has ${countText(indexes.length, "index", "indexes")}, which are written far more than read`,
    evidence: {
      indexes: indexes.length,
      sizeOfIndexes: bytesText(bytes),
      sizeOfTable: bytesText(table.pages * tables.blockBytes),
      rowVersionsWritten: writes,
      indexScans: reads,
      hotUpdatesPercent: hotPercent,
      leastRead: leastRead.map((one) => `${one.index}: ${one.scans} scans`),
    },
    impact: `${countText(writes * indexes.length, "entry", "entries")} were written for ${countText(reads, "scan")}: inserts and updates are slower, WAL and VACUUM larger.`,
    blastRadius: `writes to ${name}, its replicas' WAL`,
    rootCause: "Indexes were added query by query, and none was taken away.",
    prevention:
      "Weigh each new index against the writes of its table; prefer one wider index for several queries.",
    effort: "hours",
    since: since.toISOString(),
    remediation: {
      sql: `SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE relid = ${literal(name)}::regclass ORDER BY idx_scan;`,
      lock: "none: this names the indexes that are read least; drop with DROP INDEX CONCURRENTLY what no query needs",
      rollback: "none needed",
    },
  };
}
