import { identifier } from "../../postgres/identifiers.ts";
import { creationOf, type FreeNames } from "../indexes/creations.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  freeNames,
  inTheApplication,
  type Parsed,
  type Seen,
  severityByShare,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { type Condition, conditionsOf } from "./resolve.ts";
import { type Column, hasExpressionOn, type Table } from "./tables.ts";
import { wholeScan } from "./whole-scans.ts";

const containment = new Set(["@>", "@?", "@@"]);
const existence = new Set(["?", "?|", "?&"]);

/** Filters on what is inside documents, without an index that knows it. */
export const jsonPathFilters = workloadCheck({
  name: "json-path-filters",
  title: "Which filters on the inside of JSON documents have no index?",
  async look(seen) {
    const names = freeNames(seen);
    const findings: ReviewFinding[] = [];
    for (const statement of seen.statements) {
      for (const condition of conditionsOf(statement.facts, seen.tables)) {
        const { table, column, predicate } = condition;
        const inside =
          predicate.wrap?.kind === "json" ||
          containment.has(predicate.operator) ||
          existence.has(predicate.operator);
        if (!inside || !/^jsonb?$/.test(column.type)) continue;
        if (hasGin(table, column) || hasExpressionOn(table, column)) continue;
        const scan = await wholeScan(seen, statement, table);
        if (scan === undefined) continue;
        findings.push(finding(seen, statement, condition, scan, names));
        break;
      }
    }
    return { findings, good: ["No filter on the inside of documents reads a large table as a whole."] };
  },
});

function hasGin(table: Table, column: Column): boolean {
  return table.indexes.some(
    (index) =>
      index.isUsable && index.method === "gin" && index.keys.some((key) => key.column === column.number),
  );
}

function finding(
  seen: Seen,
  statement: Parsed,
  { table, column, predicate }: Condition,
  scan: NonNullable<Awaited<ReturnType<typeof wholeScan>>>,
  names: () => FreeNames,
): ReviewFinding {
  const { workload, tables } = seen;
  const name = identifier(column.name);
  const operator = predicate.wrap?.name ?? predicate.operator;
  const isContained = predicate.wrap === undefined && containment.has(predicate.operator);
  const body = `USING gin (${name}${isContained ? " jsonb_path_ops" : ""})`;
  const indexable = column.type === "jsonb" && predicate.wrap === undefined && table.entry !== undefined;
  const creation =
    indexable && table.entry !== undefined
      ? creationOf(table.entry, [column.name], body, names(), tables.counters)
      : undefined;
  const expression = `CREATE INDEX CONCURRENTLY ON ${identifier(table.schema)}.${identifier(table.name)} ((${name} ->> '…'));`;
  const what =
    column.type === "json"
      ? "keep documents as jsonb, which can be indexed, or keep what is searched in a column of its own"
      : `index the key that is searched (${expression.slice(0, -1)}), or keep it in a column of its own, generated from the document`;
  return {
    ...aboutStatement("json-path-filters", statement, seen, `${table.schema}.${table.name}.${column.name}`),
    severity: severityByShare(statement, workload),
    confidence: scan.plan === undefined ? "suspected" : "likely",
    object: { schema: table.schema, table: table.name, column: column.name },
    title: `a filter inside ${table.schema}.${table.name}.${column.name} (${operator}) reads the whole table: ${brief(statement)}`,
    evidence: { ...statementEvidence(statement, workload), operator, columnType: column.type, ...scan },
    impact: `Each call reads ${tableText(table, tables)} as a whole and takes every document apart.`,
    blastRadius: "whoever waits for this statement, and what shares the disk and the caches with it",
    rootCause: "What is searched is inside a document, and no index knows it. Nothing validates it, either.",
    prevention: "Keep what is searched in columns; index documents by jsonb_path_ops for containment.",
    effort: creation === undefined ? "hours" : "minutes",
    remediation:
      creation === undefined
        ? inTheApplication(what)
        : { sql: creation.sql, lock: creation.lock, rollback: creation.rollback },
    example: {
      before: `WHERE ${name} ${operator} …`,
      after: creation?.sql ?? expression,
    },
    ...(creation === undefined
      ? {}
      : {
          fix: {
            ...creation.fix,
            proof: [
              `now: ${scan.plan ?? `${scan.blocksPerCall} blocks touched by each call`} of ${tableText(table, tables)}`,
              "hypopg cannot pretend a GIN index: try it on a copy; it is slower to write than a B-tree",
            ],
          },
        }),
  };
}
