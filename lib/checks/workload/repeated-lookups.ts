import { countText } from "../../words.ts";
import { writesOf } from "../indexes/weigh.ts";
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
import { rowsOf } from "./tables.ts";

export interface LookupLimits {
  /** So many in all say that it is not the odd report. */
  fewestCalls: number;
}

/** A list of countries, of settings, of flags: it fits a cache of the application. */
const mostRows = 1_000;
const callsPerRow = 100;
/** And its share of all calls is felt. */
const smallestShare = 0.1;
/** It changes less than once for so many look-ups. */
const callsPerWrite = 1_000;

/** Look-ups in small tables that hardly ever change, asked again and again. */
export const repeatedLookupsWithin = (limits: LookupLimits) =>
  workloadCheck({
    name: "repeated-lookups",
    title: "Which look-ups fetch the same unchanging rows again and again?",
    look: (seen) => {
      const calls = seen.statements.reduce((sum, { total }) => sum + total.calls, 0);
      return {
        findings: seen.statements.flatMap((statement) => finding(statement, seen, calls, limits) ?? []),
        good: ["No small table that hardly changes makes a tenth of all calls."],
      };
    },
  });

export const repeatedLookups = repeatedLookupsWithin({ fewestCalls: 100_000 });

function finding(
  statement: Parsed,
  seen: Seen,
  allCalls: number,
  { fewestCalls }: LookupLimits,
): ReviewFinding | undefined {
  const { facts, total } = statement;
  if (facts.kind !== "select" || facts.locksRows || facts.scopes.length !== 1) return undefined;
  if (facts.scopes[0]?.relations.length !== 1 || total.calls < fewestCalls) return undefined;
  const [table] = namedTables(facts, seen.tables);
  if (table?.entry === undefined) return undefined;
  const rows = Math.max(1, rowsOf(table));
  const writes = writesOf(table.entry) + table.entry.deleted + table.entry.hotUpdated;
  const share = total.calls / Math.max(1, allCalls);
  if (rows > mostRows || total.calls < rows * callsPerRow || share < smallestShare) return undefined;
  if (writes * callsPerWrite > total.calls) return undefined;
  const perSecond =
    seen.workload.seconds === null ? null : round(total.calls / Math.max(1, seen.workload.seconds));
  return {
    ...aboutStatement("repeated-lookups", statement, seen),
    severity: "low",
    confidence: "suspected",
    object: { schema: table.schema, table: table.name },
    title: `${countText(total.calls, "look-up")} in ${countText(rows, "row")} of ${table.schema}.${table.name} that hardly change: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, seen.workload),
      rows,
      rowsWritten: writes,
      shareOfCallsPercent: round(share * 100),
      ...(perSecond === null ? {} : { callsPerSecond: perSecond }),
    },
    impact: `${round(share * 100)} % of all calls are round trips for what the application could remember.`,
    blastRadius: "connections and the network; each request waits a little for it",
    rootCause: "The application asks for the same rows for each request.",
    prevention: "Keep what hardly changes in the application's memory for a minute.",
    effort: "hours",
    remediation: inTheApplication(
      "remember the answer for a while, or fetch it with the rows that need it by a join",
    ),
    example: {
      before: "SELECT value FROM settings WHERE key = $1   -- each time",
      after: "a cache of a minute",
    },
  };
}
