import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Confidence } from "../check.ts";
import { readForeignKeys } from "../constraints/foreign-keys.ts";
import { whyStatisticsAreMissing } from "../constraints/hidden-statistics.ts";
import { nodesOf } from "../generic-plan.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { isMissing, type Seen, statementEvidence, workloadObstacle } from "../workload/common.ts";
import { lookupOf, plannable, planText } from "../workload/explain.ts";
import {
  IndexUses,
  nameOfCondition,
  type Use,
  type Uses,
  type VisibleCondition,
} from "../workload/index-uses.ts";
import { proveIndex } from "../workload/proofs.ts";
import { firstPlan, type Planned } from "../workload/proposals.ts";
import { applicationStatements } from "../workload/resolve.ts";
import { workloadOf } from "../workload/statements.ts";
import { tablesOf } from "../workload/tables.ts";
import { type IndexCatalogue, type IndexEntry, isIndispensable, readIndexCatalogue } from "./catalogue.ts";
import { FreeNames } from "./creations.ts";
import { readDroppings } from "./definitions.ts";
import { supporting } from "./foreign-key-cover.ts";
import { type PartialDefinition, partialDefinition } from "./partial-definition.ts";
import { type ColumnShares, predicateOf, readReaders, readShares, shareOf } from "./partial-rows.ts";
import { judgedAlready } from "./redundant-indexes.ts";
import { readTables, type TableEntry, type Tables } from "./tables.ts";
import { unreadIndexes } from "./unused-indexes.ts";
import { largest, sizeSeverity, writesOf } from "./weigh.ts";

export interface PartialLimits {
  leastRows: number;
  /** As with the other checks of indexes: less gains nothing. */
  leastBytes: number;
  /** Statements that were counted for less are not all that there are. */
  shortestDays: number;
}

/**
 * Four fifths of the entries are nobody's, or more (`null_indexes` of Heroku's pg-extras lists the same indexes by
 * `null_frac`, whatever queries say).
 */
const rareShare = 0.2;
/** What nobody calls says nothing about what the index is for. */
const fewestCalls = 10;
/** Plans that are asked for, of the largest indexes, and milliseconds for them. */
const mostPlans = 20;
const mostMilliseconds = 2_000;
const daySeconds = 86_400;

interface Candidate {
  index: IndexEntry;
  table: TableEntry;
  uses: Uses;
  conditions: VisibleCondition[];
}

interface Opportunity extends Candidate {
  condition: VisibleCondition;
  shares: ColumnShares;
  share: number;
  columns: string[];
  definition: PartialDefinition;
  up: string[];
  down: string[];
  /** Why a statement may be missing that needs the other rows. */
  doubts: string[];
  plan?: { now: string; withIndex?: string };
}

/**
 * B-trees of all rows that could be of a few: their first column is null (or one of two truths) in most rows, which no
 * statement looks for; or every statement that they serve has one and the same condition, which few rows fulfil.
 * Constants are parameters to pg_stat_statements: conditions that can be seen are `IS NULL`, `IS NOT NULL`, a boolean
 * column and its negation. Indexes of partitions are left alone, as nobody drops one of them.
 */
export function partialIndexesBeyond(limits: PartialLimits): ReviewCheck {
  return {
    name: "partial-index-candidates",
    title: "Are there indexes of all rows of which only a few are looked for?",
    area: "indexes",
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const whole = await wholeIndexes(context, catalogue, tables, limits);
      const workload = await workloadOf(context);
      const seen: Seen | undefined = isMissing(workload)
        ? undefined
        : {
            context,
            workload,
            tables: await tablesOf(context, workload),
            statements: applicationStatements(workload),
          };
      const columns = await readColumns(context, whole);
      const candidates = candidatesOf(whole, columns, tables, seen);
      const shares = await readShares(
        context,
        candidates.flatMap(({ index, conditions }) => conditions.map(({ column }) => ({ index, column }))),
      );
      const rare = largest(rarest(candidates, shares, catalogue, seen), ({ index }) => index.pages);
      const { found, locked } = await defined(context, rare, columns, catalogue, tables, seen);
      const doubts = await doubtsOf(context, seen, isMissing(workload) ? workload.reason : undefined, limits);
      for (const one of found) one.doubts.push(...doubts);
      const left = seen === undefined ? found : await planned(seen, found);
      const obstacles = [
        isMissing(workload)
          ? `which rows statements look for is not known: ${workload.reason}`
          : workloadObstacle(workload, seen?.statements ?? []),
        await whyStatisticsAreMissing(context, limits.leastRows),
        locked === 0 ? undefined : `${countText(locked, "index", "indexes")} could not be read for a lock`,
      ].filter((one) => one !== undefined);
      return concludeReview({
        facts: { indexesOfAllRows: whole.length, withFewRows: rare.length },
        findings: left.map((one) => finding(one, tables, seen)),
        obstacle: obstacles.length === 0 ? undefined : obstacles.join("; "),
        good: whole.length > 0 ? ["No large index is kept for a few of its rows."] : [],
      });
    },
  };
}

export const partialIndexCandidates = partialIndexesBeyond({
  leastRows: 100_000,
  leastBytes: 2 ** 20,
  shortestDays: 7,
});

/** Those that nothing but queries needs, of some size, and that no other check advises about. */
async function wholeIndexes(
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
async function readColumns(
  { session }: ReviewContext,
  indexes: readonly IndexEntry[],
): Promise<Map<number, string[]>> {
  if (indexes.length === 0) return new Map();
  // An index has a column for each of its own, in their order; those of INCLUDE come last.
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

function candidatesOf(
  indexes: readonly IndexEntry[],
  columns: ReadonlyMap<number, string[]>,
  tables: Tables,
  seen: Seen | undefined,
): Candidate[] {
  const users = seen === undefined ? undefined : new IndexUses(seen);
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
function rarest(
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
 * which costs an entry in every index of the table. Where that was what most updates were, the gain is none.
 */
function losesHot(
  { column }: VisibleCondition,
  shares: ColumnShares,
  { index, table }: Candidate,
  { byTable }: IndexCatalogue,
  seen: Seen | undefined,
): boolean {
  const inTree = new RegExp(`:varattno ${column} `);
  const isIndexed = (byTable.get(index.tableOid) ?? []).some(
    ({ keys, included, predicate }) =>
      included.includes(column) ||
      keys.some((key) => key.column === column || (key.expression !== null && inTree.test(key.expression))) ||
      (predicate !== null && inTree.test(predicate)),
  );
  if (isIndexed || seen === undefined) return false;
  const isSet = seen.workload.statements.some(
    ({ facts }) =>
      facts?.kind === "update" &&
      facts.target?.name === index.table &&
      facts.assigned.includes(shares.column),
  );
  return isSet && table.hotUpdated * 2 >= table.updated;
}

/** With the statements that replace each, unless a view over its table is read, which may need the other rows. */
async function defined(
  context: ReviewContext,
  rare: readonly Rare[],
  columns: ReadonlyMap<number, string[]>,
  catalogue: IndexCatalogue,
  tables: Tables,
  seen: Seen | undefined,
): Promise<{ found: Opportunity[]; locked: number }> {
  const readers = await readReaders(context, [...new Set(rare.map(({ index }) => index.tableOid))]);
  const users = seen === undefined ? undefined : new IndexUses(seen);
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
        doubts:
          functions.length === 0
            ? []
            : [
                `${countText(functions.length, "function")} with this table's name in the source: ${functions[0]?.name}`,
              ],
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

/** Why statements may be missing that look for the other rows. */
async function doubtsOf(
  { session }: ReviewContext,
  seen: Seen | undefined,
  missing: string | undefined,
  { shortestDays }: PartialLimits,
): Promise<string[]> {
  if (seen === undefined) return [`statements could not be read: ${missing}`];
  const { seconds, evictions, facts } = seen.workload;
  const unread = facts.hidden + facts.withoutText + facts.tooLong + facts.unparsed;
  const [standby] = await session.query<{ self: boolean; connected: number }>(
    "select pg_is_in_recovery() as self, (select count(*)::int from pg_stat_replication) as connected",
  );
  return [
    ...(unread === 0 ? [] : [`${countText(unread, "statement")} could not be read`]),
    ...(evictions === 0 ? [] : ["statements may have been evicted from pg_stat_statements"]),
    ...(seconds !== null && seconds >= shortestDays * daySeconds
      ? []
      : [`statements are counted for less than ${shortestDays} days`]),
    ...(standby?.self === true || (standby?.connected ?? 0) > 0
      ? ["the statements of the other servers were not read"]
      : []),
  ];
}

/**
 * With the plan of the costliest statement as it is, and with the index that hypopg pretends beside the old one; without
 * what some statement reads by the old one in another way.
 */
async function planned(seen: Seen, found: readonly Opportunity[]): Promise<Opportunity[]> {
  const { context } = seen;
  const until = context.budget.left() - mostMilliseconds;
  const isInTime = () => context.budget.left() > Math.max(0, until);
  const left: Opportunity[] = [];
  for (const one of found) {
    const name = nameOfCondition(one.condition);
    const others = one.uses.doubtful.filter(({ visible }) => !visible.has(name));
    if (await isReadBy(others, one, seen, isInTime)) continue;
    left.push(one);
    if (left.length <= mostPlans && isInTime()) await addPlan(one, seen);
  }
  return left;
}

/** Whether a plan of one of them reads the index; what cannot be planned may. */
async function isReadBy(
  uses: readonly Use[],
  { index }: Opportunity,
  seen: Seen,
  isInTime: () => boolean,
): Promise<boolean> {
  for (const use of uses) {
    const asked = isInTime() ? await planOfUse(use, seen) : undefined;
    if (asked === undefined) return true;
    if (nodesOf(asked.plan).some((node) => node["Index Name"] === index.index)) return true;
  }
  return false;
}

function planOfUse(
  { statement, table, conditions }: Use,
  { context, tables }: Seen,
): Promise<Planned | undefined> {
  return firstPlan(context.session, [plannable(statement, tables), lookupOf(table, conditions)]);
}

async function addPlan(one: Opportunity, seen: Seen): Promise<void> {
  const { session, extensions } = seen.context;
  const hypopg = extensions.get("hypopg");
  const use = costliest(one.uses.uses);
  const asked = use === undefined ? undefined : await planOfUse(use, seen);
  if (use === undefined || asked === undefined) return;
  one.plan = { now: planText(asked.plan) };
  if (hypopg === undefined) return;
  const { question, plan } = asked;
  const proof = await proveIndex(session, hypopg.schema, question, plan, use.table, one.definition.body);
  if (proof !== undefined) one.plan.withIndex = planText(proof.after);
  else one.doubts.push("hypopg did not show that the planner prefers it to the old index");
}

function costliest(uses: readonly Use[]): Use | undefined {
  return uses
    .filter(({ searches }) => searches)
    .sort((a, b) => b.statement.total.execMilliseconds - a.statement.total.execMilliseconds)[0];
}

function finding(one: Opportunity, tables: Tables, seen: Seen | undefined): ReviewFinding {
  const { index, table, shares, share, condition, columns, uses, up, down, doubts, plan } = one;
  const { schema } = index;
  const name = qualified(schema, index.index);
  const predicate = predicateOf(condition, shares);
  const bytes = index.pages * tables.blockBytes;
  const saved = bytes * (1 - share);
  const percent = round(share * 100, 1);
  const writes = Math.round(writesOf(table) * (1 - share));
  const use = costliest(uses.uses);
  const statements = new Set(uses.uses.map(({ statement }) => statement));
  const isOwn = condition.column === index.keys[0]?.column;
  const confidence: Confidence = doubts.length === 0 ? "likely" : "suspected";
  const size = `${bytesText(bytes)} now, about ${bytesText(bytes * share)} then`;
  return {
    check: "partial-index-candidates",
    key: `partial-index-candidates/${schema}.${index.index}`,
    severity: sizeSeverity(saved),
    confidence,
    object: {
      schema,
      table: index.table,
      index: index.index,
      ...(columns.length === 1 ? { column: columns[0] as string } : {}),
    },
    title:
      statements.size === 0 || isOwn
        ? `${round(100 - percent, 1)} % of the entries of index ${name} are of rows that no statement finds by it`
        : `index ${name} has all rows, and its ${countText(statements.size, "statement")} want the ${percent} % with ${predicate}`,
    evidence: {
      rareRows: predicate,
      sharePercent: percent,
      rows: Math.round(table.rows),
      size: bytesText(bytes),
      savedBytes: Math.round(saved),
      entriesNotWritten: writes,
      scans: index.scans,
      statementsWithTheCondition: statements.size,
      ...(use === undefined || seen === undefined ? {} : statementEvidence(use.statement, seen.workload)),
      ...(plan === undefined ? {} : { planNow: plan.now }),
      ...(plan?.withIndex === undefined ? {} : { planWithIndex: plan.withIndex, provedBy: "hypopg" }),
      ...(doubts.length === 0 ? {} : { notCertainBecause: doubts }),
    },
    impact: `An index of these rows alone saves ${bytesText(saved)} on disk, in backups and in caches${writes === 0 ? ", and writes of other rows leave it alone" : `; ${countText(writes, "row version")} written since the statistics began would not have been entered`}.`,
    blastRadius: `writes to ${qualified(schema, index.table)}; a statement that looks for other rows by ${columns.map(identifier).join(", ")} would lose its index`,
    rootCause: "All rows were indexed to find a few of them.",
    prevention: "Index what queries look for: add the query's constant condition as WHERE of the index.",
    effort: "minutes",
    ...(use?.statement.origin === undefined ? {} : { origin: use.statement.origin }),
    remediation: {
      sql: up.join("\n"),
      lock: "SHARE UPDATE EXCLUSIVE on the table, in each of the two statements: reads and writes go on",
      rollback: down.join("\n"),
    },
    example: { before: down[0] as string, after: up[0] as string },
    fix: {
      up,
      down,
      proof: [
        `by the statistics ${predicate} holds for ${percent} % of the rows: ${size}`,
        statements.size === 0
          ? "no statement that was counted looks for rows by this index"
          : `${countText(statements.size, "statement")} that ${statements.size === 1 ? "uses" : "use"} its columns, each with a condition that implies ${predicate}`,
        ...(plan === undefined ? [] : [`now: ${plan.now}`]),
        ...(plan?.withIndex === undefined ? [] : [`with the index, by hypopg: ${plan.withIndex}`]),
      ],
    },
  };
}
