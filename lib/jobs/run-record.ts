import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import type { Job, JobResult, Run } from "./job.ts";

/** Runs of one job that are kept: two days of a job that runs each minute, years of a daily one. */
const runsKept = 2_880;

/** Largest report that is kept in `pgkeep.job_run`; a larger one is replaced by its size. */
const maximumReportBytes = 1_048_576;

/**
 * Why runs cannot be recorded in this database, or undefined when they can.
 * Looks only at the catalog, so that a role without any right on the schema gets an answer too.
 */
export async function whyNotRecordable(session: Session): Promise<string | undefined> {
  if (session.isStandby) return "the server is a standby";
  const rows = await session.query<{ installed: boolean; writable: boolean; readonly: string }>(
    `select c.oid is not null as installed,
            coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'insert')
              and has_table_privilege(c.oid, 'update'), false) as writable,
            current_setting('transaction_read_only') as readonly
       from (select 1) as one
       left join pg_namespace n on n.nspname = 'pgkeep'
       left join pg_class c on c.relnamespace = n.oid and c.relname = 'job_run'`,
  );
  const row = rows[0];
  if (row === undefined || !row.installed)
    return "the schema pgkeep is not installed here (`pgkeep install`)";
  if (!row.writable) return `the role ${session.user} may not write to pgkeep.job_run`;
  if (row.readonly === "on") return "sessions of this role are read-only";
  return undefined;
}

/** A run that is under way, or that has to be believed to be. */
export interface OtherRun {
  id: string;
  startedAt: Date;
  leasedUntil: Date;
}

/**
 * Notes the beginning of a run, once, unless another run of the job has a lease that has not ended: that one is
 * returned, and nothing is noted. With `leaseSeconds` this run gets a lease, which keeps others away although nobody
 * holds the lock; without, the caller holds the lock for the whole run.
 *
 * The caller holds the job's lock (except on a standby), so that of two that ask at once only one is noted. Runs
 * without a lease that still stand as running were killed, and are closed as failed; so are those whose lease is over.
 */
export async function recordStart(
  session: Session,
  job: Job,
  run: Run,
  leaseSeconds?: number,
): Promise<OtherRun | undefined> {
  await closeKilled(session, job, run, 0);
  const others = await session.query<OtherRun>(
    `select id, started_at as "startedAt", leased_until as "leasedUntil" from pgkeep.job_run
      where job = $1 and outcome = 'running' and id <> $2 order by started_at limit 1`,
    [job.name, run.id],
  );
  if (others[0] !== undefined) return others[0];
  await insertRun(session, job, run, leaseSeconds);
  return undefined;
}

/** Closes the runs that still stand as running, have no lease (any more), and began so many days ago. */
export async function closeKilled(session: Session, job: Job, run: Run, days: number): Promise<void> {
  await session.query(
    `update pgkeep.job_run
        set outcome = 'failed', finished_at = now(), reason = 'ended without a result: killed, or its connection was lost'
      where job = $1 and outcome = 'running' and id <> $2
        and (leased_until is null or leased_until < clock_timestamp())
        and started_at <= clock_timestamp() - make_interval(days => $3::int)`,
    [job.name, run.id, days],
  );
}

/** Notes that a run began, once, and nothing about others: for jobs that may overlap, and at the end of a run. */
export async function insertRun(session: Session, job: Job, run: Run, leaseSeconds?: number): Promise<void> {
  await session.query(
    `insert into pgkeep.job_run (id, job, started_at, outcome, leased_until)
     values ($1, $2, $3, 'running', clock_timestamp() + make_interval(secs => $4::float8))
     on conflict (id) do nothing`,
    [run.id, job.name, run.startedAt, leaseSeconds ?? null],
  );
}

/** False when the run was given up: its lease ended, and another run has closed it. */
export async function stillRunning(session: Session, run: Run): Promise<boolean> {
  const rows = await session.query<{ outcome: string }>("select outcome from pgkeep.job_run where id = $1", [
    run.id,
  ]);
  return rows[0] === undefined || rows[0].outcome === "running";
}

/** Notes the end of a run, and forgets the job's oldest ones. */
export async function recordEnd(session: Session, result: JobResult): Promise<void> {
  await session.query(
    `update pgkeep.job_run
        set finished_at = now(), outcome = $2, seconds = $3, report = $4::jsonb, reason = $5, error_code = $6
      where id = $1`,
    [
      result.runId,
      result.outcome,
      result.seconds,
      boundedReport(result.report),
      result.error?.message ?? result.reason ?? null,
      result.error?.code ?? null,
    ],
  );
  await session.query(
    `delete from pgkeep.job_run
      where job = $1
        and started_at < (select started_at from pgkeep.job_run where job = $1
                           order by started_at desc offset $2 limit 1)`,
    [result.job, runsKept - 1],
  );
}

function boundedReport(report: Json): string {
  // PostgreSQL's jsonb cannot hold U+0000, which a statement text or a file name may contain.
  const text = JSON.stringify(report).replaceAll("\\u0000", "\\ufffd");
  const bytes = Buffer.byteLength(text);
  return bytes <= maximumReportBytes
    ? text
    : JSON.stringify({ omitted: "the report is too large to keep", bytes });
}
