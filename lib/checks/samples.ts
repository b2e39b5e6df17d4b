import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { majorOf } from "../postgres/versions.ts";
import type { CheckContext, CounterSample, Counters } from "./check.ts";

/** What happened between two samples, or why that cannot be said. */
export type Difference =
  | { comparable: true; seconds: number; of(name: string): number }
  | { comparable: false; reason: string };

/**
 * Compares running totals with those of the previous sample. Statistics that were reset in between, by
 * hand or by a crash (which resets them without saying so), make the samples incomparable: then a total
 * is lower than before, `resetAt` differs, or the server has another start time.
 */
export function differenceSince(
  context: CheckContext,
  current: Counters,
  resetAt: Date | null,
  previousResetAt: Date | null | undefined = context.previous?.resetAt,
): Difference {
  const { previous } = context;
  if (previous === undefined) {
    return {
      comparable: false,
      reason: `there is no earlier sample to compare with: ${context.previousMissingBecause ?? "check-health has not run here yet"}`,
    };
  }
  const seconds = (context.now.getTime() - previous.takenAt.getTime()) / 1000;
  if (!(seconds > 0)) {
    return {
      comparable: false,
      reason: `the previous sample is of ${previous.takenAt.toISOString()}, which is not in the past: the server's clock was moved`,
    };
  }
  // Until 14, statistics begin with a time of reset when a new database is used for the first time: before or after
  // a sample, or in its midst, when it has totals already.
  const hadNone = previousResetAt == null && majorOf(context.session.serverVersionNumber) < 15;
  if (!hadNone && (resetAt?.getTime() ?? 0) !== (previousResetAt?.getTime() ?? 0)) {
    return { comparable: false, reason: "the statistics were reset since the previous sample" };
  }
  const missing = Object.keys(current).find((name) => previous.counters[name] === undefined);
  if (missing !== undefined) {
    return { comparable: false, reason: `the previous sample has no ${missing}` };
  }
  const backward = Object.entries(current).find(([name, value]) => value < (previous.counters[name] ?? 0));
  if (backward !== undefined) {
    return {
      comparable: false,
      reason: `${backward[0]} is lower than in the previous sample: the statistics were lost or reset in between`,
    };
  }
  return { comparable: true, seconds, of: (name) => (current[name] ?? 0) - (previous.counters[name] ?? 0) };
}

/** The previous sample, or why there is none. */
export interface PreviousSample {
  sample?: CounterSample;
  missingBecause?: string;
}

/**
 * Reads the sample that the last successful run of check-health left in `pgkeep.job_run`.
 * Never throws for a missing schema or right: without a sample, the checks that need one say so.
 */
export async function readPreviousSample(session: Session): Promise<PreviousSample> {
  let rows: {
    takenAt: string | null;
    resetAt: string | null;
    counters: Counters | null;
    standby: boolean | null;
  }[];
  try {
    rows = await session.query(
      `select report->>'takenAt' as "takenAt", report->>'resetAt' as "resetAt", report->'counters' as counters,
              (report->'server'->>'isStandby')::boolean as standby
         from pgkeep.job_run
        where job = 'check-health' and outcome = 'succeeded'
        order by started_at desc limit 1`,
    );
  } catch (error) {
    if (hasSqlState(error, SqlState.undefinedTable, SqlState.invalidSchemaName)) {
      return { missingBecause: "the schema pgkeep is not installed here (`pgkeep install`)" };
    }
    if (
      hasSqlState(error, SqlState.insufficientPrivilege, SqlState.undefinedColumn, SqlState.queryCanceled)
    ) {
      return { missingBecause: `the previous run cannot be read: ${error.message}` };
    }
    throw error;
  }
  const row = rows[0];
  if (row === undefined) return { missingBecause: "check-health has not run here yet" };
  const takenAt = new Date(row.takenAt ?? Number.NaN);
  if (Number.isNaN(takenAt.getTime()) || row.counters === null) {
    return { missingBecause: "the previous run kept no sample" };
  }
  // The history is replicated, statistics are not: the sample is the primary's.
  if (row.standby !== session.isStandby) {
    return { missingBecause: "the previous sample is another server's: statistics are not replicated" };
  }
  return {
    sample: { takenAt, resetAt: row.resetAt === null ? null : new Date(row.resetAt), counters: row.counters },
  };
}
