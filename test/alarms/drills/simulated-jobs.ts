import { setTimeout as delay } from "node:timers/promises";
import { Cron } from "croner";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import type { Job } from "../../../lib/jobs/job.ts";
import type { Backup, Backups, RecoveryWindow } from "../../../lib/ports/backups.ts";
import type { Clock } from "../../../lib/ports/clock.ts";
import type { Ports } from "../../../lib/ports/index.ts";
import type { MetricDatum, Metrics } from "../../../lib/ports/metrics.ts";
import { scheduleOf } from "../../../lib/sandbox/scheduler.ts";
import type { SimulatedTime } from "./simulated-time.ts";

/** Ages that a schedule makes: two days of them are two simulated days. All others are real seconds. */
const simulatedAges: ReadonlySet<MetricDatum["name"]> = new Set(["JobSuccessAge", "HeartbeatAge"]);

/** Jobs that name, age and prune backups by the calendar: they live in simulated time altogether. */
const byCalendar: ReadonlySet<string> = new Set(["back-up", "check-recovery"]);

/** Hands on what a job measures, at the simulated minute and with ages of schedules in simulated seconds. */
export function restamped(
  time: SimulatedTime,
  receive: (datum: MetricDatum) => void,
  metrics: Metrics,
): Metrics {
  return {
    async put(data) {
      for (const datum of data) {
        const value = simulatedAges.has(datum.name) ? time.ageSeconds(datum.value) : datum.value;
        receive({ ...datum, value, at: time.now() });
      }
      await metrics.put(data);
    },
  };
}

/** The ports as one job sees them. */
export function portsOf(job: Job, time: SimulatedTime, ports: Ports): Ports {
  if (!byCalendar.has(job.name)) return ports;
  return {
    ...ports,
    clock: simulatedClock(time),
    ...(ports.backups === undefined ? {} : { backups: translated(ports.backups, time) }),
  };
}

function simulatedClock(time: SimulatedTime): Clock {
  return {
    now: () => time.now(),
    sleep: async (_, signal) => {
      await delay(20, undefined, signal === undefined ? {} : { signal });
    },
  };
}

/** Backups with the simulated moments at which they were made. How much of the log is not archived stays real. */
function translated(backups: Backups, time: SimulatedTime): Backups {
  const ofBackup = (backup: Backup): Backup => ({
    ...backup,
    startedAt: time.of(backup.startedAt),
    ...(backup.finishedAt === undefined ? {} : { finishedAt: time.of(backup.finishedAt) }),
    ...(backup.verifiedAt === undefined ? {} : { verifiedAt: time.of(backup.verifiedAt) }),
  });
  const ofWindow = ({ earliest, latest }: RecoveryWindow): RecoveryWindow => ({
    earliest: time.of(earliest),
    latest: new Date(time.now().getTime() - (Date.now() - latest.getTime())),
  });
  return {
    ...(backups.recoversFromBackups === undefined
      ? {}
      : { recoversFromBackups: backups.recoversFromBackups }),
    create: async (id) => ofBackup(await backups.create(id)),
    list: async () => (await backups.list()).map(ofBackup),
    remove: (id) => backups.remove(id),
    pin: (id, reason) => backups.pin(id, reason),
    unpin: (id) => backups.unpin(id),
    verify: (id) => backups.verify(id),
    markVerified: (id, at) => backups.markVerified(id, at),
    recoveryWindow: async () => {
      const window = await backups.recoveryWindow();
      return window === undefined ? undefined : ofWindow(window);
    },
    restore: (request) => backups.restore(request),
    restored: async () => (await backups.restored?.()) ?? [],
    discard: (name) => backups.discard(name),
  };
}

/** Which jobs are due, asked with every tick. */
export class Timetable {
  readonly #entries: { job: Job; cron: Cron; next: Date | null }[];

  constructor(jobs: readonly Job[], { schedules }: Pick<DatabaseConfig, "schedules">, start: Date) {
    this.#entries = jobs.flatMap((job) => {
      const pattern = scheduleOf(job, schedules);
      if (pattern === undefined) return [];
      const cron = new Cron(pattern, { timezone: schedules.timeZone, paused: true });
      return [{ job, cron, next: cron.nextRun(start) }];
    });
  }

  /** Each job at most once, however many of its times have passed since the last question. */
  due(now: Date): Job[] {
    return this.#entries.flatMap((entry) => {
      if (entry.next === null || entry.next > now) return [];
      entry.next = entry.cron.nextRun(now);
      return [entry.job];
    });
  }
}
