import { countText, durationText } from "../../words.ts";
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
import { conditionsOf } from "./resolve.ts";

export interface WriteLimits {
  /** Fewer are over before batches pay. */
  fewestCalls: number;
}

/** Writes of one kind for each transaction of the whole database: others' transactions only dilute it. */
const perCommit = 10;
/** Seconds of statistics below which the two counters may have begun at different moments. */
const fewestSeconds = 60;

/** INSERT and UPDATE of one row at a time, many in one transaction: a load that goes row by row. */
export const oneRowWritesWithin = (limits: WriteLimits) =>
  workloadCheck({
    name: "one-row-writes",
    title: "Which rows are written one by one although they come in bulk?",
    async look(seen) {
      const commits = await commitRate(seen);
      if (commits === undefined) {
        return {
          obstacle: `statements and transactions are not counted since the same time for ${durationText(fewestSeconds)}: give --observe 60s while the application writes`,
        };
      }
      return {
        findings: seen.statements.flatMap((statement) => finding(statement, seen, commits, limits) ?? []),
        facts: { commitsPerSecond: round(commits.perSecond, 2) },
        good: ["Rows that come in bulk are written together."],
      };
    },
  });

export const oneRowWrites = oneRowWritesWithin({ fewestCalls: 1_000 });

interface Commits {
  perSecond: number;
  seconds: number;
  observed: boolean;
}

async function commitRate({ context, workload }: Seen): Promise<Commits | undefined> {
  const { between } = workload;
  if (between?.commits !== undefined) {
    const { seconds, commits } = between;
    return { perSecond: commits / Math.max(0.001, seconds), seconds, observed: true };
  }
  const { seconds } = context.window;
  if (seconds === null || seconds < fewestSeconds || (workload.seconds ?? 0) < fewestSeconds)
    return undefined;
  const [row] = await context.session.query<{ commits: number }>(
    "select xact_commit as commits from pg_stat_database where datname = current_database()",
  );
  return { perSecond: (row?.commits ?? 0) / seconds, seconds: workload.seconds ?? seconds, observed: false };
}

/** INSERT of one row, or UPDATE by one value. */
function isOneRow({ facts }: Parsed, { tables }: Seen): boolean {
  if (facts.kind === "insert") return facts.insertedRows === 1;
  if (facts.kind !== "update" || facts.scopes[0]?.relations.length !== 1) return false;
  return conditionsOf(facts, tables).some(
    ({ predicate }) =>
      predicate.operator === "=" && predicate.other === "value" && predicate.wrap === undefined,
  );
}

function finding(
  statement: Parsed,
  seen: Seen,
  commits: Commits,
  { fewestCalls }: WriteLimits,
): ReviewFinding | undefined {
  const counts = commits.observed ? statement.recent : statement.total;
  const target = statement.facts.target;
  const table = target === undefined ? undefined : seen.tables.find(target);
  if (counts === undefined || table === undefined || counts.calls < fewestCalls) return undefined;
  // Lists of different length have one name: of those, rows tell.
  if (counts.rows > counts.calls * 1.05 || !isOneRow(statement, seen)) return undefined;
  const perSecond = counts.calls / Math.max(0.001, commits.seconds);
  const ratio = perSecond / Math.max(0.001, commits.perSecond);
  if (ratio < perCommit) return undefined;
  const verb = statement.facts.kind === "insert" ? "inserted" : "updated";
  return {
    ...aboutStatement("one-row-writes", statement, seen),
    severity: "medium",
    confidence: commits.observed ? "likely" : "suspected",
    object: { schema: table.schema, table: table.name },
    title: `rows of ${table.schema}.${table.name} are ${verb} one by one, ${Math.round(ratio)} for each transaction: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, seen.workload),
      callsPerSecond: round(perSecond, 2),
      commitsPerSecond: round(commits.perSecond, 2),
      seconds: round(commits.seconds),
      observed: commits.observed,
    },
    impact: `${countText(counts.calls, "round trip")} where ${countText(Math.ceil(counts.calls / 1_000), "statement")} of 1,000 rows each would do; the transactions, and their locks, last that much longer.`,
    blastRadius: "whoever waits for the load, and for rows that it has locked",
    rootCause: "The application writes in a loop, a statement for each row.",
    prevention: "Write batches as batches: the mapper's bulk operations, or COPY.",
    effort: "hours",
    remediation: inTheApplication(
      statement.facts.kind === "insert"
        ? "insert many rows with one statement (INSERT … SELECT * FROM unnest($1::…[], $2::…[])), or COPY"
        : "update many rows with one statement (UPDATE … FROM unnest($1::…[], $2::…[]) AS new (id, value) WHERE t.id = new.id)",
    ),
    example: {
      before: "INSERT INTO t (a, b) VALUES ($1, $2)   -- for each row",
      after: "INSERT INTO t (a, b) SELECT * FROM unnest($1::int[], $2::text[])   -- once",
    },
  };
}
