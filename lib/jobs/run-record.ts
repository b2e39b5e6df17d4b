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

/**
 * `whole-run`: the caller holds the job's lock for its whole run, so every other run that still stands as running
 * was killed. `one-step`: it holds it for one step only, so the others are believed for a day.
 */
export type Span = "whole-run" | "one-step";

/**
 * Notes the beginning of a run, once. The caller holds the job's lock (except on a standby); runs that must have
 * been killed are closed as failed.
 */
export async function recordStart(session: Session, job: Job, run: Run, span: Span): Promise<void> {
  await session.query(
    `update pgkeep.job_run
        set outcome = 'failed', finished_at = now(), reason = 'ended without a result: killed, or its connection was lost'
      where job = $1 and outcome = 'running' and id <> $2
        and ($3 = 'whole-run' or started_at < now() - interval '1 day')`,
    [job.name, run.id, span],
  );
  await session.query(
    `insert into pgkeep.job_run (id, job, started_at, outcome) values ($1, $2, $3, 'running')
     on conflict (id) do nothing`,
    [run.id, job.name, run.startedAt],
  );
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
