import type { IndexFacts } from "./index-facts.ts";
import type { Obstacle } from "./obstacles.ts";
import type { Reason, Work } from "./plan.ts";

export type IndexEntry = { schema: string; table: string; index: string };

/** The list is cut after the first entries; `total` counts all. */
export type Listed<T> = { total: number; indexes: T[] };

export type RebuiltIndex = IndexEntry & {
  reason: Reason;
  seconds: number;
  bytesBefore: number;
  /** Null when it could not be read. */
  bytesAfter: number | null;
};

export type PlannedIndex = IndexEntry & {
  reason: Reason;
  bytes: number;
  predictedSeconds: number;
  lock: string;
  /** Free disk space that it takes while it runs. */
  diskNeededBytes: number;
  /** What stands in its way now. */
  obstacles: Obstacle[];
  sql: string;
};

export type Leftover = { schema: string; index: string; of: string };

export type ReindexReport = {
  /** Indexes of the size that counts, invalid ones and named ones. */
  considered: number;
  /** B-trees that were read with pgstatindex. */
  measured: number;
  due: number;
  rebuilt: Listed<RebuiltIndex>;
  /** Invalid indexes that pgkeep's own rebuilds had left, removed now. */
  leftoversDropped: Listed<Leftover>;
  /** Those that could not be removed; the next run tries again. */
  leftoversRemaining: Listed<Leftover & { why: string; sql: string }>;
  /** Something stood in the way. */
  blocked: Listed<IndexEntry & { reason: Reason; obstacles: Obstacle[] }>;
  failed: Listed<IndexEntry & { reason: Reason; error: string }>;
  left: Listed<IndexEntry & { reason: Reason; predictedSeconds: number; why: string }>;
  notPermitted: Listed<IndexEntry & { reason: Reason; remedy: string }>;
  /** Cannot be rebuilt concurrently. */
  notConcurrently: Listed<IndexEntry & { why: string; sql: string }>;
  /** May be bloated, by the estimate alone: nothing was done. Percent of the index. */
  unconfirmed: Listed<IndexEntry & { bytes: number; leastPercent: number; mostPercent: number; why: string }>;
  /** Invalid indexes that are not rebuilt, and are not pgkeep's to drop. */
  invalid: Listed<IndexEntry & { why: string; sql: string }>;
  /** Free disk that the configuration leaves; null where it cannot be told. */
  freeDiskBytes: number | null;
  freeDiskBasis: string;
  /** What all rebuilds together have freed. */
  bytesFreed: number;
  budgetSeconds: number;
  secondsUsed: number;
  /** True when the deadline ended the run before its budget. */
  interrupted: boolean;
  dryRun: boolean;
  /** With a dry run: what would be rebuilt, in this order. */
  planned?: Listed<PlannedIndex>;
  /** What limits the result, in sentences. */
  notes: string[];
};

export const rebuildLock = "SHARE UPDATE EXCLUSIVE: reads and writes go on";

export function entryOf(facts: IndexFacts): IndexEntry {
  return { schema: facts.schema, table: facts.table, index: facts.index };
}

export function add<T>(list: Listed<T>, entry: T): void {
  list.total += 1;
  list.indexes.push(entry);
}

export function emptyList<T>(): Listed<T> {
  return { total: 0, indexes: [] };
}

/** Notes an index that was due and is not done. */
export function leave(report: ReindexReport, work: Work, predictedSeconds: number, why: string): void {
  add(report.left, {
    ...entryOf(work.facts),
    reason: shownReason(work.reason),
    predictedSeconds: rounded(predictedSeconds),
    why,
  });
}

/** Why an index is not started with so much of the budget left. Seconds. */
export function tooLong(predicted: number, remaining: number, budget: number): string {
  return predicted > budget
    ? `needs about ${Math.ceil(predicted)} s, more than a whole run has; give budgetSeconds, or rebuild it by hand`
    : `needs about ${Math.ceil(predicted)} s and ${Math.max(0, Math.floor(remaining))} s were left`;
}

/** Percents to one place. */
export function shownReason(reason: Reason): Reason {
  switch (reason.kind) {
    case "bloat":
      return { ...reason, percent: tenths(reason.percent) };
    case "estimated bloat":
      return { ...reason, leastPercent: tenths(reason.leastPercent) };
    default:
      return reason;
  }
}

export const tenths = (value: number) => Math.round(value * 10) / 10;
/** To milliseconds. */
export const rounded = (seconds: number) => Math.round(seconds * 1000) / 1000;

/** A step's result may have 256 KB; the rest is for the other fields of the run. */
const maximalBytes = 200_000;

/** The report with its lists cut, evenly, until it fits into a step's result. */
export function bounded(report: ReindexReport): ReindexReport {
  for (let longest = 200; ; longest = Math.floor(longest / 2)) {
    const fitting: ReindexReport = { ...report };
    for (const name of lists) shorten(fitting, name, longest);
    if (longest <= 1 || Buffer.byteLength(JSON.stringify(fitting)) <= maximalBytes) return fitting;
  }
}

const lists = [
  "rebuilt",
  "leftoversDropped",
  "leftoversRemaining",
  "blocked",
  "failed",
  "left",
  "notPermitted",
  "notConcurrently",
  "unconfirmed",
  "invalid",
  "planned",
] as const;

function shorten<Name extends (typeof lists)[number]>(
  report: Pick<ReindexReport, Name>,
  name: Name,
  longest: number,
): void {
  const list: ReindexReport[Name] = report[name];
  if (list !== undefined) report[name] = { ...list, indexes: list.indexes.slice(0, longest) };
}
