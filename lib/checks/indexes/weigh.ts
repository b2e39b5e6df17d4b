import { bytesText, countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import type { TableEntry } from "./tables.ts";

/** From here on an index that is not needed is felt in caches, backups and VACUUM. */
const largeBytes = 100 * 2 ** 20;

/** Nobody works through more of one kind; the others are counted. */
const mostFindings = 1_000;

/** Those that are worth a finding each, the largest first. */
export function largest<T>(found: readonly T[], pagesOf: (one: T) => number): T[] {
  return [...found].sort((a, b) => pagesOf(b) - pagesOf(a)).slice(0, mostFindings);
}

/** Nothing breaks because of an index too many. */
export function sizeSeverity(bytes: number): Severity {
  return bytes >= largeBytes ? "medium" : "low";
}

/** Row versions that had to be entered into the table's indexes since the statistics began. */
export function writesOf(table: TableEntry | undefined): number {
  return table === undefined ? 0 : table.inserted + Math.max(0, table.updated - table.hotUpdated);
}

/** What an index that is not needed costs. */
export function costText(bytes: number, writes: number): string {
  const space = `It takes ${bytesText(bytes)} on disk, in backups and in caches`;
  return writes === 0
    ? `${space}, and every write to the table keeps it up.`
    : `${space}, and ${countText(writes, "row version")} had to be entered into it since the statistics began.`;
}
