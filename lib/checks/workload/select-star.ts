import { bytesText } from "../../words.ts";
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
import { tableOf } from "./resolve.ts";
import { rowsOf, type Table, type Tables } from "./tables.ts";

/** Bytes of a row beyond what a page of rows should have: eight rows of these fill one. */
const wideBytes = 1_000;
const fewestCalls = 100;
/** Bytes moved in all before it is worth a change. */
const fewestBytes = 10 * 2 ** 20;

/** SELECT * of tables whose rows are wide: all of it is read, taken out of TOAST and sent. */
export const selectStar = workloadCheck({
  name: "select-star",
  title: "Which statements fetch wide columns that they may not need?",
  look: (seen) => ({
    findings: seen.statements.flatMap((statement) => finding(statement, seen) ?? []),
    good: ["No statement that is called often fetches all columns of a table with wide rows."],
  }),
});

/** Bytes of a row, as far as statistics tell, and of it what is kept out of line. */
function widthOf(table: Table, { blockBytes }: Tables): { bytes: number; columns: string[] } {
  const rows = Math.max(1, rowsOf(table));
  const outside = (table.toastPages * blockBytes) / rows;
  const inside = table.columns.reduce((sum, { width }) => sum + (width ?? 0), 0);
  const wide = table.columns.filter(({ toastable, width }) => toastable && (width === null || width >= 100));
  const columns = wide.length > 0 ? wide : table.columns.filter(({ toastable }) => toastable);
  return { bytes: outside + inside, columns: columns.map(({ name }) => name) };
}

function finding(statement: Parsed, seen: Seen): ReviewFinding | undefined {
  const { facts, total } = statement;
  if (facts.kind !== "select" || total.calls < fewestCalls || total.rows === 0) return undefined;
  for (const scope of facts.scopes) {
    if (scope.role !== "result" || scope.aggregated) continue;
    for (const star of scope.stars) {
      for (const relation of scope.relations) {
        if (star.qualifier !== undefined && star.qualifier !== relation.alias) continue;
        const table = tableOf(relation, seen.tables);
        if (table?.entry === undefined || rowsOf(table) === 0) continue;
        const { bytes, columns } = widthOf(table, seen.tables);
        if (bytes < wideBytes || bytes * total.rows < fewestBytes || columns.length === 0) continue;
        return about(statement, seen, table, bytes, columns);
      }
    }
  }
  return undefined;
}

function about(
  statement: Parsed,
  seen: Seen,
  table: Table,
  bytes: number,
  columns: readonly string[],
): ReviewFinding {
  const { total } = statement;
  return {
    ...aboutStatement("select-star", statement, seen),
    severity: "low",
    confidence: "suspected",
    object: { schema: table.schema, table: table.name },
    title: `all columns of ${table.schema}.${table.name}, ${bytesText(bytes)} a row: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, seen.workload),
      bytesPerRow: Math.round(bytes),
      wideColumns: columns.slice(0, 10),
      fetchedBytes: Math.round(bytes * total.rows),
    },
    impact: `About ${bytesText(bytes * total.rows)} were read and sent since the statistics began; wide values come from TOAST one by one.`,
    blastRadius: "the network, the caches and the application's memory",
    rootCause: "SELECT * fetches every column, also those that were added after the statement was written.",
    prevention: "Name the columns that are used; let the mapper load large ones only when asked.",
    effort: "hours",
    remediation: inTheApplication(
      `name the columns that are used; leave ${columns.slice(0, 3).join(", ")} to where it is shown`,
    ),
    example: { before: "SELECT * FROM t WHERE …", after: "SELECT id, name FROM t WHERE …" },
  };
}
