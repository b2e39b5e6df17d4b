import type { Session } from "../../ports/databases.ts";
import { tryAdvisoryLock } from "../../postgres/advisory-lock.ts";
import { countText } from "../../words.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { requireSchema, scheduledJobs } from "./jobs.ts";

/** Beyond two periods of a job that runs once a year. */
const agedDays = 1_000;

/** No sandbox lives that long: what is older was moved by this fault. */
const impossibleDays = 500;

/** Without check-health: it measures the ages, and the next run of it would be the first success. */
const agedJobs: readonly string[] = scheduledJobs.filter((job) => job !== "check-health");

const runMilliseconds = 50;
const longestRunMilliseconds = 10_000;

interface Moved {
  runs: number;
  reports: number;
  installations: number;
}

export const ageJobRuns: Fault = {
  name: "age-job-runs",
  alarms: ["backup-absent", "drill-absent", "job-overdue"],
  argument: { word: "JOB", values: agedJobs },
  summary: `let the runs of each job but check-health, or of that one, look ${agedDays} days old: the job was not done for longer than any schedule allows; its next success is the cure`,
  apply: async (context) => {
    const { whose, details } = partsOf(context);
    const moved = await move(context, "back");
    if (moved.runs + moved.reports + moved.installations === 0) {
      return { outcome: "already-applied", message: `the runs of ${whose} look old`, details };
    }
    return {
      outcome: "applied",
      message: `${countText(moved.runs, "run")} of ${whose}, and when it was scheduled, look ${agedDays} days older`,
      details: { ...details, ...moved },
    };
  },
  repair: async (context) => {
    const { whose, details } = partsOf(context);
    const moved = await move(context, "forth");
    if (moved.runs + moved.reports + moved.installations === 0) {
      return { outcome: "not-applied", message: `no run of ${whose} looks old`, details };
    }
    return {
      outcome: "repaired",
      message: `${countText(moved.runs, "run")} of ${whose} are as old as they are`,
      details: { ...details, ...moved },
    };
  },
};

function partsOf({ argument }: FaultContext) {
  return {
    jobs: argument === undefined ? agedJobs : [argument],
    whose: argument ?? "every job",
    details: { job: argument ?? null, days: agedDays },
  };
}

function move(context: FaultContext, direction: "back" | "forth"): Promise<Moved> {
  const { jobs } = partsOf(context);
  return withSuperuser(context.state, async (session) => {
    await requireSchema(session);
    await waitForHealthCheck(session, context);
    return session.transaction(() => moveRows(session, jobs, direction));
  });
}

/** A run of it that is under way would hand on what it has read before. One that hangs hands on nothing. */
async function waitForHealthCheck(session: Session, { clock, signal }: FaultContext): Promise<void> {
  for (let waited = 0; waited < longestRunMilliseconds; waited += runMilliseconds) {
    if (await tryAdvisoryLock(session, "check-health")) return;
    await clock.sleep(runMilliseconds, signal);
  }
}

/** What `readSuccessAges` counts from: successes, when check-health first knew of the job, the installation. */
async function moveRows(
  session: Session,
  jobs: readonly string[],
  direction: "back" | "forth",
): Promise<Moved> {
  const days = direction === "back" ? -agedDays : agedDays;
  const isOld = direction === "forth";
  const counts = async (sql: string, values: readonly unknown[]) => (await session.query(sql, values)).length;
  const movable = (column: string) => `(${column} < now() - make_interval(days => ${impossibleDays})) = $2`;
  return {
    runs: await counts(
      `update pgkeep.job_run
          set started_at = started_at + make_interval(days => $1::int),
              finished_at = finished_at + make_interval(days => $1::int)
        where job = any ($3) and outcome <> 'running' and ${movable("started_at")}
    returning id`,
      [days, isOld, jobs],
    ),
    reports: await counts(
      `update pgkeep.job_run
          set report = jsonb_set(report, '{scheduledSince}', (
                select jsonb_object_agg(key, case
                         when key = any ($3) and ${movable("value::timestamptz")}
                         then to_char((value::timestamptz + make_interval(days => $1::int)) at time zone 'UTC',
                                      'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                         else value end)
                  from jsonb_each_text(report->'scheduledSince')))
        where job = 'check-health' and jsonb_typeof(report->'scheduledSince') = 'object'
          and exists (select from jsonb_each_text(report->'scheduledSince')
                       where key = any ($3) and ${movable("value::timestamptz")})
    returning id`,
      [days, isOld, jobs],
    ),
    installations: await counts(
      `update pgkeep.schema_version set applied_at = applied_at + make_interval(days => $1::int)
        where ${movable("applied_at")} returning 1`,
      [days, isOld],
    ),
  };
}
