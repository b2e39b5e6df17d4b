import type { JobConfig } from "../config/schema.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

/**
 * Every job with a step inside the VPC, for what cannot import the list of jobs because it is in it. The runs of the
 * others are recorded where everything is in reach of one process, and on AWS not at all.
 */
export const jobNames = [
  "check-health",
  "route-replicas",
  "back-up",
  "vacuum",
  "manage-partitions",
  "reindex",
  "check-integrity",
  "collect-history",
  "review-database",
  "drill-restore",
] as const satisfies readonly (keyof JobConfig["schedules"])[];

export interface SuccessAge {
  job: string;
  ageSeconds: number;
  /** Since when check-health knows it as scheduled, ISO 8601. */
  scheduledSince: string;
}

/**
 * How long ago each scheduled job last succeeded, in seconds, by `pgkeep.job_run`. One that has not since it was
 * scheduled counts from then: from the installation, or from the first run of check-health that found it, so that
 * a job which is new or was off for a while is not overdue at once. Each run of check-health hands that on to the
 * next in its report. Empty where the schema is not installed or may not be read, and on a standby.
 */
export async function readSuccessAges(session: Session, config: JobConfig): Promise<SuccessAge[]> {
  if (session.isStandby) return [];
  const scheduled = jobNames.filter((name) => config.schedules[name] !== "off");
  try {
    return await session.query<SuccessAge>(
      `select wanted.job,
              extract(epoch from clock_timestamp() - greatest(last.finished_at, since.at))::float8 as "ageSeconds",
              to_char(since.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "scheduledSince"
         from unnest($1::text[]) as wanted(job)
        cross join (select min(applied_at) as at from pgkeep.schema_version) as installed
         left join (select report->'scheduledSince' as known from pgkeep.job_run
                     where job = 'check-health' and outcome = 'succeeded'
                     order by started_at desc limit 1) as previous on true
         left join lateral (select finished_at from pgkeep.job_run
                             where job_run.job = wanted.job and outcome = 'succeeded'
                             order by started_at desc limit 1) as last on true
        cross join lateral (select case when previous.known is null then installed.at
                                        else coalesce((previous.known->>wanted.job)::timestamptz, clock_timestamp())
                                   end as at) as since
        where greatest(last.finished_at, since.at) is not null`,
      [scheduled],
    );
  } catch (error) {
    if (
      hasSqlState(
        error,
        SqlState.undefinedTable,
        SqlState.invalidSchemaName,
        SqlState.insufficientPrivilege,
        SqlState.queryCanceled,
      )
    ) {
      return [];
    }
    throw error;
  }
}
