import { countText } from "../../words.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  inTheApplication,
  type Parsed,
  type Seen,
  statementEvidence,
  workloadCheck,
} from "./common.ts";
import type { Scope } from "./parse.ts";
import { tableOf } from "./resolve.ts";
import { rowsOf, type Table, type Tables } from "./tables.ts";

/** Pairs of rows that take seconds rather than milliseconds. */
const manyPairs = 1_000_000;
/** One of the sides may be a list to choose from. */
const fewestRows = 10;

/** Tables in one FROM that no condition ties together: every row of one meets every row of the other. */
export const cartesianJoins = workloadCheck({
  name: "cartesian-joins",
  title: "Which statements join tables without a condition?",
  look: (seen) => ({
    findings: seen.statements.flatMap((statement) => finding(statement, seen) ?? []),
    good: ["Conditions tie together all tables that are joined."],
  }),
});

function finding(statement: Parsed, seen: Seen): ReviewFinding | undefined {
  for (const scope of statement.facts.scopes) {
    const apart = untied(scope, seen.tables);
    if (apart === undefined) continue;
    const [one, other] = apart;
    const pairs = rowsOf(one) * rowsOf(other);
    if (pairs < manyPairs || Math.min(rowsOf(one), rowsOf(other)) < fewestRows) continue;
    return {
      ...aboutStatement("cartesian-joins", statement, seen),
      severity: "medium",
      confidence: scope.crossJoin ? "suspected" : "likely",
      object: { schema: one.schema, table: one.name },
      title: `nothing ties ${one.schema}.${one.name} to ${other.schema}.${other.name}: ${brief(statement)}`,
      evidence: {
        ...statementEvidence(statement, seen.workload),
        tables: [`${one.schema}.${one.name}`, `${other.schema}.${other.name}`],
        pairs,
        writtenAsCrossJoin: scope.crossJoin,
      },
      impact: `Each call makes up to ${countText(pairs, "pair")} of rows before it leaves any out.`,
      blastRadius: "processors, temporary files and whoever waits for them",
      rootCause: scope.crossJoin
        ? "It is written as CROSS JOIN: perhaps on purpose."
        : "A join condition is missing, or was lost when the statement was put together.",
      prevention: "Write joins with JOIN … ON, which does not go without a condition.",
      effort: "hours",
      remediation: inTheApplication(
        `add the condition that ties ${one.name} to ${other.name}; where the pairs are wanted, say so with CROSS JOIN`,
      ),
      example: { before: "FROM a, b WHERE a.x = 1", after: "FROM a JOIN b ON b.a_id = a.id WHERE a.x = 1" },
    };
  }
  return undefined;
}

/** Two tables of a level that nothing connects, when everything is known of the level's conditions. */
function untied(scope: Scope, tables: Tables): [Table, Table] | undefined {
  if (scope.relations.length < 2) return undefined;
  const group = new Map(scope.relations.map(({ alias }) => [alias, alias]));
  const find = (alias: string): string => {
    const up = group.get(alias) ?? alias;
    return up === alias ? alias : find(up);
  };
  const tie = (aliases: readonly string[]) => {
    const known = aliases.filter((alias) => group.has(alias));
    const [first] = known;
    for (const alias of known) if (first !== undefined) group.set(find(alias), find(first));
  };
  for (const link of scope.links) tie(link);
  for (const { columns, aliases } of scope.looseLinks) {
    const owners: string[] = [];
    for (const name of columns) {
      const having = scope.relations.filter((relation) => {
        const table = tableOf(relation, tables);
        return table === undefined || table.columns.some((column) => column.name === name);
      });
      // Several may be meant: take it that all are.
      owners.push(...having.map(({ alias }) => alias));
    }
    tie([...aliases, ...owners]);
  }
  // A table that a condition narrows to a value is not met as a whole.
  const narrowed = new Set<string>();
  for (const { column, operator, other } of scope.predicates) {
    if (operator !== "=" || other === "column") continue;
    for (const relation of scope.relations) {
      const table = tableOf(relation, tables);
      const own =
        column.qualifier === undefined
          ? table?.columns.some(({ name }) => name === column.name)
          : column.qualifier === relation.alias;
      if (own !== false) narrowed.add(find(relation.alias));
    }
  }
  const apart = scope.relations.filter((relation) => !narrowed.has(find(relation.alias)));
  for (const one of apart) {
    for (const other of apart) {
      if (find(one.alias) === find(other.alias)) continue;
      const [first, second] = [tableOf(one, tables), tableOf(other, tables)];
      if (first?.entry !== undefined && second?.entry !== undefined) return [first, second];
    }
  }
  return undefined;
}
