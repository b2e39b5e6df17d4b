import { versionText } from "../../postgres/versions.ts";
import { countText, durationText } from "../../words.ts";
import { scalars } from "./clues-of-finding.ts";
import { type Clue, type LookContext, rankOf, type ShortLook } from "./short-look.ts";

/** A server that was started in the last quarter of an hour says why it did not answer. */
const recentStartSeconds = 900;

/** Longest reason of a run that a page repeats. */
const reasonCharacters = 300;

/** That this login works is news when the database was said to be down. */
export const lookAtReachability: ShortLook = async ({ session }) => {
  const [row] = await session.query<{ seconds: number; clients: number; startedAt: Date }>(
    `select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8 as seconds,
            pg_postmaster_start_time() as "startedAt",
            (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as clients`,
  );
  if (row === undefined) return { clues: [] };
  const what = `PostgreSQL ${versionText(session.serverVersionNumber)}, ${session.isStandby ? "a standby" : "the primary"}`;
  const started = row.seconds < recentStartSeconds;
  return {
    clues: [
      {
        from: "reachability",
        rank: rankOf(started || session.isStandby ? "medium" : "low"),
        text: `a login works now: ${what}, ${started ? `started ${durationText(row.seconds)} ago` : `up for ${durationText(row.seconds)}`}`,
        evidence: scalars({
          answers: true,
          isStandby: session.isStandby,
          startedAt: row.startedAt.toISOString(),
          clients: row.clients,
        }),
      },
    ],
  };
};

interface Run {
  startedAt: Date;
  outcome: string;
  reason: string | null;
  ageSeconds: number;
  /** No later one is recorded. */
  isNewest: boolean;
  /** Since the newest run that is recorded began. */
  newestSeconds: number;
  succeededSeconds: number | null;
}

/** A run that lasts this long is no longer one that has just begun. */
const longRunSeconds = 60;

/** A run may begin so much later than it was due: the window of a schedule, and the start of a function. */
const longestDelaySeconds = 3600;

/** Why a run leaves no record. */
const silent = "it cannot reach the database, or not log in, to record itself";

/** Where a run that could not record itself says why. */
const elsewhere = "see the log group of its function (in a sandbox: what the sandbox printed)";

/**
 * What the last run of the alarm's job said: one of the last day that failed before others, unless one has succeeded
 * since and the alarm is not about failures; and the run that is under way. A run that cannot reach the database
 * leaves no record: what is missing is said. @throws PgkeepError when the table of runs may not be read
 */
export const lookAtJobs: ShortLook = async ({ session, alarm }) => {
  const job = alarm.subject?.kind === "job" ? alarm.subject.name : "check-health";
  const runs = await session.query<Run>(
    `with runs as (
       select started_at, outcome, reason,
              outcome = 'failed' and started_at > clock_timestamp() - interval '1 day' and ($2 or not exists (
                select from pgkeep.job_run later
                 where later.job = $1 and later.outcome = 'succeeded' and later.started_at > r.started_at)) as failed
         from pgkeep.job_run r where job = $1)
     select started_at as "startedAt", outcome, reason,
            extract(epoch from clock_timestamp() - started_at)::float8 as "ageSeconds",
            started_at = (select max(started_at) from runs) as "isNewest",
            (select extract(epoch from clock_timestamp() - max(started_at))::float8 from runs) as "newestSeconds",
            (select extract(epoch from clock_timestamp() - max(finished_at))::float8 from pgkeep.job_run s
              where s.job = $1 and s.outcome = 'succeeded') as "succeededSeconds"
       from ((select *, 1 as place from (select * from runs order by started_at desc limit 1) newest where outcome = 'running')
             union all
             (select *, 2 from runs where outcome <> 'running' order by failed desc, started_at desc limit 1)) told
      order by place`,
    [job, alarm.entry.endsWith("-failed")],
  );
  const isUnderWay = runs[0]?.outcome === "running";
  // What ended well before does not explain why this one does not end.
  const told = isUnderWay
    ? runs.filter(({ outcome }) => outcome === "running" || outcome === "failed")
    : runs;
  if (told.length === 0) return { clues: [clueWithoutRuns(job, alarm)] };
  const missing = isUnderWay ? undefined : missingAfter(told, alarm);
  return { clues: told.map((run) => clueOfRun(job, run, missing)) };
};

/** What no record says of the runs that the alarm is about; undefined when the records may well be complete. */
function missingAfter(told: readonly Run[], { entry, subject }: LookContext["alarm"]): string | undefined {
  const { newestSeconds = 0 } = told[0] ?? {};
  const period = subject?.kind === "job" ? subject.periodSeconds : Number.POSITIVE_INFINITY;
  if (newestSeconds > period + Math.min(period / 2, longestDelaySeconds)) {
    return `no run since ${durationText(newestSeconds)} ago has left a record: nothing starts one, or ${silent}: ${elsewhere}`;
  }
  if (!entry.endsWith("-failed") || told.some(({ outcome }) => outcome === "failed")) return undefined;
  return `no failure of the last day is recorded: the run that failed could not reach the database, or not log in, to record itself: ${elsewhere}`;
}

function clueWithoutRuns(job: string, { subject }: LookContext["alarm"]): Clue {
  const recorded = subject?.kind !== "job" || subject.recorded;
  const why = recorded ? `nothing starts one, or ${silent}` : "on AWS it does not reach the database";
  return {
    from: "jobs",
    rank: rankOf("medium"),
    text: `no run of ${job} is recorded: ${why}: ${elsewhere}`,
    evidence: scalars({ job }),
  };
}

function clueOfRun(job: string, run: Run, missing: string | undefined): Clue {
  const { outcome, reason, ageSeconds, isNewest, succeededSeconds, startedAt } = run;
  const why = reason === null ? "" : `: ${reason.slice(0, reasonCharacters)}`;
  const isGrave = outcome === "failed" || (outcome === "running" && ageSeconds > longRunSeconds);
  const which = isNewest ? "last recorded run" : "run";
  return {
    from: "jobs",
    rank: rankOf(isGrave ? "high" : "medium"),
    text: [
      `the ${which} of ${job}, which began ${durationText(ageSeconds)} ago, ${phrases[outcome] ?? outcome}${why}`,
      ...(outcome === "succeeded" ? [] : [lastSuccess(succeededSeconds)]),
      ...(missing === undefined ? [] : [missing]),
    ].join("; "),
    evidence: scalars({
      job,
      outcome,
      startedAt: startedAt.toISOString(),
      reason: reason?.slice(0, reasonCharacters) ?? null,
      succeededSecondsAgo: succeededSeconds === null ? null : Math.round(succeededSeconds),
    }),
  };
}

function lastSuccess(seconds: number | null): string {
  return seconds === null ? "no success is recorded" : `last recorded success ${durationText(seconds)} ago`;
}

const phrases: Record<string, string> = {
  failed: "failed",
  running: "has not ended",
  skipped: "was skipped",
  succeeded: "succeeded",
};

/** What does not get into the archive is not restored. RDS archives by itself and shows nothing here. */
export const lookAtArchiving: ShortLook = async ({ session }) => {
  const [row] = await session.query<{
    mode: string;
    failing: boolean;
    failed: number;
    wal: string | null;
    seconds: number | null;
  }>(
    `select current_setting('archive_mode') as mode, failed_count::float8 as failed, last_failed_wal as wal,
            coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) as failing,
            extract(epoch from clock_timestamp() - coalesce(last_archived_time, stats_reset))::float8 as seconds
       from pg_stat_archiver`,
  );
  if (row === undefined || row.mode === "off" || !row.failing) return { clues: [] };
  return {
    clues: [
      {
        from: "archiving",
        rank: rankOf("high"),
        text: `WAL is not archived: ${row.wal ?? "the next file"} fails, the last success was ${row.seconds === null ? "never" : `${durationText(row.seconds)} ago`}`,
        evidence: scalars({
          failedWal: row.wal,
          failures: row.failed,
          archivedSecondsAgo: row.seconds === null ? null : Math.round(row.seconds),
        }),
      },
    ],
  };
};

/** What check-integrity knows as damaged, by name alone: what it found there may show data. */
export const lookAtDamage: ShortLook = async ({ session }) => {
  const rows = await session.query<{ name: string; seconds: number | null; total: number }>(
    `select object_name as name, extract(epoch from clock_timestamp() - checked_at)::float8 as seconds,
            count(*) over ()::int as total
       from pgkeep.integrity_look where corrupt order by checked_at desc nulls last limit 4`,
  );
  return {
    clues: rows.map(({ name, seconds, total }) => ({
      from: "damage",
      rank: rankOf("critical"),
      text: `${name} is damaged${seconds === null ? "" : `, seen ${durationText(seconds)} ago`} (${countText(total, "object")} in all)`,
      evidence: scalars({ name, objects: total }),
    })),
  };
};

export const lookAtLogins: ShortLook = async () => ({
  clues: [],
  unseen: "refused logins stand in the server's log and nowhere in SQL: the command reads it",
});
