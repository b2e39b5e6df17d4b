import { qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { readForeignKeys } from "../constraints/foreign-keys.ts";
import type { ReviewContext } from "../review-check.ts";
import type { Seen } from "../workload/common.ts";
import type { IndexUses, Use, Uses, VisibleCondition } from "../workload/index-uses.ts";
import { type IndexCatalogue, type IndexEntry, isIndispensable } from "./catalogue.ts";
import { FreeNames } from "./creations.ts";
import { readDroppings } from "./definitions.ts";
import { supporting } from "./foreign-key-cover.ts";
import { type PartialDefinition, partialDefinition } from "./partial-definition.ts";
import {
  type ColumnShares,
  mostTables,
  predicateOf,
  rareShare,
  readReaders,
  shareOf,
} from "./partial-rows.ts";
import { judgedAlready } from "./redundant-indexes.ts";
import type { TableEntry, Tables } from "./tables.ts";
import { unreadIndexes } from "./unused-indexes.ts";

export interface PartialLimits {
  leastRows: number;
  /** As with the other checks of indexes: less gains nothing. */
  leastBytes: number;
  /** Statements that were counted for less are not all that there are. */
  shortestDays: number;
}

/** What nobody calls says nothing about what the index is for. */
const fewestCalls = 10;

/** An index with the conditions that all who use it have. */
export interface Candidate {
  index: IndexEntry;
  table: TableEntry;
  uses: Uses;
  conditions: VisibleCondition[];
}

/** An index, and what replaces it. */
export interface Opportunity extends Candidate {
  condition: VisibleCondition;
  shares: ColumnShares;
  share: number;
  columns: string[];
  definition: PartialDefinition;
  up: string[];
  down: string[];
  /** Why a statement may be missing that needs the other rows. */
  doubts: string[];
  /** Updates of the condition's column could be HOT so far. */
  newlyIndexed: boolean;
  plan?: { now: string; withIndex?: string };
}

/** Those that nothing but queries needs, of some size, and that no other check advises about. */
export async function wholeIndexes(
  context: ReviewContext,
  { indexes }: IndexCatalogue,
  tables: Tables,
  { leastRows, leastBytes }: PartialLimits,
): Promise<IndexEntry[]> {
  const judged = await judgedAlready(context);
  const unread = await unreadIndexes(context);
  return indexes.filter((index) => {
    const table = tables.byOid.get(index.tableOid);
    return (
      table?.kind === "r" &&
      table.parent === null &&
      table.rows >= leastRows &&
      index.pages * tables.blockBytes >= leastBytes &&
      index.isUsable &&
      index.method === "btree" &&
      !index.isUnique &&
      !isIndispensable(index) &&
      index.predicate === null &&
      index.keys.every(({ expression }) => expression === null) &&
      !judged.has(index.oid) &&
      !unread.has(index.oid)
    );
  });
}

/** Names of the key columns of each, in their order. */
export async function readColumns(
  { session }: ReviewContext,
  indexes: readonly IndexEntry[],
): Promise<Map<number, string[]>> {
  if (indexes.length === 0) return new Map();
  const rows = await session.query<{ oid: number; columns: string[] }>(
    `select x.indexrelid::int8 as oid, array_agg(a.attname::text order by k.place) as columns
       from pg_index x
      cross join lateral unnest(x.indkey::int2[]) with ordinality as k(number, place)
       join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.number
      where x.indexrelid = any($1::oid[]) and k.place <= x.indnkeyatts
      group by x.indexrelid`,
    [indexes.map(({ oid }) => oid)],
  );
  return new Map(rows.map(({ oid, columns }) => [oid, columns]));
}

export function candidatesOf(
  indexes: readonly IndexEntry[],
  columns: ReadonlyMap<number, string[]>,
  tables: Tables,
  users: IndexUses | undefined,
): Candidate[] {
  return indexes.flatMap((index) => {
    const table = tables.byOid.get(index.tableOid);
    const names = columns.get(index.oid);
    if (table === undefined || names === undefined) return [];
    const uses = users?.of(index, names) ?? { uses: [], doubtful: [], unclear: [] };
    if (uses.unclear.length > 0) return [];
    const conditions = conditionsOfAll(index, uses.uses);
    return conditions.length === 0 ? [] : [{ index, table, uses, conditions }];
  });
}

/** What is true of every row that any of these statements reads by the index. */
function conditionsOfAll(index: IndexEntry, uses: readonly Use[]): VisibleCondition[] {
  const column = index.keys[0]?.column ?? 0;
  const [first, ...others] = uses;
  if (first === undefined) {
    return (["is not null", "is true", "is false"] as const).map((operator) => ({ column, operator }));
  }
  const calls = new Map(
    uses.filter(({ searches }) => searches).map(({ statement }) => [statement, statement.total.calls]),
  );
  const enough = [...calls.values()].reduce((sum, one) => sum + one, 0) >= fewestCalls;
  return [...first.visible.entries()]
    .filter(([name]) => others.every(({ visible }) => visible.has(name)))
    .map(([, condition]) => condition)
    .filter((condition) => enough || condition.column === column);
}

type Rare = Candidate & Pick<Opportunity, "condition" | "shares" | "share">;

/** The condition that leaves the fewest rows, where one leaves few. */
export function rarest(
  candidates: readonly Candidate[],
  all: readonly ColumnShares[],
  catalogue: IndexCatalogue,
  seen: Seen | undefined,
): Rare[] {
  const known = new Map(all.map((one) => [`${one.oid} ${one.number}`, one]));
  return candidates.flatMap((candidate) => {
    const { index, uses, conditions } = candidate;
    const [best] = conditions
      .flatMap((condition) => {
        const shares = known.get(`${index.tableOid} ${condition.column}`);
        const share = shares === undefined ? undefined : shareOf(condition, shares);
        if (shares === undefined || share === undefined || share > rareShare) return [];
        // An index of no rows, that nobody asks for either: it is not this that is wrong with it.
        if (share === 0 && uses.uses.length === 0) return [];
        return losesHot(condition, shares, candidate, catalogue, seen)
          ? []
          : [{ ...candidate, condition, shares, share }];
      })
      .sort((a, b) => a.share - b.share);
    return best === undefined ? [] : [best];
  });
}

/**
 * A column in a predicate counts as indexed: updates that set it can be HOT no more (`RelationGetIndexAttrBitmap()`),
 * which costs an entry in every index of the table. Where most updates were HOT, and some set it, the gain is none.
 */
function losesHot(
  condition: VisibleCondition,
  { column }: ColumnShares,
  { index, table }: Candidate,
  catalogue: IndexCatalogue,
  seen: Seen | undefined,
): boolean {
  if (seen === undefined || isIndexed(condition, index, catalogue)) return false;
  const isSet = seen.workload.statements.some(
    ({ facts }) =>
      facts?.kind === "update" && facts.target?.name === index.table && facts.assigned.includes(column),
  );
  return isSet && table.hotUpdated * 2 >= table.updated;
}

/** Whether any index of the table, this one included, has the column already. */
function isIndexed(
  { column }: VisibleCondition,
  { tableOid }: IndexEntry,
  { byTable }: IndexCatalogue,
): boolean {
  const inTree = new RegExp(`:varattno ${column} `);
  return (byTable.get(tableOid) ?? []).some(
    ({ keys, included, predicate }) =>
      included.includes(column) ||
      keys.some((key) => key.column === column || (key.expression !== null && inTree.test(key.expression))) ||
      (predicate !== null && inTree.test(predicate)),
  );
}

/** With the statements that replace each, unless a view over its table is read, which may need the other rows. */
export async function defined(
  context: ReviewContext,
  rare: readonly Rare[],
  columns: ReadonlyMap<number, string[]>,
  catalogue: IndexCatalogue,
  tables: Tables,
  users: IndexUses | undefined,
): Promise<{ found: Opportunity[]; locked: number }> {
  const asked = [...new Set(rare.map(({ index }) => index.tableOid))];
  const unsearched = new Set(asked.slice(mostTables));
  const readers = await readReaders(context, asked);
  const read = new Set(
    readers.flatMap(({ oid, name, kind }) =>
      kind === "relation" && users?.isNamed(name) === true ? [oid] : [],
    ),
  );
  const left = rare.filter(({ index }) => !read.has(index.tableOid));
  const keys = left.length === 0 ? new Set<number>() : supporting(await readForeignKeys(context), catalogue);
  // A look-up of a foreign key implies that its column is not null, and nothing else.
  const free = left.filter(
    ({ index, condition: { column, operator } }) =>
      !keys.has(index.oid) || (operator === "is not null" && column === index.keys[0]?.column),
  );
  const droppings = await readDroppings(
    context,
    catalogue,
    free.map(({ index }) => index),
  );
  const names = free.length === 0 ? undefined : new FreeNames(catalogue, tables);
  const found = free.flatMap((one): Opportunity[] => {
    const { index, condition, shares } = one;
    const dropping = droppings.get(index.oid)?.fix;
    const [definition] = dropping?.down ?? [];
    if (dropping === undefined || definition === undefined || names === undefined) return [];
    const name = names.give(index.schema, index.table, [...(columns.get(index.oid) ?? []), "part"]);
    const made = partialDefinition(
      definition,
      name,
      predicateOf(condition, shares),
      constantKey(index, condition),
    );
    if (made === undefined) return [];
    const functions = readers.filter(({ oid, kind }) => kind === "function" && oid === index.tableOid);
    return [
      {
        ...one,
        columns: columns.get(index.oid) ?? [],
        definition: made,
        up: [made.statement, ...dropping.up],
        down: [...dropping.down, `DROP INDEX CONCURRENTLY ${qualified(index.schema, name)};`],
        doubts: [
          ...(functions.length === 0
            ? []
            : [
                `${countText(functions.length, "function")} with this table's name in the source: ${functions[0]?.name}`,
              ]),
          ...(unsearched.has(index.tableOid) ? ["functions were not searched for so many tables"] : []),
        ],
        newlyIndexed: !isIndexed(condition, index, catalogue),
      },
    ];
  });
  return { found, locked: free.length - found.length };
}

/** Place of a key column that is the same in all rows of the new index. */
function constantKey({ keys }: IndexEntry, { column, operator }: VisibleCondition): number | undefined {
  if (keys.length === 1 || operator === "is not null") return undefined;
  const place = keys.findIndex((key) => key.column === column);
  return place === -1 ? undefined : place;
}
