import { nodesOf } from "../generic-plan.ts";
import type { Seen } from "../workload/common.ts";
import { lookupOf, plannable, planText } from "../workload/explain.ts";
import { nameOfCondition, type Use } from "../workload/index-uses.ts";
import { proveIndex } from "../workload/proofs.ts";
import { firstPlan, type Planned } from "../workload/proposals.ts";
import type { Opportunity } from "./partial-opportunities.ts";

/** Plans that are asked for, of the largest indexes, and milliseconds for them. */
const mostPlans = 20;
const mostMilliseconds = 2_000;

/**
 * With the plan of the costliest statement as it is, and with the index that hypopg pretends beside the old one; without
 * what some statement reads by the old one in another way.
 */
export async function planned(seen: Seen, found: readonly Opportunity[]): Promise<Opportunity[]> {
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

/** The statement that looks for rows by the index and takes the most time. */
export function costliest(uses: readonly Use[]): Use | undefined {
  return uses
    .filter(({ searches }) => searches)
    .sort((a, b) => b.statement.total.execMilliseconds - a.statement.total.execMilliseconds)[0];
}
