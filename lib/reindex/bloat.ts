/** What the size of a freshly built B-tree follows from. Sizes in bytes, rows as counted last. */
export interface BtreeFacts {
  pages: number;
  blockBytes: number;
  /** Storage parameter `fillfactor`, 90 unless set. */
  fillFactor: number;
  /** Entries; null where nobody has counted them. */
  rows: { least: number; most: number } | null;
  /** Equal keys are stored once, with the list of their rows, when it is built now. */
  deduplicates: boolean;
  columns: readonly BtreeColumn[];
}

/** One column of an index, INCLUDE columns too. */
export interface BtreeColumn {
  isKey: boolean;
  /** `pg_attribute.attlen`: bytes, −1 for a varlena, −2 for a C string. */
  length: number;
  /** `pg_attribute.attalign`, in bytes. */
  alignment: number;
  /** From the statistics; null where there are none, or none that the role may see. */
  statistics: { averageWidth: number; nullFraction: number; distinct: number } | null;
}

/** Share of an index that a rebuild would free, between what is certain and what is possible. 0–100. */
export interface BloatRange {
  leastPercent: number;
  mostPercent: number;
}

const alignTo = (value: number, alignment: number) => Math.ceil(value / alignment) * alignment;
const maximalAlignment = 8;
const pageHeaderBytes = 24;
/** BTPageOpaqueData. */
const specialBytes = 16;
const linePointerBytes = 4;
const tupleHeaderBytes = 8;
/** IndexTupleData and the bitmap of 32 columns, aligned. */
const tupleHeaderWithNullsBytes = 16;
const rowPointerBytes = 6;
/** A varlena up to this many bytes has a header of one byte and is not aligned. */
const shortVarlenaBytes = 127;
/** Largest entry of a B-tree of version 4. */
const largestEntryBytes = 2704;
const innerFillFactor = 70;

/**
 * How much of a B-tree is bloat, from the statistics alone, in the way of ioguix's pgsql-bloat-estimation
 * (`btree/btree_bloat.sql`), with two limits instead of one number. Corrected for what that query leaves out:
 * alignment of each column, the bitmap for nulls, high keys, inner pages (70 % full), deduplication (keys once,
 * six bytes a row, lists of up to a tenth of a page: `_bt_load()` in `nbtsort.c`), columns without statistics,
 * tables that were never analysed.
 */
export function estimateBloat(facts: BtreeFacts): BloatRange {
  if (facts.pages <= 2) return { leastPercent: 0, mostPercent: 0 };
  if (facts.rows === null) return { leastPercent: 0, mostPercent: 100 };
  const { least, most } = facts.rows;
  const width = entryWidth(facts.columns);
  const groups = distinctKeys(facts, least, most);
  const few = pagesOf(facts, least, width.least, Math.min(groups.least, least));
  const many = pagesOf(facts, most, width.most, Math.min(groups.most, most));
  return { leastPercent: freedPercent(facts.pages, many), mostPercent: freedPercent(facts.pages, few) };
}

function freedPercent(pages: number, expected: number): number {
  return Math.max(0, Math.min(100, 100 * (1 - expected / pages)));
}

/** Bytes of one entry without its line pointer. */
function entryWidth(columns: readonly BtreeColumn[]): { least: number; most: number } {
  let least = 0;
  let most = 0;
  let varies = false;
  let nulls = 0;
  for (const { length, alignment, statistics } of columns) {
    const nullFraction = statistics?.nullFraction ?? 0;
    nulls = Math.max(nulls, nullFraction);
    const present = 1 - nullFraction;
    if (length > 0) {
      least = alignTo(least, nullFraction > 0 ? 1 : alignment) + length * present;
      most = alignTo(most, alignment) + length * present;
      continue;
    }
    varies = true;
    if (length === -2 || statistics === null) {
      least += present;
      most += length === -2 ? 64 : largestEntryBytes;
      continue;
    }
    const start = statistics.averageWidth > shortVarlenaBytes ? alignTo(most, alignment) : most;
    least += statistics.averageWidth * present;
    most = start + statistics.averageWidth * present;
  }
  const header = tupleHeaderBytes + (tupleHeaderWithNullsBytes - tupleHeaderBytes) * nulls;
  return {
    least: nulls > 0 && nulls < 1 ? header + least : alignTo(header + least, maximalAlignment),
    most: Math.min(
      largestEntryBytes,
      alignTo(header + most + (varies ? maximalAlignment - 1 : 0), maximalAlignment),
    ),
  };
}

/** Different keys: at least those of the column with most, at most all combinations. */
function distinctKeys(facts: BtreeFacts, least: number, most: number): { least: number; most: number } {
  if (!facts.deduplicates) return { least, most };
  let fewest = 1;
  let combinations = 1;
  for (const { isKey, statistics } of facts.columns) {
    if (!isKey) continue;
    if (statistics === null || statistics.distinct === 0) {
      combinations = most;
      continue;
    }
    const of = (rows: number) =>
      statistics.distinct > 0 ? statistics.distinct : -statistics.distinct * rows;
    fewest = Math.max(fewest, of(least));
    combinations *= Math.max(1, of(most) + (statistics.nullFraction > 0 ? 1 : 0));
  }
  return { least: Math.min(fewest, least), most: Math.min(combinations, most) };
}

function pagesOf(facts: BtreeFacts, rows: number, width: number, groups: number): number {
  const entry = width + linePointerBytes;
  const room = facts.blockBytes - pageHeaderBytes - specialBytes;
  const usable = Math.max(
    entry,
    room - (facts.blockBytes * (100 - facts.fillFactor)) / 100 - (facts.fillFactor < 100 ? 0 : entry),
  );
  const bytes = leafBytes(facts, rows, entry, groups);
  // A whole number of entries fits on a page, unless lists of rows fill the gaps.
  const leaves = groups < rows ? Math.ceil(bytes / usable) : Math.ceil(rows / Math.floor(usable / entry));
  const fanOut = Math.max(2, Math.floor((room * innerFillFactor) / 100 / (entry + maximalAlignment)));
  let inner = 0;
  for (let level = leaves; level > 1; ) {
    level = Math.ceil(level / fanOut);
    inner += level;
  }
  return 1 + Math.max(1, leaves) + inner;
}

function leafBytes(facts: BtreeFacts, rows: number, entry: number, groups: number): number {
  const plain = rows * entry;
  if (groups <= 0 || groups >= rows) return plain;
  const listBytes = Math.max(
    rowPointerBytes * 2,
    Math.floor(facts.blockBytes / 10) - linePointerBytes - entry,
  );
  const rowsInGroup = rows / groups;
  const lists = Math.max(1, Math.ceil((rowsInGroup * rowPointerBytes) / listBytes));
  const listed = Math.min(rows, 2 * (rows - groups));
  return Math.min(plain, groups * lists * entry + listed * rowPointerBytes);
}

/** What `pgstatindex` tells of a B-tree. */
export interface BtreeMeasurement {
  indexBytes: number;
  treeLevel: number;
  innerPages: number;
  leafPages: number;
  /** Percent; null for an index without entries. */
  leafDensity: number | null;
}

/** The share that a rebuild would free, from measured leaf density; entries of dead rows count as full. */
export function measuredBloat(
  measured: BtreeMeasurement,
  fillFactor: number,
  blockBytes: number,
): { percent: number; wastedBytes: number } {
  const leaves = Math.max(1, Math.ceil((measured.leafPages * (measured.leafDensity ?? 0)) / fillFactor));
  const inner =
    leaves <= 1
      ? 0
      : Math.max(1, Math.ceil((measured.innerPages * leaves) / Math.max(1, measured.leafPages)));
  const expected = Math.min(measured.indexBytes, (1 + leaves + inner) * blockBytes);
  const wastedBytes = measured.indexBytes - expected;
  return {
    percent: measured.indexBytes === 0 ? 0 : (100 * wastedBytes) / measured.indexBytes,
    wastedBytes,
  };
}
