import { countText } from "../../words.ts";
import { round } from "../outcome.ts";
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
import { namedTables } from "./resolve.ts";

/** More rows than anybody looks at. */
const manyRows = 1_000;
/** A batch that an application holds in memory as a whole, megabytes of it. */
const veryManyRows = 10_000;
/** Once is an export. */
const fewestCalls = 10;

/** Statements without LIMIT that give back many rows each time: they grow with the table. */
export const unboundedResults = workloadCheck({
  name: "unbounded-results",
  title: "Which statements give back as many rows as there are?",
  look: (seen) => ({
    findings: seen.statements.flatMap((statement) => finding(statement, seen) ?? []),
    good: ["No statement without LIMIT gives back a thousand rows each time."],
  }),
});

function finding(statement: Parsed, seen: Seen): ReviewFinding | undefined {
  const { facts, total } = statement;
  const results = facts.scopes.filter(({ role, parent }) => role === "result" && parent === null);
  const rows = total.rows / Math.max(1, total.calls);
  if (facts.kind !== "select" || rows < manyRows || total.calls < fewestCalls) return undefined;
  if (results.length === 0 || results.some(({ limit, aggregated }) => limit || aggregated)) return undefined;
  const [table] = namedTables(facts, seen.tables);
  if (table === undefined) return undefined;
  return {
    ...aboutStatement("unbounded-results", statement, seen),
    severity: rows >= veryManyRows ? "medium" : "low",
    confidence: "likely",
    object: { schema: table.schema, table: table.name },
    title: `${countText(Math.round(rows), "row")} on average and no LIMIT: ${brief(statement)}`,
    evidence: { ...statementEvidence(statement, seen.workload), totalRows: total.rows },
    impact: `Each of ${countText(total.calls, "call")} brings ${round(rows, 0)} rows into the application's memory, and more as the table grows.`,
    blastRadius: "memory of the application and the connection that it holds; the network between",
    rootCause: "The statement asks for all rows that match, however many there will be.",
    prevention: "Give each list a limit; read exports through a cursor or COPY.",
    effort: "hours",
    remediation: inTheApplication(
      "page through the rows by a key (WHERE id > the last one ORDER BY id LIMIT n), read them through a cursor, or let the database aggregate them",
    ),
    example: {
      before: "SELECT … FROM t WHERE …",
      after: "SELECT … FROM t WHERE … AND id > $1 ORDER BY id LIMIT 100",
    },
  };
}
