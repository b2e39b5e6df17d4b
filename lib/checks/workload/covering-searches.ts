import { parseSync } from "libpg-query";
import { nodesOf, type PlanNode } from "../generic-plan.ts";
import type { IndexEntry } from "../indexes/catalogue.ts";
import { blocksPerCall, type Parsed, type Seen } from "./common.ts";
import { isPlan, plannable, planOf, type Question } from "./explain.ts";
import { columnsIn, isNode, list, under } from "./nodes.ts";
import { estimatedBytes } from "./proofs.ts";
import { tableOf } from "./resolve.ts";
import { type Column, rowsOf, type Table } from "./tables.ts";
import { isLarge } from "./whole-scans.ts";

/** Included columns and their bytes on average: beyond, the index becomes a second table. */
const mostIncluded = 3;
const widestIncludedBytes = 64;
/** A text that is on average longer than a key is no column for an index. */
const widestTextBytes = 32;
/** Blocks that a call saves: a look-up of one row saves one, which nobody notices. */
const fewestSavedBlocks = 50;
/** A call must touch half of the blocks, as a plan must cost half with an index that is missing. */
const worthwhileShare = 0.5;
/** Levels of a B-tree above its leaves, of any size that is met. */
const descentBlocks = 4;
/** Types of changing length whose values are short as a rule; documents, arrays and vectors are not. */
const shortTypes = /^(?:text|character varying|character|numeric|inet|cidr)$/;

/** A statement that reads one large table, and the columns that it names. */
export interface Reader {
  statement: Parsed;
  table: Table;
  columns: Column[];
}

export function readerOf(statement: Parsed, { tables }: Seen): Reader | undefined {
  const { facts, text } = statement;
  const [scope] = facts.scopes;
  const [relation] = scope?.relations ?? [];
  if (text === undefined || facts.kind !== "select" || facts.scopes.length !== 1) return undefined;
  if (relation === undefined || scope?.relations.length !== 1) return undefined;
  if (blocksPerCall(statement) < fewestSavedBlocks) return undefined;
  const table = tableOf(relation, tables);
  if (table === undefined || table.kind === "p" || !isLarge(table)) return undefined;
  const columns = columnsRead(text, table, relation.alias);
  return columns === undefined ? undefined : { statement, table, columns };
}

/** Undefined when it reads a row as a whole, or what is no column: `ctid`. */
function columnsRead(text: string, table: Table, alias: string): Column[] | undefined {
  const tree: unknown = parseSync(text).stmts;
  if (hasStar(tree)) return table.columns;
  const select = under(under(list(tree)[0], "stmt"), "SelectStmt");
  const outputs = new Set(list(select?.targetList).map((target) => under(target, "ResTarget")?.name));
  const found = new Set<Column>();
  for (const { name } of columnsIn(tree)) {
    const column = table.columns.find((one) => one.name === name);
    if (column !== undefined) found.add(column);
    // ORDER BY may name what the list of results calls something.
    else if (name === alias || !outputs.has(name)) return undefined;
  }
  return [...found];
}

function hasStar(node: unknown): boolean {
  if (Array.isArray(node)) return node.some(hasStar);
  return isNode(node) && (node.A_Star !== undefined || Object.values(node).some(hasStar));
}

/** What the catalog says of a table's pages and columns. */
export interface Storage {
  oid: number;
  /** Pages whose rows everybody sees, as of the last VACUUM. */
  visibleShare: number;
  /** Numbers of columns that no index can hold, since they are not stored. */
  virtual: number[];
  /** Numbers of columns without a length limit in their type. */
  unlimited: number[];
}

export async function readStorage(
  { context }: Seen,
  readers: readonly Reader[],
): Promise<Map<number, Storage>> {
  const oids = [...new Set(readers.map(({ table }) => table.oid))];
  if (oids.length === 0) return new Map();
  const rows = await context.session.query<Storage>(
    `select c.oid::int8 as oid, least(1, c.relallvisible / greatest(1, c.relpages)::float8) as "visibleShare",
            coalesce(array_agg(a.attnum::int) filter (where a.attgenerated = 'v'), '{}') as virtual,
            coalesce(array_agg(a.attnum::int) filter (where a.atttypmod = -1), '{}') as unlimited
       from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.oid = any($1::oid[]) group by c.oid`,
    [oids],
  );
  return new Map(rows.map((row) => [row.oid, row]));
}

/** A statement that one index serves, and what the index lacks to serve it alone. */
export interface Search {
  statement: Parsed;
  table: Table;
  index: IndexEntry;
  stored: Storage;
  /** Columns of INCLUDE: those that it has, and those that are needed. */
  included: Column[];
  question: Question;
  plan: PlanNode;
  blocksNow: number;
  blocksThen: number;
}

export async function searchOf(
  { statement, table, columns }: Reader,
  stored: Storage,
  { context, tables }: Seen,
): Promise<Search | "never analyzed" | "not plannable" | undefined> {
  const lacks = (index: IndexEntry) => lackingColumns(index, columns, stored);
  if (!table.indexes.some((index) => lacks(index) !== undefined)) return undefined;
  const question = plannable(statement, tables);
  if (question === undefined) return "not plannable";
  const plan = await planOf(context.session, question);
  if (!isPlan(plan)) return "not plannable";
  const scan = indexScan(plan);
  const index = table.indexes.find((one) => one.index === scan?.index);
  if (scan === undefined || index === undefined) return undefined;
  const lacking = lacks(index);
  if (lacking === undefined || isCoveredAnyway(index, table, columns)) return undefined;
  if (lacking.some(({ width }) => width === null)) return "never analyzed";
  const included = fitting([
    ...table.columns.filter(({ number }) => index.included.includes(number)),
    ...lacking,
  ]);
  if (included === undefined) return undefined;
  const blocks = blocksOf(statement, scan, table, bytesOf(index, table, included), stored, tables.blockBytes);
  if (blocks === undefined) return undefined;
  return { statement, table, index, stored, included, question, plan, ...blocks };
}

/** The columns that an index would have to hold as well; undefined when they are none or too many. */
function lackingColumns(
  index: IndexEntry,
  columns: readonly Column[],
  { virtual }: Storage,
): Column[] | undefined {
  if (index.method !== "btree" || !index.isUsable || index.isPartitioned) return undefined;
  const held = new Set([...index.keys.map(({ column }) => column), ...index.included]);
  const lacking = columns.filter(({ number }) => !held.has(number));
  const isPossible = lacking.every(({ number }) => !virtual.includes(number));
  return isPossible && lacking.length > 0 && lacking.length <= mostIncluded ? lacking : undefined;
}

/** The columns, when they are few and narrow enough to be included. */
export function fitting(columns: readonly Column[]): Column[] | undefined {
  const width = columns.reduce((sum, one) => sum + (one.width ?? widestIncludedBytes + 1), 0);
  const areShort = columns.every(
    ({ type, toastable, width: bytes }) =>
      !toastable || (shortTypes.test(type) && (bytes ?? 0) <= widestTextBytes),
  );
  return columns.length <= mostIncluded && width <= widestIncludedBytes && areShort
    ? [...columns]
    : undefined;
}

/** Another index with these keys holds them all, and the planner does not use it: nor would it use one more. */
function isCoveredAnyway(index: IndexEntry, table: Table, columns: readonly Column[]): boolean {
  return table.indexes.some((other) => {
    if (!other.isUsable || other.method !== "btree" || other.predicate !== index.predicate) return false;
    const held = new Set([...other.keys.map(({ column }) => column), ...other.included]);
    return (
      index.keys.every((key, at) => {
        const same = other.keys[at];
        return same?.column === key.column && same.expression === key.expression;
      }) && columns.every(({ number }) => held.has(number))
    );
  });
}

interface Scan {
  index: string;
  /** Rows that the index finds, by the planner's estimate; undefined when it only tells those that a filter leaves. */
  rows: number | undefined;
  isFiltered: boolean;
}

/** The one scan of a plan, when it goes by one index and then to the table. */
function indexScan(plan: PlanNode): Scan | undefined {
  const [scan, ...others] = nodesOf(plan).filter((node) => node["Relation Name"] !== undefined);
  if (scan === undefined || others.length > 0) return undefined;
  const isFiltered = scan.Filter !== undefined;
  if (scan["Node Type"] === "Index Scan" && scan["Index Name"] !== undefined) {
    return { index: scan["Index Name"], rows: isFiltered ? undefined : scan["Plan Rows"], isFiltered };
  }
  const [bitmap] = scan.Plans ?? [];
  if (scan["Node Type"] !== "Bitmap Heap Scan" || bitmap?.["Index Name"] === undefined) return undefined;
  return { index: bitmap["Index Name"], rows: bitmap["Plan Rows"], isFiltered };
}

/**
 * Blocks that a call touches, and would touch in the index alone. How many rows it finds is counted where each becomes
 * a row of the result, else the planner's estimate; unknown behind a filter, where they are at most those that the
 * blocks hold.
 */
function blocksOf(
  { facts, total, ...statement }: Parsed,
  scan: Scan,
  table: Table,
  indexBytes: number,
  { visibleShare }: Storage,
  blockBytes: number,
): { blocksNow: number; blocksThen: number } | undefined {
  // Each row that the index finds becomes a row of the result.
  const isCounted =
    !scan.isFiltered &&
    facts.scopes.every(
      ({ limit, grouped, aggregated, distinct }) => !limit && !grouped && !aggregated && !distinct,
    );
  const counted = blocksPerCall({ ...statement, total });
  const tablePages = Math.max(1, table.entry?.pages ?? 1);
  const found = isCounted ? total.rows / Math.max(1, total.calls) : scan.rows;
  // What was counted may be from before the index was there: each row is in one block.
  const blocksNow = found === undefined ? counted : Math.min(counted, found + descentBlocks);
  const rows = Math.min(rowsOf(table), found ?? (counted * rowsOf(table)) / tablePages);
  const leaves = Math.ceil((rows * indexBytes) / Math.max(1, rowsOf(table)) / blockBytes);
  const blocksThen = descentBlocks + leaves + (1 - visibleShare) * blocksNow;
  const isWorth = blocksNow - blocksThen >= fewestSavedBlocks && blocksThen <= blocksNow * worthwhileShare;
  return isWorth ? { blocksNow, blocksThen } : undefined;
}

export function bytesOf(index: IndexEntry, table: Table, included: readonly Column[]): number {
  const keys = table.columns.filter(({ number }) => index.keys.some(({ column }) => column === number));
  return estimatedBytes({ columns: [...keys, ...included], descending: [] }, rowsOf(table));
}
