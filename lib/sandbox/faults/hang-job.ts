import { PgkeepError } from "../../errors.ts";
import { tryAdvisoryLock } from "../../postgres/advisory-lock.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { requireSchema, scheduledJobs } from "./jobs.ts";

/** Of the jobs that may not overlap with themselves, the one whose absence is noticed first after check-health. */
const first = "check-recovery";

/** How long a real run may take to end before the fault gives up. */
const patienceMilliseconds = 20_000;
const pollMilliseconds = 100;

export const hangJob: Fault = {
  name: "hang-job",
  alarms: [
    "job-absent",
    "health-check-absent",
    "backup-late",
    "backup-absent",
    "drill-absent",
    "job-overdue",
  ],
  // Runs of route-replicas may overlap, so that none stops another.
  argument: { word: "JOB", values: scheduledJobs.filter((job) => job !== "route-replicas") },
  summary: `begin a run of that job (${first}) that never ends and keeps the job's lock: every later run is refused and names it`,
  apply: async (context) => {
    const { held, state } = context;
    const { job, holder, run, details } = partsOf(context);
    const pids = await held.pids(holder, state);
    if (pids.length > 0) {
      return { outcome: "already-applied", message: `a run of ${job} hangs already`, details };
    }
    await withSuperuser(state, requireSchema);
    const session = await held.open(holder, state, state.roles.monitoring);
    try {
      for (let waited = 0; !(await tryAdvisoryLock(session, job)); waited += pollMilliseconds) {
        if (waited >= patienceMilliseconds) {
          throw new PgkeepError("refused", `a run of ${job} is under way and does not end`, {
            remedy: "wait for it, then apply the fault again",
          });
        }
        await context.clock.sleep(pollMilliseconds, context.signal);
      }
      await session.query(
        `insert into pgkeep.job_run (id, job, started_at, outcome) values ($1, $2, clock_timestamp(), 'running')
         on conflict (id) do update set started_at = excluded.started_at, outcome = 'running', finished_at = null, reason = null`,
        [run, job],
      );
    } catch (error) {
      await held.end(holder, state);
      throw error;
    }
    return { outcome: "applied", message: `a run of ${job} has begun that never ends`, details };
  },
  repair: async (context) => {
    const { held, state } = context;
    const { job, holder, run, details } = partsOf(context);
    const ended = await held.end(holder, state);
    const forgotten = await withSuperuser(state, async (session) => {
      const [present] = await session.query<{ table: string | null }>(
        "select to_regclass('pgkeep.job_run')::text as table",
      );
      return present?.table == null
        ? []
        : session.query("delete from pgkeep.job_run where id = $1 returning id", [run]);
    });
    return ended === 0 && forgotten.length === 0
      ? { outcome: "not-applied", message: `no run of ${job} hangs`, details }
      : { outcome: "repaired", message: `the run of ${job} that hung is gone`, details };
  },
};

function partsOf({ argument: job = first }: FaultContext) {
  const run = `fault-hang-job-${job}`;
  return { job, run, holder: `hang-job:${job}`, details: { job, run } };
}
