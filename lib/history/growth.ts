import type { Session } from "../ports/databases.ts";
import { readTableHistory, type TableHistory, type TableSample } from "./read.ts";
import { type Confidence, confidenceOf, rounded, sinceLastFall, type Trend, trendOf } from "./trend.ts";

/** How one table, or a partitioned table with all its partitions, has grown. */
export type TableGrowth = {
  oid: number;
  schema: string;
  table: string;
  /** Partitions summed up in it, those that are gone included; absent for plain tables. */
  partitions?: number;
  fromDay: string;
  toDay: string;
  /** At the end. Null while no part of the heap was ever measured. */
  bytes: number | null;
  heapBytes: number | null;
  toastBytes: number;
  indexBytes: number;
  rows: number | null;
  /** From the first to the last day; null when either is unknown. */
  grownBytes: number | null;
  /** Rows inserted, updated and deleted in between; a lower bound when counters were reset. */
  rowsInserted: number;
  rowsUpdated: number;
  rowsDeleted: number;
  countersReset: boolean;
  /** Bytes a day since the last time it shrank; null with `reason` when there is too little to tell. */
  trend: (Trend & { confidence: Confidence }) | null;
  reason?: string;
  /** When it last shrank by more than a fifth. */
  shrank?: { day: string; fromBytes: number; toBytes: number };
  indexes: IndexGrowth[];
};

export type IndexGrowth = {
  oid: number;
  index: string;
  bytes: number;
  grownBytes: number;
  scans: number;
};

/** A fall by more is a table that was cut or rewritten, and not rows that come and go. */
const shrinkage = 0.2;

/**
 * Growth of tables that exist, largest growth first: all, or those given by oid or name. Partitions are summed up in
 * their topmost parent.
 * @throws PgkeepError `not-installed`, `insufficient-privilege`
 */
export async function tableGrowth(
  session: Session,
  wanted: Parameters<typeof readTableHistory>[1] = {},
): Promise<TableGrowth[]> {
  const histories = await readTableHistory(session, wanted);
  const families = new Map<number, TableHistory[]>();
  for (const history of histories) {
    const root = history.rootOid ?? history.oid;
    // Of two tables with the same oid, one after the other, the earlier is another one's past.
    if (history.goneDay !== null && history.rootOid === null) continue;
    families.set(root, [...(families.get(root) ?? []), history]);
  }
  return [...families]
    .flatMap(([root, members]) => growthOf(root, members) ?? [])
    .sort((a, b) => (b.grownBytes ?? 0) - (a.grownBytes ?? 0) || (b.bytes ?? 0) - (a.bytes ?? 0));
}

function growthOf(root: number, members: readonly TableHistory[]): TableGrowth | undefined {
  // Partitions of which only themselves were asked for, or whose parent is gone, stand for themselves.
  const head = members.find(({ oid }) => oid === root) ?? members.find(({ goneDay }) => goneDay === null);
  if (head === undefined) return undefined;
  const days = totalsByDay(members);
  const [first, last] = [days[0], days.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const points = days.flatMap(({ at, day, bytes }) => (bytes === null ? [] : [{ at, day, value: bytes }]));
  const { points: recent, fell } = sinceLastFall(points, shrinkage);
  const trend = trendOf(recent);
  const changes = members.map(changesOf);
  const sum = (of: (change: ReturnType<typeof changesOf>) => number) =>
    changes.reduce((total, change) => total + of(change), 0);
  return {
    oid: head.oid,
    schema: head.schema,
    table: head.table,
    ...(members.length > 1 ? { partitions: members.filter(({ kind }) => kind !== "p").length } : {}),
    fromDay: first.day,
    toDay: last.day,
    bytes: last.bytes,
    heapBytes: last.heapBytes,
    toastBytes: last.toastBytes,
    indexBytes: last.indexBytes,
    rows: last.rows,
    grownBytes: last.bytes === null || first.bytes === null ? null : last.bytes - first.bytes,
    rowsInserted: sum(({ inserted }) => inserted),
    rowsUpdated: sum(({ updated }) => updated),
    rowsDeleted: sum(({ deleted }) => deleted),
    countersReset: changes.some(({ reset }) => reset),
    ...("reason" in trend
      ? { trend: null, reason: trend.reason }
      : { trend: { ...trend, confidence: confidenceOf(trend, null) } }),
    ...(fell === undefined
      ? {}
      : { shrank: { day: dayText(fell.at), fromBytes: fell.from, toBytes: fell.to } }),
    indexes: indexGrowth(members),
  };
}

type Totals = Pick<TableSample, "day" | "at" | "bytes" | "heapBytes" | "toastBytes" | "indexBytes" | "rows">;

/** Parts that are unknown count as nothing, unless all are. */
function totalsByDay(members: readonly TableHistory[]): Totals[] {
  const days = new Map<string, Totals>();
  const plus = (a: number | null, b: number | null) => (a === null ? b : a + (b ?? 0));
  for (const { samples, kind } of members) {
    for (const sample of samples) {
      const known = days.get(sample.day);
      // The parent itself has nothing to measure.
      const own = kind === "p" ? { ...sample, heapBytes: null, bytes: null, rows: null } : sample;
      days.set(sample.day, {
        day: sample.day,
        at: sample.at,
        bytes: plus(known?.bytes ?? null, own.bytes),
        heapBytes: plus(known?.heapBytes ?? null, own.heapBytes),
        toastBytes: (known?.toastBytes ?? 0) + own.toastBytes,
        indexBytes: (known?.indexBytes ?? 0) + own.indexBytes,
        rows: plus(known?.rows ?? null, own.rows),
      });
    }
  }
  return [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
}

/** What happened in between; after a reset, what the counters show is what happened since then. */
function changesOf({ samples }: TableHistory): {
  inserted: number;
  updated: number;
  deleted: number;
  reset: boolean;
} {
  const total = { inserted: 0, updated: 0, deleted: 0, reset: false };
  for (const [index, sample] of samples.entries()) {
    const before = samples[index - 1];
    if (before === undefined) continue;
    const reset =
      sample.rowsInserted < before.rowsInserted ||
      sample.rowsUpdated < before.rowsUpdated ||
      sample.rowsDeleted < before.rowsDeleted;
    total.inserted += sample.rowsInserted - (reset ? 0 : before.rowsInserted);
    total.updated += sample.rowsUpdated - (reset ? 0 : before.rowsUpdated);
    total.deleted += sample.rowsDeleted - (reset ? 0 : before.rowsDeleted);
    total.reset ||= reset;
  }
  return total;
}

/** Of the indexes that exist; one that is new has grown by all it has. */
function indexGrowth(members: readonly TableHistory[]): IndexGrowth[] {
  return members
    .filter(({ goneDay }) => goneDay === null)
    .flatMap(({ samples, indexNames }) => {
      const first = new Map(samples[0]?.indexes.map((index) => [index.oid, index.bytes]));
      return (samples.at(-1)?.indexes ?? []).map(({ oid, bytes, scans }) => ({
        oid,
        index: indexNames[oid] ?? String(oid),
        bytes,
        grownBytes: bytes - (first.get(oid) ?? 0),
        scans,
      }));
    })
    .sort((a, b) => b.bytes - a.bytes);
}

/** A moment in days since 1970 → `2026-01-31`. */
export function dayText(at: number): string {
  return new Date(rounded(at * 86_400_000, 0)).toISOString().slice(0, 10);
}
