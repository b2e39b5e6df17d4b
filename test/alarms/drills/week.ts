import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import { jobNamed } from "../../../lib/jobs/index.ts";
import { type RunListReport, runList } from "../../../lib/jobs/run-list.ts";
import { startWorkload, type Workload } from "../../../lib/sandbox/application/workload.ts";
import { withSuperuser } from "../../../lib/sandbox/faults/held-sessions.ts";
import { type DrillSandbox, type Told, tickSeconds } from "./drill-sandbox.ts";

const minutesOfDay = 1_440;
export const days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] as const;

/** Something that happens at a minute of a day. */
export interface WeekEvent {
  /** 0 is Monday. */
  day: number;
  /** Of the day. */
  minute: number;
  what: string;
  happen(sandbox: DrillSandbox): Promise<void>;
}

/** Part of a day that is gone through minute by minute. */
export interface Stretch {
  day: number;
  from: number;
  to: number;
}

export interface WeekResult {
  ticks: number;
  runs: { succeeded: number; failed: number; skipped: number };
  /** Runs that failed, with why. */
  failures: readonly string[];
  told: readonly Told[];
}

/**
 * Goes through a week: whole, or only through these stretches of it, in order. Between two stretches time leaps; what
 * was due in between is done in the first minute after it.
 */
export async function runWeek(
  sandbox: DrillSandbox,
  events: readonly WeekEvent[],
  stretches: readonly Stretch[] = days.map((_, day) => ({ day, from: 0, to: minutesOfDay })),
  onDay: (line: string) => void = () => {},
): Promise<WeekResult> {
  const begin = sandbox.now.getTime();
  const ticksBefore = sandbox.ticks;
  const runsBefore = total(sandbox);
  const minuteNow = () => Math.round((sandbox.now.getTime() - begin) / 1000 / tickSeconds);
  const left = [...events].sort((one, other) => startOf(one) - startOf(other));
  for (const { day, from, to } of stretches) {
    const start = day * minutesOfDay + from;
    if (minuteNow() < start) {
      sandbox.time.advance((start - minuteNow()) * tickSeconds);
      // Two of its periods would be without a success otherwise.
      sandbox.runAtNextTick({ job: "check-recovery" });
    }
    while (minuteNow() < day * minutesOfDay + to) {
      while (left[0] !== undefined && startOf(left[0]) <= minuteNow()) await left.shift()?.happen(sandbox);
      await sandbox.tick();
    }
    onDay(`${days[day]}: ${sandbox.ticks - ticksBefore} ticks, ${sandbox.told.length} messages`);
  }
  const runs = total(sandbox);
  return {
    ticks: sandbox.ticks - ticksBefore,
    runs: {
      succeeded: runs.succeeded - runsBefore.succeeded,
      failed: runs.failed - runsBefore.failed,
      skipped: runs.skipped - runsBefore.skipped,
    },
    failures: sandbox.failures.map(({ job, at, reason }) => `${job} at ${at.toISOString()}: ${reason}`),
    told: sandbox.told,
  };
}

function startOf({ day, minute }: WeekEvent): number {
  return day * minutesOfDay + minute;
}

function total(sandbox: DrillSandbox): WeekResult["runs"] {
  const sum = { succeeded: 0, failed: 0, skipped: 0 };
  for (const counts of sandbox.runs.values()) {
    sum.succeeded += counts.succeeded;
    sum.failed += counts.failed;
    sum.skipped += counts.skipped;
  }
  return sum;
}

const clock = (hours: number, minutes = 0) => hours * 60 + minutes;
const noon = clock(12);

/** Four times the usual load of the shop, for as long as an event lasts. */
function peak(day: number, from: number, to: number): WeekEvent[] {
  let workload: Workload | undefined;
  return [
    {
      day,
      minute: from,
      what: "four times the usual load",
      happen: async ({ running: { state, environment } }) => {
        workload = startWorkload({
          database: state.database,
          primary: { host: "127.0.0.1", port: state.primary.port },
          logins: state.application,
          routing: async () => environment.ports.routing?.read(),
          ratePerSecond: 60,
          clients: 6,
          seed: 2,
        });
      },
    },
    {
      day,
      minute: to,
      what: "the load is as usual",
      happen: async () => {
        await workload?.stop();
      },
    },
  ];
}

/** A release: is it well and backed up, a column and an index with short locks, statistics, is it well. */
function deploy(day: number, minute: number, config: DatabaseConfig): WeekEvent {
  return {
    day,
    minute,
    what: "a release: pre-deploy, a column and an index, post-deploy",
    happen: async (sandbox) => {
      requireDone(await listed(sandbox, config, "pre-deploy"));
      await withSuperuser(sandbox.running.state, async (session) => {
        await session.query("set lock_timeout = '5s'");
        await session.query("alter table shop.reviews add column if not exists answered_at timestamptz");
        await session.query(
          "create index concurrently if not exists reviews_answered on shop.reviews (answered_at)",
        );
      });
      requireDone(await listed(sandbox, config, "post-deploy"));
    },
  };
}

function listed(
  sandbox: DrillSandbox,
  { runs }: DatabaseConfig,
  name: "pre-deploy" | "post-deploy",
): Promise<RunListReport> {
  const { jobs, stopOnFailure, failOn } = runs[name];
  return runList({
    name,
    jobs: jobs.map(jobNamed),
    stopOnFailure,
    failOn,
    clock: { now: () => sandbox.now, sleep: async () => {} },
    signal: new AbortController().signal,
    runOne: (job) => sandbox.runNow(job.name),
  });
}

function requireDone({ run, outcome, jobs, notRun }: RunListReport): void {
  if (outcome === "succeeded") return;
  const reasons = jobs.map(({ job, outcome: one, reason }) => `${job} ${one}: ${reason ?? ""}`);
  throw new Error(
    `${run}: ${outcome}: ${[...reasons, ...notRun.map(({ job }) => `${job} not run`)].join("; ")}`,
  );
}

/** A fault that is on for so many minutes. */
function broken(day: number, minute: number, fault: string, minutes: number): WeekEvent[] {
  return [
    {
      day,
      minute,
      what: fault,
      happen: async ({ running }) => void (await running.applyFault(fault, false)),
    },
    {
      day,
      minute: minute + minutes,
      what: `${fault} is repaired`,
      happen: async ({ running }) => void (await running.applyFault(fault, true)),
    },
  ];
}

/** What is part of a week in which nobody needs to be told of anything. */
export function goodWeek(config: DatabaseConfig): WeekEvent[] {
  return [
    ...days.flatMap((_, day) => peak(day, noon, noon + 60)),
    deploy(1, noon + 2, config),
    // A failover as it looks from outside: for two minutes the primary does not answer, then it is as before.
    ...broken(2, noon + 2, "crash-primary", 2),
    // The maintenance window: each server is restarted, a replica takes minutes.
    ...broken(6, clock(5), "crash-replica", 4),
    ...broken(6, clock(5, 8), "crash-primary", 1),
  ];
}

/** The same week by what is around its events. */
export const goodStretches: readonly Stretch[] = days.flatMap((_, day) => [
  { day, from: clock(2, 59), to: clock(3, 2) },
  ...(day === 6 ? [{ day, from: clock(4, 59), to: clock(5, 12) }] : []),
  { day, from: noon - 1, to: noon + 9 },
]);

/** A fault and what has to be told of it: this alarm, and no other. */
export interface BadDay {
  fault: string;
  alarm: string;
  minutes: number;
}

/** One for each day, from one past noon on, beside all that belongs to the week. */
export const badDays: readonly BadDay[] = [
  { fault: "abandon-slot", alarm: "inactive-slots", minutes: 21 },
  { fault: "forget-prepared-transaction", alarm: "prepared-transactions", minutes: 17 },
  { fault: "crash-primary", alarm: "database-down", minutes: 6 },
  { fault: "leave-invalid-index", alarm: "invalid-indexes", minutes: 17 },
  { fault: "crash-replica", alarm: "replica-lag-replica-1", minutes: 19 },
  { fault: "fill-disk", alarm: "free-storage", minutes: 12 },
  { fault: "stop-replication", alarm: "replication-stopped-replica-1", minutes: 14 },
];

const badFrom = clock(13);

export function badWeek(config: DatabaseConfig): WeekEvent[] {
  return [
    ...goodWeek(config),
    ...badDays.flatMap(({ fault, minutes }, day) => broken(day, badFrom, fault, minutes)),
  ];
}

export const badStretches: readonly Stretch[] = badDays.map(({ minutes }, day) => ({
  day,
  from: badFrom - 2,
  // Five minutes until it is told that it is over, and two in which nothing is.
  to: badFrom + minutes + 8,
}));
