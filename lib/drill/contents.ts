import { setTimeout as delay } from "node:timers/promises";
import type { Session } from "../ports/databases.ts";
import { readCounters, readTables, type TableFacts, tableKey, tableText } from "./catalog.ts";
import {
  compareTables,
  listProblems,
  type PrimaryNow,
  type PrimaryTable,
  type RestoredTable,
  type TableComparison,
  type TableVerdict,
} from "./compare.ts";
import { countObjects, type Manifest, type ManifestTable } from "./manifest.ts";
import type { ProofCollector } from "./proof.ts";
import type { Stretch } from "./stretch.ts";

export interface ContentsRequest {
  manifest: Manifest;
  restored: Session;
  primary: Session | undefined;
  proofs: ProofCollector;
  stretch: Stretch;
  patienceMilliseconds: number;
  signal?: AbortSignal;
}

/** Compares the restored tables with the manifest. Resolves to how many were proved. @throws Interrupted */
export async function proveContents(request: ContentsRequest): Promise<number> {
  const { manifest, restored, primary, proofs, stretch } = request;
  const { problems } = await stretch.over(
    "contents",
    groupsOf(manifest.tables),
    ([first, ...others]) =>
      `table ${first?.schema}.${first?.name}${others.length === 0 ? "" : ` and ${others.length} after it`}`,
    (tables) => proveGroup({ ...request, manifest: { ...manifest, tables } }),
    [restored, primary],
  );
  const [byContents, byRows, bounded, failed] = countNames.map((name) => stretch.count(name, 0));
  const proved = (byContents ?? 0) + (byRows ?? 0) + (bounded ?? 0);
  if (failed !== undefined && failed > 0) {
    proofs.add("contents", false, `table ${listProblems(problems, failed)}`);
  } else if (proved > 0 || manifest.tables.length === 0) {
    const parts = [`${byContents} tables have the same contents`];
    if (byRows !== 0) parts.push(`${byRows} the same number of rows`);
    if (bounded !== 0) parts.push(`${bounded} changed since, within what the changes allow`);
    proofs.add("contents", true, parts.join(", "));
  } else {
    proofs.notAssessable("contents: no table could be compared");
  }
  await proveObjects(request);
  return proved;
}

const countNames = ["contents", "rows", "bounds", "failed"] as const;

/** Tables that are compared together: the primary's statistics are read once for each group. */
const groupTables = 50;
const groupRows = 1_000_000;

function groupsOf(tables: readonly ManifestTable[]): ManifestTable[][] {
  const groups: ManifestTable[][] = [];
  let rows = Number.POSITIVE_INFINITY;
  for (const table of tables) {
    const more = Math.max(0, table.rows ?? table.estimatedRows);
    const group = groups.at(-1);
    if (group === undefined || group.length >= groupTables || rows + more > groupRows) {
      groups.push([table]);
      rows = more;
    } else {
      group.push(table);
      rows += more;
    }
  }
  return groups;
}

/** Resolves to what is wrong with these tables. */
async function proveGroup(request: ContentsRequest): Promise<string[]> {
  const { manifest, restored, primary, stretch } = request;
  const found = await readRestored(restored, manifest, stretch);
  const now = primary === undefined ? undefined : await readPrimary(primary);
  const comparisons = await settleSuspects(request, found, compareTables(manifest, found, now));
  const problems: string[] = [];
  for (const { schema, name, verdict } of comparisons) {
    if (verdict.kind === "failed" || verdict.kind === "suspect") {
      stretch.count("failed", 1);
      problems.push(`${tableText({ schema, name })}: ${verdict.reason}`);
    } else if (verdict.kind === "not-assessable") {
      stretch.looks.notAssessable(`table ${schema}.${name}: ${verdict.reason}`);
    } else if (verdict.kind === "within-bounds") stretch.count("bounds", 1);
    else stretch.count(verdict.by, 1);
  }
  return problems;
}

async function readRestored(
  session: Session,
  manifest: Manifest,
  stretch: Stretch,
): Promise<Map<string, RestoredTable>> {
  const wanted = new Map(manifest.tables.map((table) => [tableKey(table), table]));
  const found = new Map<string, RestoredTable>();
  for (const facts of await readTables(session)) {
    const expected = wanted.get(tableKey(facts));
    if (expected === undefined) continue;
    const { schema, name, columns } = facts;
    const contents = await stretch.looks.attempt(`table ${tableText(facts)}`, () =>
      stretch.fitting(() => readLike(session, facts, expected)),
    );
    found.set(tableKey(facts), { schema, name, columns, ...contents });
  }
  return found;
}

/** Reads as much of a table as the manifest has of it. */
async function readLike(
  session: Session,
  { oid }: Pick<TableFacts, "oid">,
  expected: ManifestTable,
): Promise<{ rows?: number; hash?: string }> {
  if (expected.hash !== undefined) {
    const [row] = await session.query<{ hash: string }>("select pgkeep.table_hash($1::oid) as hash", [oid]);
    return row === undefined ? {} : { hash: row.hash, rows: Number(row.hash.split(":")[0]) };
  }
  if (expected.rows === undefined) return {};
  const [row] = await session.query<{ rows: number }>("select pgkeep.table_rows($1::oid) as rows", [oid]);
  return row === undefined ? {} : { rows: row.rows };
}

async function readPrimary(session: Session): Promise<PrimaryNow> {
  const tables = await readTables(session);
  const counters = await readCounters(session);
  return {
    transactionsCommitted: counters.transactionsCommitted,
    tables: new Map(
      tables.map(({ oid, schema, name, filenode, columns }): [string, PrimaryTable] => {
        const { inserted, updated, deleted } = counters.tables.get(oid) ?? {
          inserted: 0,
          updated: 0,
          deleted: 0,
        };
        return [
          tableKey({ schema, name }),
          { oid, schema, name, filenode, columns, inserted, updated, deleted },
        ];
      }),
    ),
  };
}

/**
 * Statistics reach the server's totals up to a minute after the commit, on 14 only with the session's next
 * statement. So before a table is called wrong, they get some time, and the primary's own rows are looked at:
 * they tell whether the totals can be believed.
 */
async function settleSuspects(
  request: ContentsRequest,
  found: ReadonlyMap<string, RestoredTable>,
  first: TableComparison[],
): Promise<TableComparison[]> {
  const { manifest, primary, patienceMilliseconds, signal } = request;
  if (primary === undefined) return first;
  const settle = async (comparisons: TableComparison[], last: boolean) => {
    for (const comparison of comparisons) {
      if (comparison.verdict.kind === "suspect") {
        comparison.verdict = await askPrimary(primary, manifest, found, comparison, last);
      }
    }
    return comparisons.some(({ verdict }) => verdict.kind === "suspect");
  };
  let comparisons = first;
  const deadline = Date.now() + patienceMilliseconds;
  for (let undecided = await settle(comparisons, false); undecided; ) {
    if (Date.now() >= deadline) {
      await settle(comparisons, true);
      return comparisons;
    }
    await delay(Math.min(1_000, patienceMilliseconds), undefined, signal === undefined ? {} : { signal });
    const previous = new Map(comparisons.map((comparison) => [tableKey(comparison), comparison]));
    comparisons = compareTables(manifest, found, await readPrimary(primary)).map((comparison) => {
      const before = previous.get(tableKey(comparison));
      return before === undefined || before.verdict.kind === "suspect" ? comparison : before;
    });
    undecided = comparisons.some(({ verdict }) => verdict.kind === "suspect");
  }
  return comparisons;
}

/** What the primary's own contents say about a suspect. `last`: no later statistics will come. */
async function askPrimary(
  primary: Session,
  manifest: Manifest,
  found: ReadonlyMap<string, RestoredTable>,
  { schema, name, verdict }: TableComparison,
  last: boolean,
): Promise<TableVerdict> {
  if (verdict.kind !== "suspect") return verdict;
  const key = tableKey({ schema, name });
  const expected = manifest.tables.find((table) => tableKey(table) === key);
  const restored = found.get(key);
  const facts = (await readTables(primary)).find((table) => tableKey(table) === key);
  if (expected === undefined || restored === undefined) return verdict;
  if (facts === undefined)
    return { kind: "not-assessable", reason: "it was dropped since the restored moment" };
  const now = await readLike(primary, facts, expected);
  const by = expected.hash === undefined ? "rows" : "contents";
  const sameAs = (other: { rows?: number; hash?: string }) =>
    by === "rows" ? now.rows === other.rows : now.hash === other.hash;
  if (sameAs(restored)) return { kind: "identical", by };
  if (!last) return verdict;
  const believable =
    verdict.bounds === undefined
      ? sameAs(expected)
      : now.rows !== undefined && now.rows >= verdict.bounds.least && now.rows <= verdict.bounds.most;
  return believable
    ? { kind: "failed", reason: verdict.reason }
    : { kind: "not-assessable", reason: "the primary changed it without its statistics saying so" };
}

/** As many indexes, constraints and sequences as before, when their number has not changed on the primary either. */
async function proveObjects({ manifest, restored, primary, proofs }: ContentsRequest): Promise<void> {
  const before = {
    indexes: manifest.indexes,
    constraints: manifest.constraints,
    sequences: manifest.sequences,
  };
  const now = primary === undefined ? undefined : await countObjects(primary);
  const there = await countObjects(restored);
  const wrong: string[] = [];
  let compared = 0;
  for (const kind of ["indexes", "constraints", "sequences"] as const) {
    if (there[kind] === before[kind]) compared++;
    else if (now !== undefined && now[kind] === before[kind])
      wrong.push(`${there[kind]} ${kind} instead of ${before[kind]}`);
    else proofs.notAssessable(`number of ${kind}: it changed since the backup`);
  }
  if (wrong.length > 0) proofs.add("objects", false, wrong.join(", "));
  else if (compared > 0) {
    proofs.add(
      "objects",
      true,
      `${there.indexes} indexes, ${there.constraints} constraints, ${there.sequences} sequences`,
    );
  }
}
