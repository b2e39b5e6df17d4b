import { hrtime } from "node:process";
import type { Verdict } from "../checks/check.ts";
import { grantMonitor, round } from "../checks/outcome.ts";
import type {
  Area,
  ReviewCheck,
  ReviewContext,
  ReviewFinding,
  ReviewOutcome,
  StatisticsWindow,
} from "../checks/review-check.ts";
import { reviewChecks } from "../checks/review-checks.ts";
import type { JobConfig } from "../config/schema.ts";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import { versionText } from "../postgres/versions.ts";
import type { Comparison } from "./compare.ts";
import { noOverview, type Overview, readOverview } from "./overview.ts";
import { rankOf } from "./summary.ts";
import type { SuppressionsReport } from "./suppressions.ts";

/** No single question may load a server for longer; what takes more is `not-assessable`. */
const statementTimeoutMilliseconds = 2_000;
/** A queue behind a lock is left at once: a review never stands in anybody's way. */
const lockTimeoutMilliseconds = 100;

/** The version of the document; a field that changes its meaning raises it. */
export const documentVersion = 1;

export interface ReviewResult {
  check: string;
  title: string;
  area: Area;
  verdict: Verdict;
  reason?: string;
  durationMs: number;
  findings: ReviewFinding[];
  facts: { [key: string]: Json };
  good: string[];
}

/** Everything that a review says; plain JSON. */
export interface ReviewReport {
  version: number;
  database: string;
  server: { version: string; versionNumber: number; isStandby: boolean; startedAt: string };
  /** By the server's clock, ISO 8601. */
  startedAt: string;
  seconds: number;
  user: string;
  window: { statisticsSince: string | null; seconds: number | null };
  replicas: string[];
  /** Replicas that did not answer. */
  replicasUnseen?: { name: string; reason: string }[];
  /** With an earlier review of this database. */
  comparison?: Comparison;
  /** What became of the file of suppressions. */
  suppressions?: SuppressionsReport;
  /** Why some checks were not asked: the connection was lost, or the budget used up. */
  incomplete?: string;
  /** Sizes, cache, load and growth, for pictures; absent unless it was asked for. */
  overview?: Overview;
  results: ReviewResult[];
}

export interface ReviewRequest {
  session: Session;
  config: JobConfig;
  replicas?: readonly { name: string; session: Session }[];
  replicasUnseen?: ReviewContext["replicasUnseen"];
  /** Default: all. */
  checks?: readonly ReviewCheck[];
  /** Seconds for the whole review, without what it observes; the checks that do not fit are `not-assessable`. */
  budgetSeconds: number;
  observeSeconds?: number;
  /** Also read what pictures are made of, after the checks. */
  overview?: boolean;
  signal: AbortSignal;
  /** The check that is asked now, and which of how many it is. */
  progress?(check: ReviewCheck, number: number, count: number): void;
}

/**
 * Asks each check in one read-only session. A check that fails is `not-assessable` with its error, and the
 * rest stands; when the server is lost, those that are left say that.
 */
export async function review(request: ReviewRequest): Promise<ReviewReport> {
  const { session, config, signal } = request;
  const began = hrtime.bigint();
  const elapsed = () => Number(hrtime.bigint() - began) / 1e6;
  const server = await prepare(session);
  for (const replica of request.replicas ?? []) await limit(replica.session);
  const budgetMilliseconds = (request.budgetSeconds + (request.observeSeconds ?? 0)) * 1000;
  const checks = request.checks ?? reviewChecks;
  const replicasUnseen = request.replicasUnseen ?? [];
  const memory = new Map<string, Promise<unknown>>();
  const left = () => Math.max(0, budgetMilliseconds - elapsed());
  const exhausted = `the budget of ${request.budgetSeconds} s was used up; give more with --budget`;
  const context: ReviewContext = {
    session: within(session, left, exhausted),
    config,
    now: server.now,
    window: windowOf(server),
    extensions: await readExtensions(session),
    replicas: (request.replicas ?? []).map(({ name, session }) => ({
      name,
      session: within(apart(session, name), left, exhausted),
    })),
    replicasUnseen,
    budget: { left },
    observeMilliseconds: (request.observeSeconds ?? 0) * 1000,
    signal,
    once<T>(key: string, load: () => Promise<T>): Promise<T> {
      const known = memory.get(key) as Promise<T> | undefined;
      if (known !== undefined) return known;
      const loading = load();
      memory.set(key, loading);
      return loading;
    },
  };
  const results: ReviewResult[] = [];
  let incomplete: string | undefined;
  for (const [index, check] of checks.entries()) {
    if (incomplete === undefined && context.budget.left() === 0) {
      incomplete = exhausted;
    }
    const from = elapsed();
    if (incomplete === undefined) request.progress?.(check, index + 1, checks.length);
    const outcome = incomplete === undefined ? await ask(check, context) : unseen(incomplete);
    incomplete ??= outcome.lost;
    const { verdict, reason, good } = outcome;
    const { findings, facts } = listed(outcome);
    results.push({
      check: check.name,
      title: check.title,
      area: check.area,
      verdict,
      ...(reason === undefined ? {} : { reason }),
      durationMs: round(elapsed() - from),
      findings,
      facts,
      good,
    });
  }
  const overview =
    request.overview !== true
      ? undefined
      : incomplete === undefined
        ? await readOverview(context)
        : noOverview(incomplete);
  return {
    version: documentVersion,
    database: session.database,
    server: {
      version: versionText(session.serverVersionNumber),
      versionNumber: session.serverVersionNumber,
      isStandby: session.isStandby,
      startedAt: server.startedAt.toISOString(),
    },
    startedAt: server.now.toISOString(),
    seconds: round(elapsed() / 1000, 3),
    user: session.user,
    window: {
      statisticsSince: context.window.since?.toISOString() ?? null,
      seconds: context.window.seconds,
    },
    replicas: context.replicas.map(({ name }) => name),
    ...(replicasUnseen.length === 0 ? {} : { replicasUnseen: [...replicasUnseen] }),
    ...(incomplete === undefined ? {} : { incomplete }),
    ...(overview === undefined ? {} : { overview }),
    results,
  };
}

interface ServerNow {
  now: Date;
  startedAt: Date;
  resetAt: Date | null;
}

/**
 * A database without an encoding (SQL_ASCII) holds any bytes, and refuses to send those that are no UTF-8 to who asked
 * for UTF-8: there, bytes are taken as they are, and what is no character arrives as U+FFFD.
 */
async function limit(session: Session): Promise<void> {
  await session.query(
    `select set_config('default_transaction_read_only', 'on', false), set_config('jit', 'off', false),
            set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
            set_config('client_encoding', case current_setting('server_encoding') when 'SQL_ASCII' then 'SQL_ASCII'
              else current_setting('client_encoding') end, false)`,
    [String(statementTimeoutMilliseconds), String(lockTimeoutMilliseconds)],
  );
}

async function prepare(session: Session): Promise<ServerNow> {
  await limit(session);
  const [row] = await session.query<ServerNow>(
    `select clock_timestamp() as now, pg_postmaster_start_time() as "startedAt",
            (select stats_reset from pg_stat_database where datname = current_database()) as "resetAt"`,
  );
  if (row === undefined) throw new PgkeepError("internal", "the server described itself with no row");
  return row;
}

/**
 * Statistics count from their last reset. Without one they go back to the server's first start, which nothing
 * tells; its last start is what can be claimed, because a crash before it would have lost them.
 */
function windowOf({ now, startedAt, resetAt }: ServerNow): StatisticsWindow {
  const since = resetAt ?? startedAt;
  return { since, seconds: Math.max(0, Math.round((now.getTime() - since.getTime()) / 1000)) };
}

/** The same session, which begins no statement after the budget is used up: the last one takes 2 s at most. */
function within(session: Session, left: () => number, exhausted: string): Session {
  const query: Session["query"] = (sql, values, options) =>
    left() > 0 ? session.query(sql, values, options) : Promise.reject(new PgkeepError("deadline", exhausted));
  return Object.create(session, { query: { value: query } }) as Session;
}

/** A replica's session: when it is lost, that is the failure of who asks it, and not the end of the review. */
function apart(session: Session, name: string): Session {
  const query: Session["query"] = async (sql, values, options) => {
    try {
      return await session.query(sql, values, options);
    } catch (error) {
      if (!(error instanceof PgkeepError) || error.code !== "unreachable") throw error;
      throw new PgkeepError("statement-failed", `the replica ${name} is lost: ${error.message}`, {
        cause: error,
      });
    }
  };
  return Object.create(session, { query: { value: query } }) as Session;
}

async function readExtensions(session: Session): Promise<ReviewContext["extensions"]> {
  const rows = await session.query<{ name: string; schema: string; version: string }>(
    `select e.extname::text as name, n.nspname::text as schema, e.extversion as version
       from pg_extension e join pg_namespace n on n.oid = e.extnamespace`,
  );
  return new Map(rows.map(({ name, schema, version }) => [name, { schema, version }]));
}

type Asked = ReviewOutcome & { lost?: string };

async function ask(check: ReviewCheck, context: ReviewContext): Promise<Asked> {
  try {
    const obstacle = await missing(check, context);
    if (obstacle !== undefined) return unseen(obstacle);
    return await check.run(context);
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof PgkeepError && (error.code === "unreachable" || error.code === "deadline")) {
      const lost = errorMessage(error);
      return { ...unseen(lost), lost };
    }
    const remedy = error instanceof PgkeepError && error.remedy !== undefined ? `; ${error.remedy}` : "";
    return unseen(`the check failed: ${errorMessage(error)}${remedy}`);
  }
}

async function missing({ needs }: ReviewCheck, context: ReviewContext): Promise<string | undefined> {
  const { session } = context;
  if (needs?.primary === true && session.isStandby) return "a standby cannot tell: ask the primary";
  for (const name of needs?.extensions ?? []) {
    if (!context.extensions.has(name)) {
      return `the extension ${name} is not installed: CREATE EXTENSION ${identifier(name)};`;
    }
  }
  for (const role of needs?.memberOf ?? []) {
    const [row] = await session.query<{ member: boolean }>("select pg_has_role($1, 'usage') as member", [
      role,
    ]);
    if (row?.member !== true) {
      const grant =
        role === "pg_read_all_stats"
          ? grantMonitor(session)
          : `GRANT ${identifier(role)} TO ${identifier(session.user)};`;
      return `the role ${session.user} lacks the rights of ${role}: ${grant}`;
    }
  }
  return undefined;
}

/** Nobody works through more of one kind; the others are counted. */
const mostFindings = 1_000;

/** The gravest, where there are too many to list; `facts.notListed` counts the others. */
function listed({ findings, facts }: ReviewOutcome): Pick<ReviewOutcome, "findings" | "facts"> {
  if (findings.length <= mostFindings) return { findings, facts };
  const already = typeof facts.notListed === "number" ? facts.notListed : 0;
  return {
    findings: findings.toSorted((a, b) => rankOf(a) - rankOf(b)).slice(0, mostFindings),
    facts: { ...facts, notListed: already + findings.length - mostFindings },
  };
}

function unseen(reason: string): Asked {
  return { verdict: "not-assessable", reason, findings: [], facts: {}, good: [] };
}
