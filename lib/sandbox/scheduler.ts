import { Cron } from "croner";
import type { Environment } from "../environment.ts";
import type { Job, JobResult } from "../jobs/job.ts";
import { runJob } from "../jobs/runner.ts";

export interface Scheduler {
  /** Runs each scheduled job once, one after the other in the order of the list. */
  runAllOnce(): Promise<void>;
  /** When each job runs next; jobs that are switched off, or that nothing starts now, are absent. */
  next(): { job: string; at: Date }[];
  /** Waits for the runs that are under way, which the signal given at the start interrupts. */
  stop(): Promise<void>;
}

/** The schedule of a job: the configuration's, else the job's own; undefined when it is switched off. */
export function scheduleOf(
  job: Job,
  schedules: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const chosen = schedules[job.name] ?? job.schedule;
  return chosen === "off" ? undefined : chosen;
}

/**
 * Runs each job on its schedule in this process, as EventBridge Scheduler does on AWS. A job that is still
 * running when it is due again is left alone.
 */
export function startScheduler(options: {
  jobs: readonly Job[];
  environment: Environment;
  signal: AbortSignal;
  onResult: (result: JobResult) => void;
  /** Asked whenever a job is due: whether nothing starts it now. */
  isDisabled?: (job: string) => boolean;
}): Scheduler {
  const { environment, signal, isDisabled = () => false } = options;
  const { schedules } = environment.config;
  const underWay = new Map<string, Promise<void>>();
  const runNow = (job: Job): Promise<void> => {
    const current = underWay.get(job.name);
    if (current !== undefined || signal.aborted) return current ?? Promise.resolve();
    const run = runJob(job, { ports: environment.ports, config: environment.config, signal })
      .then(options.onResult)
      .finally(() => underWay.delete(job.name));
    underWay.set(job.name, run);
    return run;
  };
  const timers = options.jobs.flatMap((job) => {
    const pattern = scheduleOf(job, schedules);
    if (pattern === undefined) return [];
    const timer = new Cron(pattern, { timezone: schedules.timeZone, unref: true }, () =>
      isDisabled(job.name) ? undefined : runNow(job),
    );
    return [{ job, timer }];
  });
  return {
    next: () =>
      timers.flatMap(({ job, timer }) => {
        const at = timer.nextRun();
        return at === null || isDisabled(job.name) ? [] : [{ job: job.name, at }];
      }),
    runAllOnce: async () => {
      for (const { job } of timers) await runNow(job);
    },
    stop: async () => {
      for (const { timer } of timers) timer.stop();
      await Promise.allSettled(underWay.values());
    },
  };
}
