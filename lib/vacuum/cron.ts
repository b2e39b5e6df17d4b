import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";

/** Whether pg_cron can be used here; the reason when it is there and cannot. */
export type CronState = { kind: "absent" } | { kind: "usable" } | { kind: "refused"; remedy: string };

/** pg_cron lives in one database of the server; only there its functions can be called. */
export async function readCron(session: Session): Promise<CronState> {
  const rows = await session.query<{ schemaUsable: boolean; callable: boolean | null }>(
    `select has_schema_privilege(n.oid, 'usage') as "schemaUsable",
            (select bool_and(has_function_privilege(p.oid, 'execute')) from pg_proc p
              where p.pronamespace = n.oid and p.proname in ('schedule', 'unschedule')) as callable
       from pg_extension e, pg_namespace n where e.extname = 'pg_cron' and n.nspname = 'cron'`,
  );
  const found = rows[0];
  if (found === undefined) return { kind: "absent" };
  if (found.schemaUsable && found.callable === true) return { kind: "usable" };
  return { kind: "refused", remedy: `GRANT USAGE ON SCHEMA cron TO ${identifier(session.user)}` };
}

/**
 * Schedules one run of a statement for the next minute that is surely still to come. The schedule would come again in a
 * year, long after the next run has removed it. Resolves to the job's number.
 */
export async function scheduleOnce(session: Session, name: string, statement: string): Promise<number> {
  const rows = await session.query<{ id: number }>(
    `select cron.schedule($1, to_char(date_trunc('minute', (clock_timestamp() + interval '80 seconds')
              at time zone coalesce(current_setting('cron.timezone', true), 'GMT')), 'FMMI FMHH24 FMDD FMMM "*"'), $2)::int8 as id`,
    [name, statement],
  );
  return (rows[0] as { id: number }).id;
}

export interface CronRun {
  status: string;
  message: string | null;
}

/** How the last run of a job went; undefined when it has not begun, or runs are not logged. */
export async function readCronRun(session: Session, job: number): Promise<CronRun | undefined> {
  const rows = await session.query<CronRun>(
    `select status, return_message as message from cron.job_run_details where jobid = $1 order by runid desc limit 1`,
    [job],
  );
  return rows[0];
}

export async function unschedule(session: Session, job: number): Promise<void> {
  await session.query("select cron.unschedule(jobid) from cron.job where jobid = $1", [job]);
}
