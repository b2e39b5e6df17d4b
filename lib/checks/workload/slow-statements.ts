import { countText, durationText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { round } from "../outcome.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  inTheApplication,
  meanMilliseconds,
  type Parsed,
  type Seen,
  sharePercent,
  statementEvidence,
  workloadCheck,
} from "./common.ts";
import { namedTables } from "./resolve.ts";

/** What pgkeep logs as slow (`log_min_duration_statement` of the parameters it provisions). */
const slowMilliseconds = 1_000;
/** A third of the statement timeout of application roles (30 s). */
const verySlowMilliseconds = 10_000;
/** Once may be an accident. */
const fewestCalls = 5;
/** Of all statements' time: with that, making it twice as fast gives back an eighth of the server … */
const largeSharePercent = 25;
/** … when it keeps a processor busy: this much time a second, for an hour at least. */
const busyShare = 0.5;
const fewestSeconds = 3_600;

/** Statements that are slow each time, or that use much of the server altogether. */
export const slowStatements = workloadCheck({
  name: "slow-statements",
  title: "Which statements are slow, or take most of the server's time?",
  look: (seen) => {
    const findings = seen.statements.flatMap((statement) => finding(statement, seen) ?? []);
    return {
      findings,
      facts: { slow: findings.length },
      good: [
        `None of ${countText(seen.statements.length, "statement")} of the application takes a second on average.`,
      ],
    };
  },
});

function finding(statement: Parsed, seen: Seen): ReviewFinding | undefined {
  const { workload, tables } = seen;
  const mean = meanMilliseconds(statement);
  const load =
    workload.seconds === null ? 0 : statement.total.execMilliseconds / 1000 / Math.max(1, workload.seconds);
  const share = sharePercent(statement, workload);
  const isSlow = mean >= slowMilliseconds && statement.total.calls >= fewestCalls;
  const isHeavy = share >= largeSharePercent && load >= busyShare && (workload.seconds ?? 0) >= fewestSeconds;
  if (!isSlow && !isHeavy) return undefined;
  const [table] = namedTables(statement.facts, tables);
  const severity: Severity = isSlow && mean >= verySlowMilliseconds ? "high" : isSlow ? "medium" : "low";
  const { total } = statement;
  const accesses = total.blocksHit + total.blocksRead;
  const why =
    total.tempBlocksWritten > 0
      ? "It sorts or hashes more than work_mem holds, and writes temporary files."
      : accesses / Math.max(1, total.rows) > 100
        ? "It reads many more blocks than its rows can fill: it looks at rows that it then leaves out."
        : "Its time goes with the rows that it gives back or changes, or with waiting for locks.";
  return {
    ...aboutStatement("slow-statements", statement, seen),
    severity,
    confidence: "certain",
    object: table === undefined ? { name: statement.name } : { schema: table.schema, table: table.name },
    title: isSlow
      ? `${durationText(mean / 1000)} on average: ${brief(statement)}`
      : `${share} % of all statements' time: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, workload),
      averageSessionsBusy: round(load, 3),
      bufferHitPercent: accesses === 0 ? null : round((100 * total.blocksHit) / accesses),
      tempBlocksWritten: total.tempBlocksWritten,
      readSeconds: round(total.readMilliseconds / 1000, 2),
    },
    impact: isSlow
      ? `Whoever calls it waits ${durationText(mean / 1000)} on average, ${durationText(statement.maxMilliseconds / 1000)} at worst, and holds a connection meanwhile.`
      : `It keeps ${round(load, 2)} sessions busy all the time: what makes it faster makes room for everything else.`,
    blastRadius:
      "whoever waits for this statement; with it, the connections, the memory and the disk that all share",
    rootCause: why,
    prevention:
      "Look at `pgkeep queries top` after each release; log plans of slow statements with auto_explain.",
    effort: "hours",
    remediation: inTheApplication(
      `look at its plan with values as they are used, EXPLAIN (ANALYZE, BUFFERS), on a copy of the data; see the findings missing-indexes and non-sargable-predicates of the same statement.`,
    ),
  };
}
