import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Confidence, Severity } from "../check.ts";
import { type ForeignKey, readForeignKeys } from "../constraints/foreign-keys.ts";
import { creationOf, type FreeNames } from "../indexes/creations.ts";
import { writesOf } from "../indexes/weigh.ts";
import { round } from "../outcome.ts";
import type { ReviewFinding } from "../review-check.ts";
import { needsOf } from "./candidates.ts";
import {
  brief,
  freeNames,
  meanMilliseconds,
  type Parsed,
  type Seen,
  sharePercent,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { lookupOf, plannable } from "./explain.ts";
import { narrowed } from "./narrowed.ts";
import { bodyOf } from "./proofs.ts";
import { firstPlan, merged, type Proposal, propose } from "./proposals.ts";
import type { Table } from "./tables.ts";

/** A smaller table is read as a whole faster than anybody notices. */
const smallestRows = 10_000;
const smallestPages = 100;
/** What nobody waits for needs no index. */
const fewestCalls = 10;
const smallestSharePercent = 1;
const smallestMeanMilliseconds = 10;
/** Statements that are looked at, the costliest; and milliseconds spent on their plans. */
const mostStatements = 60;
const mostMilliseconds = 4_000;
/** An index that is written a hundred times for each time it is read is no gain for certain. */
const writesPerRead = 100;
/** Writes of a shorter time may be those that filled the table. */
const dayOfSeconds = 86_400;

/**
 * Indexes that would serve the costliest statements. With hypopg each is proved by the planner itself; without it the
 * plan as it is now says that a large table is read as a whole for few of its rows.
 */
export const missingIndexes = workloadCheck({
  name: "missing-indexes",
  title: "Which index would make a costly statement cheaper?",
  async look(seen) {
    const { context, tables } = seen;
    const hypopg = context.extensions.get("hypopg");
    const until = context.budget.left() - mostMilliseconds;
    const costly = seen.statements.filter((statement) => isCostly(statement, seen)).slice(0, mostStatements);
    const proposals: Proposal[] = [];
    const unreadable = new Set<string>();
    let planned = 0;
    let unplanned = 0;
    let refused = 0;
    for (const statement of costly) {
      for (const need of needsOf(statement, tables, smallestRows)) {
        if ((need.table.entry?.pages ?? 0) < smallestPages) continue;
        if (context.budget.left() <= Math.max(0, until)) {
          unplanned += 1;
          continue;
        }
        if (!need.table.readable) {
          unreadable.add(`${need.table.schema}.${need.table.name}`);
          continue;
        }
        const asked = await firstPlan(context.session, [
          plannable(statement, tables),
          lookupOf(need.table, need.conditions),
        ]);
        if (asked === undefined) {
          refused += 1;
          continue;
        }
        planned += 1;
        const proposal = await propose(seen, statement, need, asked, hypopg?.schema);
        if (proposal !== undefined) proposals.push(proposal);
      }
    }
    const names = freeNames(seen);
    const keys = proposals.length === 0 ? [] : await readForeignKeys(context);
    const findings: ReviewFinding[] = [];
    for (const proposal of merged(proposals)) {
      const isInTime = context.budget.left() > Math.max(0, until);
      // What serves a foreign key too serves it with all rows.
      const isWhole = !isInTime || servedKeys(proposal, keys).length > 0;
      findings.push(finding(isWhole ? proposal : await narrowed(proposal, seen), seen, names(), keys));
    }
    return {
      findings,
      facts: {
        costlyStatements: costly.length,
        planned,
        ...(refused === 0 ? {} : { notPlannable: refused }),
        proved: hypopg === undefined ? "by plans (CREATE EXTENSION hypopg proves more)" : "with hypopg",
      },
      obstacle: obstacleOf(unreadable, planned, unplanned, context.session.user),
      good: ["The costliest statements find their rows by indexes."],
    };
  },
});

function obstacleOf(
  unreadable: ReadonlySet<string>,
  planned: number,
  unplanned: number,
  user: string,
): string | undefined {
  const reasons = [
    ...(unreadable.size === 0
      ? []
      : [
          `the role ${user} may not plan look-ups in ${countText(unreadable.size, "table")} (${[...unreadable].slice(0, 3).join(", ")}): GRANT pg_read_all_data TO ${identifier(user)};`,
        ]),
    ...(unplanned === 0
      ? []
      : [`${unplanned} of ${planned + unplanned} look-ups were not planned for lack of time`]),
  ];
  return reasons.length === 0 ? undefined : reasons.join("; ");
}

/** Called often enough, and either a share of all statements' time or a wait of its own. */
export function isCostly(statement: Parsed, { workload }: Seen): boolean {
  return (
    statement.total.calls >= fewestCalls &&
    (sharePercent(statement, workload) >= smallestSharePercent ||
      meanMilliseconds(statement) >= smallestMeanMilliseconds)
  );
}

/** Columns of a proposed index that some UPDATE of the workload sets: it can be HOT no more. */
function setByUpdates({ table, candidate, rows }: Proposal, { statements, tables }: Seen): number {
  const names = new Set(candidate.columns.map(({ name }) => name));
  if (rows !== undefined) names.add(rows.column);
  return statements
    .filter(
      ({ facts }) =>
        facts.kind === "update" &&
        facts.target !== undefined &&
        tables.find(facts.target) === table &&
        facts.assigned.some((column) => names.has(column)),
    )
    .reduce((sum, { total }) => sum + total.calls, 0);
}

/** Indexes that the new one makes superfluous. */
function madeSuperfluous({ table, candidate, rows }: Proposal): string[] {
  if (rows !== undefined) return [];
  return table.indexes
    .filter(
      (index) =>
        index.method === "btree" &&
        !index.isUnique &&
        index.predicate === null &&
        index.included.length === 0 &&
        index.keys.length < candidate.columns.length &&
        index.keys.every((key, at) => key.column === candidate.columns[at]?.number && key.options === 0),
    )
    .map(({ index }) => index);
}

function severityOf(share: number, isProved: boolean, writesMore: boolean): Severity {
  if (writesMore) return "low";
  if (share >= 30 && isProved) return "high";
  return share >= 5 ? "medium" : "low";
}

/** Without statistics the planner guesses; so does its plan. */
function confidenceOf({ isProved, candidate }: Proposal): Confidence {
  const isAnalyzed = candidate.columns.every(({ distinct }) => distinct !== null);
  return isProved ? (isAnalyzed ? "certain" : "likely") : isAnalyzed ? "likely" : "suspected";
}

/** Foreign keys without an index that the new one serves as well: its leading columns are theirs, in any order. */
function servedKeys({ table, candidate, rows }: Proposal, keys: readonly ForeignKey[]): string[] {
  if (rows !== undefined) return [];
  return keys
    .filter(({ tableOid, numbers }) => {
      if (tableOid !== table.oid || numbers.length > candidate.columns.length) return false;
      const leading = candidate.columns.slice(0, numbers.length).map(({ number }) => number);
      return numbers.every((number) => leading.includes(number));
    })
    .map(({ name }) => name);
}

function finding(
  proposal: Proposal,
  seen: Seen,
  names: FreeNames,
  keys: readonly ForeignKey[],
): ReviewFinding {
  const { table, candidate, statements, isProved, bytes } = proposal;
  const { workload, tables, context } = seen;
  const entry = table.entry as NonNullable<Table["entry"]>;
  const [costliest] = statements as [Parsed, ...Parsed[]];
  const columns = candidate.columns.map(({ name }) => name);
  const { rows } = proposal;
  const body = `${bodyOf(candidate)}${rows === undefined ? "" : ` WHERE ${rows.where}`}`;
  const creation = creationOf(entry, columns, body, names, tables.counters);
  const share = round(statements.reduce((sum, one) => sum + sharePercent(one, workload), 0));
  const calls = statements.reduce((sum, { total }) => sum + total.calls, 0);
  const writes = writesOf(entry);
  const perSecond = (count: number, seconds: number | null) =>
    seconds === null || seconds === 0 ? 0 : count / seconds;
  const readsPerSecond = perSecond(calls, workload.seconds);
  const writesPerSecond = perSecond(writes, context.window.seconds);
  const writesMore =
    (context.window.seconds ?? 0) >= dayOfSeconds && writesPerSecond > readsPerSecond * writesPerRead;
  const updates = setByUpdates(proposal, seen);
  const superfluous = madeSuperfluous(proposal);
  const served = servedKeys(proposal, keys);
  const name = qualified(table.schema, table.name);
  const proof = isProved
    ? [
        `without: ${proposal.before}`,
        `with the index, by hypopg: ${proposal.after}`,
        `estimated size: ${bytesText(bytes)}`,
      ]
    : [
        `now: ${proposal.before}`,
        `the index would leave ${proposal.after}`,
        `estimated size: ${bytesText(bytes)}`,
      ];
  return {
    check: "missing-indexes",
    key: `missing-indexes/${table.schema}.${table.name}(${columns.join(",")})`,
    severity: severityOf(share, isProved, writesMore),
    confidence: confidenceOf(proposal),
    object: {
      schema: table.schema,
      table: table.name,
      ...(columns.length === 1 ? { column: columns[0] as string } : {}),
    },
    title: `an index on ${body} of ${name} would serve ${countText(statements.length, "statement")} that ${statements.length === 1 ? "takes" : "take"} ${share} % of the time`,
    evidence: {
      ...statementEvidence(costliest, workload),
      statements: statements.slice(0, 5).map(brief),
      planNow: proposal.before,
      planWithIndex: proposal.after,
      provedBy: isProved ? "hypopg" : "the plan as it is",
      estimatedBytes: Math.round(bytes),
      callsPerSecond: round(readsPerSecond, 3),
      entriesWrittenPerSecond: round(writesPerSecond, 3),
      ...(rows === undefined
        ? {}
        : {
            rareRows: rows.where,
            sharePercent: round(rows.share * 100),
            partial: "every statement has this condition",
          }),
      ...(updates === 0 ? {} : { updatesOfTheseColumns: updates }),
      ...(served.length === 0 ? {} : { servesForeignKeys: served }),
      ...(superfluous.length === 0 ? {} : { wouldReplace: superfluous }),
    },
    impact: `${countText(calls, "call")} read ${tableText(table, tables)} as a whole or by an index that narrows little: ${proposal.before}.`,
    blastRadius: `whoever waits for these statements, and what shares the disk and the caches with them. The index costs ${bytesText(bytes)} and an entry for each of ${countText(writes, "row version")} written since the statistics began${updates === 0 ? "" : `; ${countText(updates, "update")} of its columns could not be HOT any more`}.`,
    rootCause: `No index leads with the columns that these statements search ${name} by.`,
    prevention: "Look at the plan of a new statement on data of production's size before it is released.",
    effort: "minutes",
    ...(workload.since === null ? {} : { since: workload.since.toISOString() }),
    ...(costliest.origin === undefined ? {} : { origin: costliest.origin }),
    remediation: { sql: creation.sql, lock: creation.lock, rollback: creation.rollback },
    example: { before: proposal.before, after: proposal.after },
    fix: { ...creation.fix, proof },
  };
}
