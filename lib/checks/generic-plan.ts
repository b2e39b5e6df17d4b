import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";

/** A node of `EXPLAIN (FORMAT JSON)`, with what pgkeep reads of it. */
export interface PlanNode {
  "Node Type": string;
  "Relation Name"?: string;
  Schema?: string;
  "Index Name"?: string;
  /** Conditions that the index does not decide. They may hold literals: never for a report. */
  Filter?: string;
  "Total Cost": number;
  "Plan Rows": number;
  Plans?: PlanNode[];
}

const prepared = "pgkeep_generic_plan";

/**
 * The plan of a statement with parameters `$1` … `$n` whose values are not known: what PostgreSQL would keep for a
 * prepared statement. Nothing is executed. Up to version 15 through a prepared statement of this session.
 * @throws PgkeepError when the login may not read what it reads, or it is locked longer than the lock timeout
 */
export async function explainGeneric(
  session: Session,
  statement: string,
  parameters: number,
): Promise<PlanNode> {
  if (majorOf(session.serverVersionNumber) >= 16) {
    return planOf(await session.query(`explain (generic_plan, format json) ${statement}`));
  }
  await session.query("select set_config('plan_cache_mode', 'force_generic_plan', false)");
  try {
    await session.query(`prepare ${prepared} as ${statement}`);
    try {
      const values = parameters === 0 ? "" : `(${Array(parameters).fill("null").join(", ")})`;
      return planOf(await session.query(`explain (format json) execute ${prepared}${values}`));
    } finally {
      await session.query(`deallocate ${prepared}`);
    }
  } finally {
    await session.query("select set_config('plan_cache_mode', 'auto', false)");
  }
}

function planOf(rows: Record<string, unknown>[]): PlanNode {
  const plans = rows[0]?.["QUERY PLAN"] as [{ Plan: PlanNode }] | undefined;
  if (plans === undefined) throw new PgkeepError("internal", "EXPLAIN gave no plan");
  return plans[0].Plan;
}

/** A node and all below it. */
export function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}
