import { round } from "../outcome.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  blocksPerCall,
  brief,
  inTheApplication,
  type Parsed,
  type Seen,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { namedTables } from "./resolve.ts";
import { isLarge } from "./whole-scans.ts";

const fewestCalls = 10;
/** Blocks touched for each row that is given back: a page of an index and one of the table make two or three. */
const blocksPerRow = 20;
const fewestBlocks = 100;

/** OFFSET that passes over many rows: each page costs more than the one before. */
export const deepOffset = workloadCheck({
  name: "deep-offset",
  title: "Which statements skip many rows with OFFSET?",
  look: (seen) => ({
    findings: seen.statements.flatMap((statement) => finding(statement, seen) ?? []),
    good: ["No OFFSET passes over many rows."],
  }),
});

function finding(statement: Parsed, seen: Seen): ReviewFinding | undefined {
  const { facts, total } = statement;
  if (facts.kind !== "select" || total.calls < fewestCalls) return undefined;
  if (!facts.scopes.some(({ offset }) => offset)) return undefined;
  const table = namedTables(facts, seen.tables).find(isLarge);
  if (table === undefined) return undefined;
  const blocks = blocksPerCall(statement);
  const rows = total.rows / total.calls;
  if (blocks < fewestBlocks || blocks < rows * blocksPerRow) return undefined;
  return {
    ...aboutStatement("deep-offset", statement, seen),
    severity: "medium",
    confidence: "likely",
    object: { schema: table.schema, table: table.name },
    title: `OFFSET reads ${round(blocks, 0)} blocks for ${round(rows)} rows: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, seen.workload),
      offset: "not in the text: pg_stat_statements replaces it; the blocks show that much is passed over",
    },
    impact: `Each call reads what it skips of ${tableText(table, seen.tables)} and throws it away; pages further back cost more, and rows move between pages when others are inserted.`,
    blastRadius: "whoever pages far, crawlers first; what shares the disk and the caches with them",
    rootCause: "OFFSET counts rows by reading them.",
    prevention: "Page by the last key seen, and allow no jump to page 1,000.",
    effort: "hours",
    remediation: inTheApplication(
      "remember the last row's key instead of the page's number (keyset pagination)",
    ),
    example: {
      before: "SELECT … ORDER BY created_at DESC, id DESC LIMIT 20 OFFSET 10000",
      after: "SELECT … WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 20",
    },
  };
}
