import type { NoStatements } from "../../history/statements-view.ts";
import type { Json } from "../../json.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { FreeNames } from "../indexes/creations.ts";
import { round } from "../outcome.ts";
import {
  concludeReview,
  type ReviewCheck,
  type ReviewContext,
  type Reviewed,
  type ReviewFinding,
  type ReviewOutcome,
} from "../review-check.ts";
import { readableBytes, type StatementFacts } from "./parse.ts";
import { applicationStatements } from "./resolve.ts";
import { type Statement, type Workload, workloadOf } from "./statements.ts";
import { type Table, type Tables, tablesOf } from "./tables.ts";

/** Fewer calls say nothing about what an application does. */
const fewestCalls = 100;

export type Parsed = Statement & { facts: StatementFacts };

/** What the checks of the workload look at. */
export interface Seen {
  context: ReviewContext;
  workload: Workload;
  tables: Tables;
  /** The application's, the costliest first. */
  statements: Parsed[];
}

/**
 * A check over the application's statements. It is not assessable without pg_stat_statements, and passes only when
 * enough was seen.
 */
export function workloadCheck(
  check: Omit<ReviewCheck, "run" | "area"> & { look(seen: Seen): Promise<Reviewed> | Reviewed },
): ReviewCheck {
  const { look, ...rest } = check;
  return {
    ...rest,
    area: "workload",
    run: async (context): Promise<ReviewOutcome> => {
      const workload = await workloadOf(context);
      if (isMissing(workload)) return concludeReview({ obstacle: workload.reason });
      const tables = await tablesOf(context, workload);
      const statements = applicationStatements(workload);
      const reviewed = await look({ context, workload, tables, statements });
      const obstacle = [reviewed.obstacle, workloadObstacle(workload, statements)].filter(
        (one) => one !== undefined,
      );
      return concludeReview({
        ...reviewed,
        facts: { ...seenFacts(workload, statements), ...reviewed.facts },
        obstacle: obstacle.length === 0 ? undefined : obstacle.join("; "),
      });
    },
  };
}

export function isMissing(workload: Workload | NoStatements): workload is NoStatements {
  return "missing" in workload;
}

/** Why the workload cannot be judged by what was counted; undefined when it can. */
export function workloadObstacle(workload: Workload, statements: readonly Parsed[]): string | undefined {
  const calls = statements.reduce((sum, { total }) => sum + total.calls, 0);
  const since = workload.since === null ? "" : ` since ${workload.since.toISOString()}`;
  const few =
    calls < fewestCalls
      ? `only ${countText(calls, "call")} of the application's statements were counted${since}: ask again after a usual day`
      : undefined;
  const { tooLong } = workload.facts;
  const unread =
    few !== undefined && tooLong > 0
      ? `${countText(tooLong, "statement")} longer than ${readableBytes / 1024} kB ${tooLong === 1 ? "was" : "were"} not read`
      : undefined;
  const reasons = [workload.obstacle, few, unread].filter((one) => one !== undefined);
  return reasons.length === 0 ? undefined : reasons.join("; ");
}

/** Names for new indexes, made when the first is needed: of 30,000 indexes it takes its time. */
export function freeNames({ tables }: Seen): () => FreeNames {
  let names: FreeNames | undefined;
  return () => {
    names ??= new FreeNames(tables.catalogue, tables.counters);
    return names;
  };
}

function seenFacts(workload: Workload, statements: readonly Parsed[]): { [key: string]: Json } {
  const { tooLong, unparsed, withoutText, hidden } = workload.facts;
  return {
    statements: workload.facts.statements,
    ofTheApplication: statements.length,
    parsedPercentOfTime: parsedPercent(workload),
    ...(tooLong === 0 ? {} : { tooLongToRead: tooLong }),
    ...(unparsed === 0 ? {} : { notParsed: unparsed }),
    ...(withoutText === 0 ? {} : { textsNotRead: withoutText }),
    ...(hidden === 0 ? {} : { hidden }),
    ...(workload.since === null ? {} : { since: workload.since.toISOString() }),
  };
}

function parsedPercent({ statements }: Workload): number {
  const time = (some: readonly Statement[]) =>
    some.reduce((sum, { total }) => sum + total.execMilliseconds, 0);
  const all = time(statements);
  return all === 0 ? 100 : round((100 * time(statements.filter(({ facts }) => facts !== undefined))) / all);
}

/** What every finding about a statement says of it. */
export function statementEvidence(statement: Statement, workload: Workload): { [key: string]: Json } {
  const { total, maxMilliseconds } = statement;
  const calls = Math.max(1, total.calls);
  return {
    statement: statement.shown,
    queryIds: statement.queryIds.slice(0, 5),
    calls: total.calls,
    meanMilliseconds: round(total.execMilliseconds / calls, 2),
    maxMilliseconds: round(maxMilliseconds, 2),
    totalSeconds: round(total.execMilliseconds / 1000, 2),
    rowsPerCall: round(total.rows / calls, 1),
    blocksPerCall: round((total.blocksHit + total.blocksRead) / calls, 1),
    shareOfTimePercent: sharePercent(statement, workload),
  };
}

export function sharePercent({ total }: Statement, { totalMilliseconds }: Workload): number {
  return totalMilliseconds === 0 ? 0 : round((100 * total.execMilliseconds) / totalMilliseconds);
}

/** A fifth of the server's time is worth a week's planning; less than a hundredth is hygiene. */
export function severityByShare(statement: Statement, workload: Workload): Severity {
  const share = sharePercent(statement, workload);
  return share >= 20 ? "high" : share >= 1 ? "medium" : "low";
}

export function meanMilliseconds({ total }: Statement): number {
  return total.execMilliseconds / Math.max(1, total.calls);
}

/** Blocks of shared buffers, found there or read, for each call. */
export function blocksPerCall({ total }: Statement): number {
  return (total.blocksHit + total.blocksRead) / Math.max(1, total.calls);
}

/** The fields that findings about a statement have in common. */
export function aboutStatement(
  check: string,
  statement: Statement,
  { workload }: Pick<Seen, "workload">,
  part?: string,
): Pick<ReviewFinding, "check" | "key" | "since" | "origin"> {
  return {
    check,
    key: `${check}/${statement.name}${part === undefined ? "" : `/${part}`}`,
    ...(workload.since === null ? {} : { since: workload.since.toISOString() }),
    ...(statement.origin === undefined ? {} : { origin: statement.origin }),
  };
}

/** For what only the application can change. */
export function inTheApplication(what: string): ReviewFinding["remediation"] {
  return {
    sql: `-- In the application: ${what}`,
    lock: "none: it is a change of the application",
    rollback: "-- Deploy the former version of the application.",
  };
}

export function tableText({ schema, name, entry }: Table, { blockBytes }: Tables): string {
  return entry === undefined
    ? `${schema}.${name}`
    : `${schema}.${name} (${countText(Math.round(entry.rows), "row")}, ${bytesText(entry.pages * blockBytes)})`;
}

/** A statement for a title. */
export function brief(statement: Statement): string {
  const characters = [...statement.shown];
  return characters.length <= 80 ? statement.shown : `${characters.slice(0, 79).join("")}…`;
}

export function windowText({ seconds }: Workload): string {
  return seconds === null ? "since they are counted" : `in ${durationText(seconds)}`;
}
