import type { JobConfig } from "../config/schema.ts";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { versionText } from "../postgres/versions.ts";
import type {
  Check,
  CheckContext,
  CheckOutcome,
  CounterSample,
  Counters,
  Finding,
  Severity,
  Verdict,
} from "./check.ts";
import { healthChecks } from "./index.ts";
import { round } from "./outcome.ts";
import type { PreviousSample } from "./samples.ts";

/** A check that takes longer than this on the server is given up: the next run comes in a minute. */
const statementTimeoutMilliseconds = 5_000;

/** Counter that holds when the server started: another value is another server, or one that may have lost its statistics. */
const serverStartedAt = "server.startedAt";

/** From worst to least. */
export const severities: readonly Severity[] = ["critical", "high", "medium", "low"];

export interface HealthResult {
  check: string;
  verdict: Verdict;
  reason?: string;
  facts: { [key: string]: Json };
  findings: Finding[];
  durationMs: number;
}

export interface HealthSummary {
  /** Worst first. */
  findings: Record<Severity, number>;
  worst: Severity | null;
  passed: number;
  withFindings: number;
  notAssessable: number;
}

/** Everything that one look at a server says; plain JSON. */
export interface HealthReport {
  /** By the server's clock, ISO 8601. */
  takenAt: string;
  /** When the statistics of this database were last reset, as far as the server knows. */
  resetAt: string | null;
  database: string;
  server: {
    version: string;
    versionNumber: number;
    isStandby: boolean;
    startedAt: string;
    /** The server's clock less ours. */
    clockOffsetSeconds: number;
  };
  results: HealthResult[];
  /** Running totals; the next run reads them back to see what happened in between. */
  counters: Counters;
  metrics: CheckOutcome["metrics"];
  summary: HealthSummary;
}

export interface HealthRequest {
  session: Session;
  config: JobConfig;
  /** Our clock at the moment of the call, to tell how far the server's is away. */
  now: Date;
  /** The sample of the run before, see `readPreviousSample`. */
  previous?: PreviousSample;
  /** Default: all health checks. */
  checks?: readonly Check[];
  /** Server-side limit for each statement. Default 5,000. */
  statementTimeoutMilliseconds?: number;
}

/**
 * Asks every health check in one session. Nothing is written. A check that fails is `not-assessable` with
 * its error; the others go on.
 * @throws PgkeepError `unreachable` when the connection is lost; the reason of an aborted signal
 */
export async function checkHealth(request: HealthRequest): Promise<HealthReport> {
  const { session, config } = request;
  const began = performance.now();
  const server = await prepare(session, request.statementTimeoutMilliseconds ?? statementTimeoutMilliseconds);
  try {
    const context: CheckContext = {
      session,
      config,
      now: server.takenAt,
      ownNow: () => new Date(request.now.getTime() + (performance.now() - began)),
      ...usablePrevious(request.previous ?? {}, server),
    };
    const results: HealthResult[] = [];
    const metrics: CheckOutcome["metrics"] = [];
    const counters: Counters = { [serverStartedAt]: server.startedAt.getTime() };
    for (const check of request.checks ?? healthChecks) {
      const checkBegan = performance.now();
      const { verdict, reason, facts, findings, ...measured } = await runIsolated(check, context);
      results.push({
        check: check.name,
        verdict,
        ...(reason === undefined ? {} : { reason }),
        facts,
        findings,
        durationMs: round(performance.now() - checkBegan),
      });
      metrics.push(...measured.metrics);
      Object.assign(counters, measured.counters);
    }
    return {
      takenAt: server.takenAt.toISOString(),
      resetAt: server.resetAt?.toISOString() ?? null,
      database: session.database,
      server: {
        version: versionText(session.serverVersionNumber),
        versionNumber: session.serverVersionNumber,
        isStandby: session.isStandby,
        startedAt: server.startedAt.toISOString(),
        clockOffsetSeconds: round((server.takenAt.getTime() - request.now.getTime()) / 1000),
      },
      results,
      counters,
      metrics,
      summary: summarize(results),
    };
  } finally {
    await restore(session, server);
  }
}

interface ServerNow {
  takenAt: Date;
  startedAt: Date;
  resetAt: Date | null;
  statementTimeout: string;
  jit: string;
}

/** The limits of this run, and what the server says of itself. Compiling would take longer than any of the queries. */
async function prepare(session: Session, limitMilliseconds: number): Promise<ServerNow> {
  const [row] = await session.query<ServerNow>(
    `with before as materialized (
       select current_setting('statement_timeout') as "statementTimeout", current_setting('jit') as jit)
     select clock_timestamp() as "takenAt", pg_postmaster_start_time() as "startedAt",
            (select stats_reset from pg_stat_database where datname = current_database()) as "resetAt",
            b."statementTimeout", b.jit,
            set_config('statement_timeout', case when b."statementTimeout" = '' then '' else $1 end, false),
            set_config('jit', case when b.jit = '' then '' else 'off' end, false)
       from before b`,
    [String(limitMilliseconds)],
  );
  if (row === undefined) throw new PgkeepError("internal", "the server described itself with no row");
  return row;
}

async function restore(session: Session, before: ServerNow): Promise<void> {
  await session
    .query("select set_config('statement_timeout', $1, false), set_config('jit', $2, false)", [
      before.statementTimeout,
      before.jit,
    ])
    // The connection is lost, or the run was aborted: the error of the check says so.
    .catch(() => {});
}

function usablePrevious(
  previous: PreviousSample,
  server: ServerNow,
): { previous: CounterSample } | { previousMissingBecause: string } | Record<string, never> {
  if (previous.sample === undefined) {
    return previous.missingBecause === undefined ? {} : { previousMissingBecause: previous.missingBecause };
  }
  const before = previous.sample.counters[serverStartedAt];
  if (before !== undefined && before !== server.startedAt.getTime()) {
    return {
      previousMissingBecause: "the server was started anew since the previous sample, or it is another one",
    };
  }
  return { previous: previous.sample };
}

async function runIsolated(check: Check, context: CheckContext): Promise<CheckOutcome> {
  try {
    return await check.run(context);
  } catch (error) {
    if (endsTheRun(error)) throw error;
    const remedy = error instanceof PgkeepError && error.remedy !== undefined ? `; ${error.remedy}` : "";
    return {
      verdict: "not-assessable",
      reason: `the check failed: ${errorMessage(error)}${remedy}`,
      findings: [],
      facts: {},
      metrics: [],
    };
  }
}

function endsTheRun(error: unknown): boolean {
  if (error instanceof PgkeepError) return error.code === "unreachable" || error.code === "deadline";
  return error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError");
}

function summarize(results: readonly HealthResult[]): HealthSummary {
  const findings: Record<Severity, number> = { critical: 0, high: 0, medium: 0, low: 0 };
  for (const { severity } of results.flatMap((result) => result.findings)) findings[severity] += 1;
  const count = (verdict: Verdict) => results.filter((result) => result.verdict === verdict).length;
  return {
    findings,
    worst: severities.find((severity) => findings[severity] > 0) ?? null,
    passed: count("pass"),
    withFindings: count("findings"),
    notAssessable: count("not-assessable"),
  };
}

/** Whether there is a finding of this severity or a worse one. */
export function hasFindingAtLeast(report: Pick<HealthReport, "summary">, severity: Severity): boolean {
  return severities
    .slice(0, severities.indexOf(severity) + 1)
    .some((level) => report.summary.findings[level] > 0);
}

/** Whether anything at all could be assessed. */
export function assessedAnything(report: Pick<HealthReport, "summary">): boolean {
  return report.summary.passed + report.summary.withFindings > 0;
}
