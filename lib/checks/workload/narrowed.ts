import { predicateOf, rareShare, readShares, shareOf } from "../indexes/partial-rows.ts";
import type { Parsed, Seen } from "./common.ts";
import { lookupOf, plannable, planText } from "./explain.ts";
import { readingsOf, type VisibleCondition } from "./index-uses.ts";
import { bodyOf, estimatedBytes, proveIndex } from "./proofs.ts";
import { firstPlan, type Proposal } from "./proposals.ts";
import { type Column, rowsOf, type Table } from "./tables.ts";

/**
 * The proposed index as one of few rows, where all its statements have one condition that few rows fulfil and that
 * pg_stat_statements leaves to be seen (`processed_at IS NULL`). With hypopg only when the planner uses it.
 */
export async function narrowed(proposal: Proposal, seen: Seen): Promise<Proposal> {
  const { table, candidate, statements } = proposal;
  const conditions = conditionsOfAll(proposal, seen);
  if (conditions.length === 0 || table.kind !== "r") return proposal;
  const wanted = { tableOid: table.oid, schema: table.schema, table: table.name };
  const shares = await readShares(
    seen.context,
    conditions.map(({ column }) => ({ index: wanted, column })),
  );
  const [best] = conditions
    .flatMap((condition) => {
      const column = shares.find(({ number }) => number === condition.column);
      const share = column === undefined ? undefined : shareOf(condition, column);
      if (column === undefined || share === undefined || share > rareShare) return [];
      return losesHot(column.column, condition.column, proposal, seen) ? [] : [{ condition, column, share }];
    })
    .sort((a, b) => a.share - b.share);
  if (best === undefined) return proposal;
  const { condition, column, share } = best;
  const places = candidate.columns.flatMap(({ number }, place) =>
    // In these rows it is the same: it finds none of them.
    number === condition.column && condition.operator !== "is not null" ? [] : [place],
  );
  const kept = places.length === 0 ? [0] : places;
  const fewer = {
    columns: kept.map((place) => candidate.columns[place] as Column),
    descending: kept.map((place) => candidate.descending[place] === true),
  };
  const rows = { where: predicateOf(condition, column), column: column.column, share };
  const body = `${bodyOf(fewer)} WHERE ${rows.where}`;
  if (!proposal.isProved) {
    const bytes = estimatedBytes(fewer, rowsOf(table) * share);
    return {
      ...proposal,
      candidate: fewer,
      rows,
      bytes,
      after: `${proposal.after}, of the rows ${rows.where}`,
    };
  }
  const { session, extensions } = seen.context;
  const hypopg = extensions.get("hypopg");
  const [costliest] = statements as [Parsed, ...Parsed[]];
  const [reading] = readingsOf(costliest, table, seen.tables);
  const asked = await firstPlan(session, [
    plannable(costliest, seen.tables),
    lookupOf(table, reading?.conditions ?? []),
  ]);
  if (hypopg === undefined || asked === undefined) return proposal;
  const proof = await proveIndex(session, hypopg.schema, asked.question, asked.plan, table, body);
  if (proof === undefined) return proposal;
  return { ...proposal, candidate: fewer, rows, bytes: proof.bytes, after: planText(proof.after) };
}

/** What is true wherever one of its statements reads the table. */
function conditionsOfAll({ table, statements }: Proposal, { tables }: Seen): VisibleCondition[] {
  const readings = statements.flatMap((statement) => readingsOf(statement, table, tables));
  const [first, ...others] = readings;
  return [...(first?.visible ?? [])]
    .filter(([name]) => others.every(({ visible }) => visible.has(name)))
    .map(([, condition]) => condition);
}

/** Whether updates of the column are HOT now, and would not be with the predicate. */
function losesHot(
  name: string,
  number: number,
  { table, candidate }: Proposal,
  { statements, tables }: Seen,
): boolean {
  const isIndexed = candidate.columns.some((column) => column.number === number) || hasIndexOf(table, number);
  return (
    !isIndexed &&
    statements.some(
      ({ facts }) =>
        facts.kind === "update" &&
        facts.target !== undefined &&
        tables.find(facts.target) === table &&
        facts.assigned.includes(name),
    )
  );
}

function hasIndexOf({ indexes }: Table, number: number): boolean {
  return indexes.some(
    ({ keys, included }) => included.includes(number) || keys.some(({ column }) => column === number),
  );
}
