import { Cron } from "croner";
import { daily, type Window, weekly } from "../config/rules/windows.ts";
import { duration, longestPeriodSeconds } from "../config/schedule.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { jobs as allJobs } from "../jobs/index.ts";
import type { Job } from "../jobs/job.ts";

const daySeconds = 86_400;
const minutesADay = 1_440;
const minutesAWeek = 7 * minutesADay;
/** Winter and summer of one year, so that the result does not depend on the day of synthesis. */
const references = [new Date("2024-01-01T00:00:00Z"), new Date("2024-07-01T00:00:00Z")];
/** Five years of a monthly job: the first of a month is each day of the week. */
const sampledRuns = 60;

/**
 * Refuses windows of AWS in which a job would run: RDS is then busy with its own backup, or restarts. Runs are
 * placed in `schedules.timeZone`, with its changes of summer time, and last as long as their steps may. A job that
 * runs more than once a day cannot be kept out of the windows and goes on with its next run.
 * @throws UsageError (`configuration`) with the setting, the run that it meets and what to do
 */
export function assertWindowsClear(config: DatabaseConfig, jobs: readonly Job[] = allJobs): void {
  const windows = [
    {
      path: "backups.window",
      text: config.backups.window,
      window: daily(config.backups.window),
      period: minutesADay,
    },
    {
      path: "maintenance.window",
      text: config.maintenance.window,
      window: weekly(config.maintenance.window),
      period: minutesAWeek,
    },
  ];
  for (const job of jobs) {
    const fields = scheduleOf(job, config);
    if (!isRare(fields)) continue;
    const seconds = job.steps.reduce((sum, { timeoutSeconds }) => sum + timeoutSeconds, 0);
    const runs = runsOf(fields, config.schedules.timeZone);
    for (const { path, text, window, period } of windows) {
      const met = runs.find((run) => meets(window, run, Math.ceil(seconds / 60), period));
      if (met === undefined) continue;
      throw new UsageError(
        `${config.key}: ${path}: ${text} UTC meets ${job.name}, which starts at ${met.toISOString().slice(11, 16)} UTC (schedules.${job.name}: ${fields} in ${config.schedules.timeZone}) and may take ${duration(seconds)}`,
        { remedy: `move the window, or the job with schedules.${job.name}` },
        "configuration",
      );
    }
  }
}

function scheduleOf(job: Job, { schedules }: DatabaseConfig): string {
  return (schedules as Readonly<Record<string, string | undefined>>)[job.name] ?? job.schedule;
}

function isRare(fields: string): boolean {
  return fields !== "off" && (longestPeriodSeconds(fields) ?? 0) >= daySeconds;
}

function runsOf(fields: string, timezone: string): Date[] {
  const cron = new Cron(fields, { paused: true, mode: "5-part", timezone });
  return references.flatMap((reference) => cron.nextRuns(sampledRuns, reference));
}

/** Whether a run of so many minutes meets a window that comes again each period, both in minutes of UTC. */
function meets(window: Window, run: Date, minutes: number, period: number): boolean {
  const start = run.getUTCDay() * minutesADay + run.getUTCHours() * 60 + run.getUTCMinutes();
  const untilWindow = (window.start - start + minutesAWeek) % period;
  const sinceWindow = (period - untilWindow) % period;
  return untilWindow < minutes || sinceWindow < window.length;
}
