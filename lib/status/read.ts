import * as z from "zod";
import { checkHealth, type HealthReport } from "../checks/health.ts";
import { readPreviousSample } from "../checks/samples.ts";
import { nextRun } from "../config/schedule.ts";
import type { JobConfig } from "../config/schema.ts";
import { PgkeepError } from "../errors.ts";
import { lookAtRecovery } from "../jobs/check-recovery.ts";
import { drillRestore } from "../jobs/drill-restore.ts";
import { jobs } from "../jobs/index.ts";
import type { Json } from "../json.ts";
import type { Backups } from "../ports/backups.ts";
import type { Session } from "../ports/databases.ts";
import type { Routing } from "../ports/routing.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { documentAge } from "../routing/document.ts";
import { Absence } from "./part.ts";
import type { BackupsNow, DrillNow, JobNow, JobsNow, RoutingNow } from "./status.ts";

/** Every health check, compared with the last run of check-health where there is one. */
export async function readHealth(
  session: Session,
  config: JobConfig,
  now: () => Date,
): Promise<HealthReport> {
  const previous = await readPreviousSample(session);
  return checkHealth({ session, config, now: now(), previous });
}

export async function readRouting(routing: Routing, now: Date): Promise<RoutingNow | Absence> {
  const document = await routing.read();
  if (document === undefined) {
    return new Absence("no routing document has been published yet", "`pgkeep run route-replicas`");
  }
  return { document, ...documentAge(document, now) };
}

/** Backups that are shown one by one. */
const shownBackups = 5;

export async function readBackups(backups: Backups, now: Date): Promise<BackupsNow> {
  const list = await backups.list();
  const recovery = await lookAtRecovery(
    { list: async () => list, recoveryWindow: () => backups.recoveryWindow() },
    now,
  );
  const newest = list
    .toSorted((a, b) => b.startedAt.getTime() - a.startedAt.getTime())
    .slice(0, shownBackups);
  return {
    recovery,
    total: list.length,
    newest: newest.map(({ id, status, startedAt, sizeBytes, verifiedAt }) => ({
      id,
      status,
      startedAt: startedAt.toISOString(),
      sizeBytes: sizeBytes ?? null,
      verifiedAt: verifiedAt?.toISOString() ?? null,
    })),
  };
}

const drillSchema = z.object({
  rtoSeconds: z.number().nullable().catch(null),
  rpoSeconds: z.number().nullable().catch(null),
  restoredTo: z.string().nullable().catch(null),
  backupId: z.string().nullable().catch(null),
  tablesProved: z.number().nullable().catch(null),
  proofs: z.array(z.object({ name: z.string(), ok: z.boolean(), detail: z.string() })).catch([]),
  notAssessable: z.array(z.string()).catch([]),
});

/** @throws PgkeepError `not-installed` */
export async function readDrill(session: Session): Promise<DrillNow> {
  const [row] = await ofRuns(session, () =>
    session.query<{ startedAt: Date; outcome: string; reason: string | null; report: Json }>(
      `select started_at as "startedAt", outcome, reason, report from pgkeep.job_run
        where job = $1 and outcome <> 'running' order by started_at desc limit 1`,
      [drillRestore.name],
    ),
  );
  if (row === undefined) return { last: null };
  const { startedAt, outcome, reason, report } = row;
  return {
    last: { startedAt: startedAt.toISOString(), outcome, reason, ...drillSchema.parse(report ?? {}) },
  };
}

type RunRow = {
  job: string;
  startedAt: Date | null;
  outcome: string;
  seconds: number | null;
  reason: string | null;
  errorCode: string | null;
  lastSuccessAt: Date | null;
};

/**
 * Every job with its last run. `scheduled`: something runs them here when they are due.
 * @throws PgkeepError `not-installed`
 */
export async function readJobs(
  session: Session,
  { config, now, scheduled }: { config: JobConfig; now: Date; scheduled: boolean },
): Promise<JobsNow> {
  const rows = await ofRuns(session, () =>
    session.query<RunRow>(
      `select wanted.job, last.started_at as "startedAt", last.outcome, last.seconds, last.reason,
              last.error_code as "errorCode", good.at as "lastSuccessAt"
         from unnest($1::text[]) as wanted(job)
         left join lateral (select * from pgkeep.job_run r where r.job = wanted.job
                             order by r.started_at desc limit 1) as last on true
         left join lateral (select coalesce(r.finished_at, r.started_at) as at from pgkeep.job_run r
                             where r.job = wanted.job and r.outcome = 'succeeded'
                             order by r.started_at desc limit 1) as good on true`,
      [jobs.map(({ name }) => name)],
    ),
  );
  return {
    scheduled,
    jobs: jobs.map(({ name, summary, schedule }): JobNow => {
      const row = rows.find(({ job }) => job === name);
      const fields = (config.schedules as Readonly<Record<string, string | undefined>>)[name] ?? schedule;
      return {
        job: name,
        summary,
        last:
          row === undefined || row.startedAt === null
            ? null
            : {
                startedAt: row.startedAt.toISOString(),
                outcome: row.outcome,
                seconds: row.seconds,
                reason: row.reason,
                errorCode: row.errorCode,
              },
        lastSuccessAt: row?.lastSuccessAt?.toISOString() ?? null,
        nextAt:
          fields === "off" ? null : (nextRun(fields, config.schedules.timeZone, now)?.toISOString() ?? null),
      };
    }),
  };
}

/** Says in the user's terms why runs cannot be read. */
async function ofRuns<T>(session: Session, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (hasSqlState(error, SqlState.undefinedTable, SqlState.invalidSchemaName, SqlState.undefinedColumn)) {
      throw new PgkeepError(
        "not-installed",
        `runs of jobs are not recorded in database ${session.database}: the schema pgkeep is not installed`,
        { remedy: "run `pgkeep install` as the master user", cause: error },
      );
    }
    if (hasSqlState(error, SqlState.insufficientPrivilege)) {
      throw new PgkeepError(
        "insufficient-privilege",
        `the role ${session.user} may not read pgkeep.job_run of database ${session.database}`,
        { remedy: "connect as pgkeep_monitoring or pgkeep_maintenance", cause: error },
      );
    }
    throw error;
  }
}
