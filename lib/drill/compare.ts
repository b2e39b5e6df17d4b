import { tableKey } from "./catalog.ts";
import type { Manifest, ManifestTable } from "./manifest.ts";

/** What the restored server says about a table. `rows` or `hash` is absent when it could not be read. */
export interface RestoredTable {
  schema: string;
  name: string;
  columns: string;
  rows?: number;
  hash?: string;
  /** Why it could not be read. */
  unread?: string;
}

/** What the primary says now, after the moment that was restored. */
export interface PrimaryTable {
  oid: number;
  schema: string;
  name: string;
  filenode: number | null;
  columns: string;
  inserted: number;
  updated: number;
  deleted: number;
}

export interface PrimaryNow {
  transactionsCommitted: number;
  tables: ReadonlyMap<string, PrimaryTable>;
}

export type TableVerdict =
  /** Nothing changed it since the manifest, and its contents (or its rows, if too large to hash) are the same. */
  | { kind: "identical"; by: "contents" | "rows" }
  /** It changed since, and its rows are within what the changes allow. */
  | { kind: "within-bounds"; least: number; most: number }
  | { kind: "not-assessable"; reason: string }
  /** Wrong, unless the primary's statistics are late: they trail the commits by up to a minute. */
  | { kind: "suspect"; reason: string; bounds?: { least: number; most: number } }
  /** Wrong, whatever the statistics say. */
  | { kind: "failed"; reason: string };

export interface TableComparison {
  schema: string;
  name: string;
  verdict: TableVerdict;
}

/**
 * Compares each table of a manifest with the restored one. The bounds are sound: counters were read before
 * the manifest's snapshot and after the restored moment, and count rolled-back changes too, so whatever
 * really happened in between is at most their difference. `primary` is undefined when it cannot be asked.
 */
export function compareTables(
  manifest: Manifest,
  restored: ReadonlyMap<string, RestoredTable>,
  primary: PrimaryNow | undefined,
): TableComparison[] {
  const reset = primary !== undefined && statisticsWereReset(manifest, primary);
  return manifest.tables.map((table) => ({
    schema: table.schema,
    name: table.name,
    verdict: compareTable(table, restored.get(tableKey(table)), primary, reset),
  }));
}

/** A crash or `pg_stat_reset` starts the counters again without leaving a time in every version. */
export function statisticsWereReset(manifest: Manifest, primary: PrimaryNow): boolean {
  if (primary.transactionsCommitted < manifest.transactionsCommitted) return true;
  return manifest.tables.some((table) => {
    const now = primary.tables.get(tableKey(table));
    return (
      now !== undefined &&
      now.filenode === table.filenode &&
      (now.inserted < table.inserted || now.updated < table.updated || now.deleted < table.deleted)
    );
  });
}

function compareTable(
  table: ManifestTable,
  restored: RestoredTable | undefined,
  primary: PrimaryNow | undefined,
  reset: boolean,
): TableVerdict {
  const now = primary?.tables.get(tableKey(table));
  if (restored === undefined) {
    return primary !== undefined && now?.oid !== table.oid
      ? { kind: "not-assessable", reason: "it was dropped since the backup" }
      : { kind: "failed", reason: "it is missing" };
  }
  if (table.rows === undefined) {
    return { kind: "not-assessable", reason: "the manifest has no count of it" };
  }
  if (restored.rows === undefined) {
    return { kind: "not-assessable", reason: restored.unread ?? "it could not be read" };
  }
  if (isSame(table, restored)) {
    return { kind: "identical", by: table.hash === undefined ? "rows" : "contents" };
  }
  const difference = describeDifference(table, restored);
  if (primary === undefined) {
    return {
      kind: "not-assessable",
      reason: `${difference}, and the primary cannot say whether it was changed`,
    };
  }
  if (now?.oid !== table.oid) {
    return { kind: "not-assessable", reason: `${difference}, and it was dropped since the backup` };
  }
  if (reset) {
    return { kind: "not-assessable", reason: `${difference}, and the primary's statistics were reset` };
  }
  if (now.filenode !== table.filenode) {
    return { kind: "not-assessable", reason: `${difference}, and it was truncated or rewritten since` };
  }
  if (now.columns !== table.columns) {
    return { kind: "not-assessable", reason: `${difference}, and its columns were changed since` };
  }
  const since = {
    inserted: now.inserted - table.inserted,
    updated: now.updated - table.updated,
    deleted: now.deleted - table.deleted,
  };
  if (since.inserted === 0 && since.updated === 0 && since.deleted === 0) {
    return { kind: "suspect", reason: `${difference}, although nothing changed it since the backup` };
  }
  const least = Math.max(0, table.rows - since.deleted);
  const most = table.rows + since.inserted;
  if (restored.rows < least || restored.rows > most) {
    return {
      kind: "suspect",
      reason: `it has ${restored.rows} rows; what happened since the backup allows ${least} to ${most}`,
      bounds: { least, most },
    };
  }
  return { kind: "within-bounds", least, most };
}

function isSame(table: ManifestTable, restored: RestoredTable): boolean {
  if (table.hash !== undefined && restored.hash !== undefined) return table.hash === restored.hash;
  return table.hash === undefined && table.rows === restored.rows;
}

function describeDifference(table: ManifestTable, restored: RestoredTable): string {
  if (table.rows !== restored.rows) return `it has ${restored.rows} rows, and had ${table.rows}`;
  return restored.columns === table.columns ? "its contents differ" : "its columns differ";
}

/** `orders: it is missing; items: its contents differ; and 3 more`. */
export function listProblems(problems: readonly string[], count: number, limit = 5): string {
  const shown = problems.slice(0, limit);
  if (count > limit) shown.push(`and ${count - limit} more`);
  return shown.join("; ");
}
