import { blocksPerCall, type Parsed, type Seen } from "./common.ts";
import { isPlan, plannable, planOf, planText, scansOf } from "./explain.ts";
import { rowsOf, type Table } from "./tables.ts";

/** Smaller tables are read as a whole, and well so. */
const smallestRows = 10_000;
const smallestPages = 100;
/** Each call touches at least half as many blocks as the table has. */
const wholeShare = 0.5;
/** Less of it may be an accident. */
const fewestCalls = 10;

export function isLarge(table: Table): boolean {
  return rowsOf(table) >= smallestRows && (table.entry?.pages ?? 0) >= smallestPages;
}

/**
 * What shows that a statement reads this table as a whole: the blocks that each call has touched, as counted; and its
 * plan, where it can be planned. Undefined when it does not.
 */
export async function wholeScan(
  { context, tables }: Seen,
  statement: Parsed,
  table: Table,
): Promise<{ blocksPerCall: number; tablePages: number; plan?: string } | undefined> {
  if (!isLarge(table) || statement.total.calls < fewestCalls) return undefined;
  const pages = table.entry?.pages ?? 0;
  const blocks = blocksPerCall(statement);
  if (blocks < pages * wholeShare) return undefined;
  const counted = { blocksPerCall: Math.round(blocks), tablePages: pages };
  const question = plannable(statement, tables);
  if (question === undefined) return counted;
  const plan = await planOf(context.session, question);
  if (!isPlan(plan)) return counted;
  const isWhole = scansOf(plan, table, tables).some((node) => node["Node Type"] === "Seq Scan");
  return isWhole ? { ...counted, plan: planText(plan) } : undefined;
}
