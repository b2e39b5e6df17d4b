import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { explainGeneric, nodesOf, type PlanNode } from "../generic-plan.ts";
import type { Parsed } from "./common.ts";
import { type Condition, tableOf } from "./resolve.ts";
import type { Table, Tables } from "./tables.ts";

/** A statement that can be planned here. */
export interface Question {
  sql: string;
  parameters: number;
}

/**
 * The statement as it can be planned without harm, its tables qualified so that everything else is looked up in
 * pg_catalog. Planning calls functions: only PostgreSQL's own may be among them, because anybody who may log in can
 * leave a statement to be planned by whoever reviews. UPDATE, DELETE and FOR UPDATE would lock more than reading does.
 * @returns undefined when it is not of that kind
 */
export function plannable({ facts, text }: Parsed, tables: Tables): Question | undefined {
  if (text === undefined || facts.kind !== "select") return undefined;
  if (facts.locksRows || facts.writesInside || facts.qualifiedOperators) return undefined;
  if (facts.functions.some(({ schema }) => schema !== undefined && schema !== "pg_catalog")) return undefined;
  if (facts.types.some(({ schema }) => schema !== undefined && schema !== "pg_catalog")) return undefined;
  const edits: Edit[] = [];
  for (const scope of facts.scopes) {
    for (const relation of scope.relations) {
      if (relation.table === undefined) continue;
      const table = tableOf(relation, tables);
      if (table === undefined || !isHarmless(table)) return undefined;
      if (relation.table.schema === undefined) {
        edits.push({ from: relation.location, to: relation.location, text: `${identifier(table.schema)}.` });
      }
    }
  }
  const bytes = Buffer.from(text, "utf8");
  const replaced = new Set<number>();
  for (const { kind, parameter, location, typeLocation } of facts.unreadable) {
    const end = location + 1 + String(parameter).length;
    if (kind === "typed") {
      const type = bytes.subarray(typeLocation, location).toString("utf8").trim();
      edits.push({ from: typeLocation, to: end, text: `($${parameter}::${type})` });
    } else {
      edits.push({ from: location, to: end, text: "epoch" });
      replaced.add(location);
    }
  }
  const kept = new Set(
    facts.parameters.filter(({ location }) => !replaced.has(location)).map(({ number }) => number),
  );
  const numbers = [...kept].sort((a, b) => a - b);
  const sql = edited(bytes, edits);
  // A number that is left out is a parameter without a type.
  const dense = numbers.every((number, at) => number === at + 1);
  return {
    sql: dense ? sql : renumbered(sql, numbers),
    parameters: numbers.length,
  };
}

export function isHarmless(table: Table): boolean {
  return (
    "rpm".includes(table.kind) &&
    table.readable &&
    !table.rowSecurity &&
    !table.callsUserFunctions &&
    !table.hasForeignPartitions
  );
}

interface Edit {
  from: number;
  to: number;
  text: string;
}

function edited(bytes: Buffer, edits: readonly Edit[]): string {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { from, to, text } of [...edits].sort((a, b) => a.from - b.from)) {
    parts.push(bytes.subarray(at, from), Buffer.from(text, "utf8"));
    at = to;
  }
  return Buffer.concat([...parts, bytes.subarray(at)]).toString("utf8");
}

/** Only where a constant was replaced, whose number is gone; quoted names and strings are left alone. */
function renumbered(sql: string, numbers: readonly number[]): string {
  return sql.replace(/"(?:[^"]|"")*"|'(?:[^']|'')*'|\$(\d+)/g, (part, digits: string | undefined) =>
    digits === undefined ? part : `$${numbers.indexOf(Number(digits)) + 1}`,
  );
}

const simple = new Set(["=", "<", ">", "<=", ">="]);

/** A look-up by conditions on one table, where the statement itself cannot be planned. */
export function lookupOf(table: Table, conditions: readonly Condition[]): Question | undefined {
  if (!isHarmless(table)) return undefined;
  let parameters = 0;
  const tests = conditions.flatMap(({ column, predicate: { operator, wrap } }) => {
    if (wrap !== undefined) return [];
    const name = identifier(column.name);
    if (simple.has(operator)) return [`${name} ${operator} $${++parameters}`];
    if (operator === "in" || operator === "any") return [`${name} = any($${++parameters})`];
    if (operator === "between") return [`${name} between $${++parameters} and $${++parameters}`];
    if (operator === "is true") return [name];
    if (operator === "is false") return [`not ${name}`];
    return operator === "is null" || operator === "is not null" ? [`${name} ${operator}`] : [];
  });
  if (tests.length === 0) return undefined;
  const sql = `select 1 from ${qualified(table.schema, table.name)} where ${tests.join(" and ")}`;
  return { sql, parameters };
}

/** Its plan, or why there is none: nothing is executed. */
export async function planOf(
  session: Session,
  { sql, parameters }: Question,
): Promise<PlanNode | { problem: string }> {
  try {
    // Backslashes mean what they meant to the parser, so that it stays one statement.
    await session.query("select set_config('standard_conforming_strings', 'on', false)");
    return await explainGeneric(session, sql, parameters);
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable") return { problem: error.message };
    throw error;
  }
}

export function isPlan(plan: PlanNode | { problem: string }): plan is PlanNode {
  return "Node Type" in plan;
}

/** How a plan reads a table or one of its partitions: `Seq Scan`, `Index Scan` … */
export function scansOf(plan: PlanNode, table: Table, tables: Tables): PlanNode[] {
  const names = new Set([table.name]);
  if (table.entry !== undefined)
    for (const leaf of tables.counters.leavesOf(table.entry)) names.add(leaf.table);
  return nodesOf(plan).filter((node) => names.has(node["Relation Name"] ?? ""));
}

/** The kinds of a plan's scans with its cost, in a line. */
export function planText(plan: PlanNode): string {
  const scans = nodesOf(plan).flatMap((node) => {
    const relation = node["Relation Name"];
    if (relation === undefined) return [];
    const index = node["Index Name"];
    return [`${node["Node Type"]} on ${relation}${index === undefined ? "" : ` by ${index}`}`];
  });
  const shown = [...new Set(scans)].slice(0, 5).join(", ");
  return `${shown === "" ? plan["Node Type"] : shown}, cost ${Math.round(plan["Total Cost"])}`;
}
