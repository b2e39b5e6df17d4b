import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Confidence } from "../check.ts";
import { whyStatisticsAreMissing } from "../constraints/hidden-statistics.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { isMissing, type Seen, statementEvidence, workloadObstacle } from "../workload/common.ts";
import { IndexUses } from "../workload/index-uses.ts";
import { applicationStatements } from "../workload/resolve.ts";
import { workloadOf } from "../workload/statements.ts";
import { tablesOf } from "../workload/tables.ts";
import { readIndexCatalogue } from "./catalogue.ts";
import {
  candidatesOf,
  defined,
  type Opportunity,
  type PartialLimits,
  rarest,
  readColumns,
  wholeIndexes,
} from "./partial-opportunities.ts";
import { costliest, planned } from "./partial-plans.ts";
import { predicateOf, readShares } from "./partial-rows.ts";
import { readTables, type Tables } from "./tables.ts";
import { largest, sizeSeverity, writesOf } from "./weigh.ts";

const daySeconds = 86_400;

/**
 * B-trees of all rows that could be of a few: their first column is null (or one of two truths) in most rows, which no
 * statement looks for; or every statement that they serve has one and the same condition, which few rows fulfil.
 * Constants are parameters to pg_stat_statements: conditions that can be seen are `IS NULL`, `IS NOT NULL`, a boolean
 * column and its negation. Indexes of partitions are left alone, as nobody drops one of them.
 */
export function partialIndexesBeyond(limits: PartialLimits): ReviewCheck {
  return {
    name: "partial-index-candidates",
    title: "Are there indexes of all rows of which only a few are looked for?",
    area: "indexes",
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const whole = await wholeIndexes(context, catalogue, tables, limits);
      const workload = await workloadOf(context);
      const seen: Seen | undefined = isMissing(workload)
        ? undefined
        : {
            context,
            workload,
            tables: await tablesOf(context, workload),
            statements: applicationStatements(workload),
          };
      const users = seen === undefined ? undefined : new IndexUses(seen);
      const columns = await readColumns(context, whole);
      const candidates = candidatesOf(whole, columns, tables, users);
      const shares = await readShares(
        context,
        candidates.flatMap(({ index, conditions }) => conditions.map(({ column }) => ({ index, column }))),
      );
      const all = rarest(candidates, shares, catalogue, seen);
      const rare = largest(all, ({ index }) => index.pages);
      const { found, locked } = await defined(context, rare, columns, catalogue, tables, users);
      const doubts = await doubtsOf(context, seen, isMissing(workload) ? workload.reason : undefined, limits);
      for (const one of found) one.doubts.push(...doubts);
      const left = seen === undefined ? found : await planned(seen, found);
      const obstacles = [
        isMissing(workload)
          ? `which rows statements look for is not known: ${workload.reason}`
          : workloadObstacle(workload, seen?.statements ?? []),
        await whyStatisticsAreMissing(context, limits.leastRows),
        locked === 0 ? undefined : `${countText(locked, "index", "indexes")} could not be read for a lock`,
      ].filter((one) => one !== undefined);
      return concludeReview({
        facts: {
          indexesOfAllRows: whole.length,
          withFewRows: all.length,
          notListed: all.length - rare.length,
        },
        findings: left.map((one) => finding(one, tables, seen)),
        obstacle: obstacles.length === 0 ? undefined : obstacles.join("; "),
        good: whole.length > 0 ? ["No large index is kept for a few of its rows."] : [],
      });
    },
  };
}

export const partialIndexCandidates = partialIndexesBeyond({
  leastRows: 100_000,
  leastBytes: 2 ** 20,
  shortestDays: 7,
});

/** Why statements may be missing that look for the other rows. */
async function doubtsOf(
  { session }: ReviewContext,
  seen: Seen | undefined,
  missing: string | undefined,
  { shortestDays }: PartialLimits,
): Promise<string[]> {
  if (seen === undefined) return [`statements could not be read: ${missing}`];
  const { seconds, evictions, facts } = seen.workload;
  const unread = facts.hidden + facts.withoutText + facts.tooLong + facts.unparsed;
  const [standby] = await session.query<{ self: boolean; connected: number }>(
    "select pg_is_in_recovery() as self, (select count(*)::int from pg_stat_replication) as connected",
  );
  return [
    ...(unread === 0 ? [] : [`${countText(unread, "statement")} could not be read`]),
    ...(evictions === 0 ? [] : ["statements may have been evicted from pg_stat_statements"]),
    ...(seconds !== null && seconds >= shortestDays * daySeconds
      ? []
      : [`statements are counted for less than ${shortestDays} days`]),
    ...(standby?.self === true || (standby?.connected ?? 0) > 0
      ? ["the statements of the other servers were not read"]
      : []),
  ];
}

function finding(one: Opportunity, tables: Tables, seen: Seen | undefined): ReviewFinding {
  const { index, table, shares, share, condition, columns, uses, up, down, doubts, plan } = one;
  const { schema } = index;
  const name = qualified(schema, index.index);
  const predicate = predicateOf(condition, shares);
  const bytes = index.pages * tables.blockBytes;
  const saved = bytes * (1 - share);
  const percent = round(share * 100, 1);
  // With another condition rows may have been among the few before they were among the many.
  const writes = condition.operator === "is not null" ? Math.round(writesOf(table) * (1 - share)) : 0;
  const use = costliest(uses.uses);
  const statements = new Set(uses.uses.map(({ statement }) => statement));
  const isOwn = condition.column === index.keys[0]?.column;
  const confidence: Confidence = doubts.length === 0 ? "likely" : "suspected";
  const size = `${bytesText(bytes)} now, about ${bytesText(bytes * share)} then`;
  return {
    check: "partial-index-candidates",
    key: `partial-index-candidates/${schema}.${index.index}`,
    severity: sizeSeverity(saved),
    confidence,
    object: {
      schema,
      table: index.table,
      index: index.index,
      ...(columns.length === 1 ? { column: columns[0] as string } : {}),
    },
    title:
      statements.size === 0 || isOwn
        ? `${round(100 - percent, 1)} % of the entries of index ${name} are of rows that no statement finds by it`
        : `index ${name} has all rows, and its ${countText(statements.size, "statement")} want the ${percent} % with ${predicate}`,
    evidence: {
      rareRows: predicate,
      sharePercent: percent,
      rows: Math.round(table.rows),
      size: bytesText(bytes),
      savedBytes: Math.round(saved),
      ...(writes === 0 ? {} : { entriesNotWritten: writes }),
      scans: index.scans,
      statementsWithTheCondition: statements.size,
      ...(use === undefined || seen === undefined ? {} : statementEvidence(use.statement, seen.workload)),
      ...(plan === undefined ? {} : { planNow: plan.now }),
      ...(plan?.withIndex === undefined ? {} : { planWithIndex: plan.withIndex, provedBy: "hypopg" }),
      ...(doubts.length === 0 ? {} : { notCertainBecause: doubts }),
    },
    impact: `An index of these rows alone saves ${bytesText(saved)} on disk, in backups and in caches${writes === 0 ? ", and writes of other rows leave it alone" : `; of the row versions written since the statistics began about ${writes} would not have been entered`}.`,
    blastRadius: `writes to ${qualified(schema, index.table)}; a statement that looks for other rows by ${columns.map(identifier).join(", ")} would lose its index${one.newlyIndexed ? `; updates of ${identifier(shares.column)} can be HOT no more` : ""}`,
    rootCause: "All rows were indexed to find a few of them.",
    prevention: "Index what queries look for: add the query's constant condition as WHERE of the index.",
    effort: "minutes",
    ...(use?.statement.origin === undefined ? {} : { origin: use.statement.origin }),
    remediation: {
      sql: up.join("\n"),
      lock: "SHARE UPDATE EXCLUSIVE on the table, in each of the two statements: reads and writes go on",
      rollback: down.join("\n"),
    },
    example: { before: down[0] as string, after: up[0] as string },
    fix: {
      up,
      down,
      proof: [
        `by the statistics ${predicate} holds for ${percent} % of the rows: ${size}`,
        statements.size === 0
          ? "no statement that was counted looks for rows by this index"
          : `${countText(statements.size, "statement")} that ${statements.size === 1 ? "uses" : "use"} its columns, each with a condition that implies ${predicate}`,
        ...(plan === undefined ? [] : [`now: ${plan.now}`]),
        ...(plan?.withIndex === undefined ? [] : [`with the index, by hypopg: ${plan.withIndex}`]),
      ],
    },
  };
}
