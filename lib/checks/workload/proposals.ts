import type { Session } from "../../ports/databases.ts";
import type { PlanNode } from "../generic-plan.ts";
import { type Candidate, type Need, nameOfCandidate } from "./candidates.ts";
import type { Parsed, Seen } from "./common.ts";
import { isPlan, lookupOf, planOf, planText, type Question, scansOf } from "./explain.ts";
import { bodyOf, estimatedBytes, proveWithHypopg } from "./proofs.ts";
import { rowsOf, type Table } from "./tables.ts";

/** A plan must cost half of what it did, as with Dexter's `--min-cost-savings-pct 50` … */
const worthwhileShare = 0.5;
/** … and be worth it at all: about a hundred pages read. */
const smallestCost = 100;
/** By a plan alone: of so small a share of the rows, an index saves most of the pages. */
const selectiveShare = 0.05;
/** An index, and for which statements. */
export interface Proposal {
  table: Table;
  candidate: Candidate;
  statements: Parsed[];
  /** Of these rows alone, by the condition on this column. */
  rows?: { where: string; column: string; share: number };
  isProved: boolean;
  /** Of the costliest statement. */
  before: string;
  after: string;
  bytes: number;
}

/** The index that serves one statement best; undefined when none is worth it. */
export async function propose(
  { context: { session }, tables }: Seen,
  statement: Parsed,
  need: Need,
  { question, plan }: Planned,
  hypopg: string | undefined,
): Promise<Proposal | undefined> {
  const { table } = need;
  if (hypopg !== undefined && table.kind !== "p") {
    let best: Proposal | undefined;
    let bestCost = plan["Total Cost"] * worthwhileShare;
    if (plan["Total Cost"] < smallestCost) return undefined;
    for (const candidate of need.candidates) {
      const proof = await proveWithHypopg(session, hypopg, question, plan, table, candidate);
      // A column more must pay for itself.
      const cost = (proof?.after["Total Cost"] ?? Number.POSITIVE_INFINITY) * (best === undefined ? 1 : 1.1);
      if (proof === undefined || cost > bestCost) continue;
      bestCost = proof.after["Total Cost"];
      best = {
        table,
        candidate,
        statements: [statement],
        isProved: true,
        before: planText(plan),
        after: planText(proof.after),
        bytes: proof.bytes,
      };
    }
    return best;
  }
  const scans = scansOf(plan, table, tables);
  if (!scans.some((node) => node["Node Type"] === "Seq Scan") || plan["Total Cost"] < smallestCost)
    return undefined;
  return byPlan(session, statement, need, planText(plan));
}

/** A statement with its plan as it is now. */
export interface Planned {
  question: Question;
  plan: PlanNode;
}

/** The first of these that can be planned. */
export async function firstPlan(
  session: Session,
  questions: readonly (Question | undefined)[],
): Promise<Planned | undefined> {
  for (const question of questions) {
    if (question === undefined) continue;
    const plan = await planOf(session, question);
    if (isPlan(plan)) return { question, plan };
  }
  return undefined;
}

/** Without hypopg: the planner's own estimate of how few rows the candidate's columns leave. */
async function byPlan(
  session: Session,
  statement: Parsed,
  { table, conditions, candidates }: Need,
  before: string,
): Promise<Proposal | undefined> {
  let best: { candidate: Candidate; share: number } | undefined;
  for (const candidate of candidates) {
    const own = conditions.filter(({ column }) => candidate.columns.includes(column));
    const lookup = lookupOf(table, own);
    if (lookup === undefined) continue;
    const plan = await planOf(session, lookup);
    if (!isPlan(plan)) continue;
    const share = plan["Plan Rows"] / Math.max(1, rowsOf(table));
    if (share <= selectiveShare && (best === undefined || share < best.share * 0.5))
      best = { candidate, share };
  }
  if (best === undefined) return undefined;
  const { candidate, share } = best;
  return {
    table,
    candidate,
    statements: [statement],
    isProved: false,
    before,
    after: `about ${Math.max(1, Math.round(share * rowsOf(table)))} of ${Math.round(rowsOf(table))} rows by ${bodyOf(candidate)}`,
    bytes: estimatedBytes(candidate, rowsOf(table)),
  };
}

/** One index for all statements that it serves: the same, or the first columns of another. */
export function merged(proposals: readonly Proposal[]): Proposal[] {
  const all: Proposal[] = [];
  const widest = [...proposals].sort((a, b) => b.candidate.columns.length - a.candidate.columns.length);
  for (const proposal of widest) {
    const host = all.find(
      (other) => other.table === proposal.table && holds(other.candidate, proposal.candidate),
    );
    if (host === undefined) {
      all.push({ ...proposal });
      continue;
    }
    host.statements = [...new Set([...host.statements, ...proposal.statements])];
    host.isProved &&= proposal.isProved;
  }
  const cost = ({ statements }: Proposal) =>
    statements.reduce((sum, { total }) => sum + total.execMilliseconds, 0);
  for (const { statements } of all)
    statements.sort((a, b) => b.total.execMilliseconds - a.total.execMilliseconds);
  return all.sort((a, b) => cost(b) - cost(a));
}

function holds(wide: Candidate, narrow: Candidate): boolean {
  const first = { columns: wide.columns.slice(0, narrow.columns.length), descending: wide.descending };
  return nameOfCandidate(first) === nameOfCandidate(narrow);
}
