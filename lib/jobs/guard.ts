import { setTimeout as delay } from "node:timers/promises";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { Job, JobResult, Run, RunOptions } from "./job.ts";
import {
  closeKilled,
  insertRun,
  type OtherRun,
  recordEnd,
  recordStart,
  stillRunning,
  whyNotRecordable,
} from "./run-record.ts";

/** How long recording the end of a run may take before a server that has stopped answering is given up. */
const recordingMilliseconds = 15_000;

/** Pause between two tries to get a lock. */
const pollMilliseconds = 100;

/** The session that holds a job's lock and writes its record, as far as they could be had. */
export interface Guard {
  /** Why this run may not go on: another one is under way. */
  readonly busy: string | undefined;
  /** The run stands in `pgkeep.job_run`. */
  readonly recorded: boolean;
  /** False when another run has closed this one. */
  underWay(): Promise<boolean>;
  /** Writes the result; when that is impossible, says so in its warnings. */
  record(result: JobResult): Promise<void>;
  close(): Promise<void>;
}

/** For dry runs, and where there is no database to lock. */
const nothing: Guard = {
  busy: undefined,
  recorded: false,
  underWay: async () => true,
  record: async () => {},
  close: async () => {},
};

type GuardOptions = Pick<RunOptions, "ports" | "dryRun">;

/**
 * Takes the job's lock and notes the run's beginning, for as long as the job may go without. With `leaseSeconds` the
 * run gets a lease, which outlives the session.
 * @throws PgkeepError when the job requires its lock and the database cannot be reached
 */
export function takeGuard(
  job: Job,
  options: GuardOptions,
  run: Run,
  warnings: string[],
  { leaseSeconds, patienceMilliseconds = 0 }: { leaseSeconds?: number; patienceMilliseconds?: number } = {},
): Promise<Guard> {
  return withSession(job, options, warnings, async (session, givingUp) => {
    const locked =
      job.lock === "none" || session.isStandby || (await pollLock(session, job, patienceMilliseconds));
    if (!locked) return new SessionGuard(session, run, givingUp, false, `${job.name} is already running`);
    const obstacle = await whyNotRecordable(session);
    if (obstacle !== undefined) {
      if (leaseSeconds !== undefined && job.lock === "required") throw notLeasable(job, obstacle);
      warnings.push(`not recorded: ${obstacle}`);
      return new SessionGuard(session, run, givingUp, false);
    }
    if (job.lock === "none") {
      // Nobody can tell a killed run from a slow one, but none takes a day.
      await closeKilled(session, job, run, 1);
      await insertRun(session, job, run, leaseSeconds);
      return new SessionGuard(session, run, givingUp, true);
    }
    const other = await recordStart(session, job, run, leaseSeconds);
    return new SessionGuard(
      session,
      run,
      givingUp,
      other === undefined,
      other === undefined ? undefined : busyWith(job, other),
    );
  });
}

/** A session that writes the end of a run which another process has begun. Nothing is locked. */
export function openRecord(job: Job, options: GuardOptions, run: Run, warnings: string[]): Promise<Guard> {
  return withSession(job, options, warnings, async (session, givingUp) => {
    const obstacle = await whyNotRecordable(session);
    if (obstacle === undefined) {
      if (job.lock === "none") await closeKilled(session, job, run, 1);
      await insertRun(session, job, run);
    } else warnings.push(`not recorded: ${obstacle}`);
    return new SessionGuard(session, run, givingUp, obstacle === undefined);
  });
}

async function withSession(
  job: Job,
  options: GuardOptions,
  warnings: string[],
  use: (session: Session, givingUp: AbortController) => Promise<Guard>,
): Promise<Guard> {
  if (options.dryRun === true || options.ports.primary === undefined) return nothing;
  const givingUp = new AbortController();
  let session: Session | undefined;
  try {
    session = await options.ports.primary.connect({ role: job.role, signal: givingUp.signal });
    return await use(session, givingUp);
  } catch (error) {
    await session?.close();
    if (job.lock === "required") throw error;
    warnings.push(`neither locked nor recorded: ${errorMessage(error)}`);
    return nothing;
  }
}

/** Two that begin at once hold the lock one after the other, each for a moment: only one that keeps it is running. */
async function pollLock(session: Session, job: Job, patienceMilliseconds: number): Promise<boolean> {
  const until = performance.now() + patienceMilliseconds;
  for (;;) {
    if (await tryAdvisoryLock(session, job.name)) return true;
    if (performance.now() >= until) return false;
    await delay(pollMilliseconds);
  }
}

function busyWith(job: Job, { id, startedAt, leasedUntil }: OtherRun): string {
  return `${job.name} is already running: ${id} since ${startedAt.toISOString()}, until ${leasedUntil.toISOString()} at the latest`;
}

function notLeasable(job: Job, obstacle: string): PgkeepError {
  return new PgkeepError(
    "refused",
    `${job.name} must not overlap with itself, and nobody can tell: ${obstacle}`,
    {
      remedy: "run `pgkeep install` on the primary (on AWS the deployment does it)",
    },
  );
}

class SessionGuard implements Guard {
  readonly busy: string | undefined;
  readonly recorded: boolean;
  readonly #session: Session;
  readonly #run: Run;
  readonly #givingUp: AbortController;

  constructor(session: Session, run: Run, givingUp: AbortController, recorded: boolean, busy?: string) {
    this.#session = session;
    this.#run = run;
    this.#givingUp = givingUp;
    this.busy = busy;
    this.recorded = recorded;
  }

  async underWay(): Promise<boolean> {
    return !this.recorded || stillRunning(this.#session, this.#run);
  }

  async record(result: JobResult): Promise<void> {
    if (!this.recorded) return;
    const timer = setTimeout(
      () => this.#givingUp.abort(new PgkeepError("timeout", "the server did not answer in time")),
      recordingMilliseconds,
    );
    try {
      await recordEnd(this.#session, result);
    } catch (error) {
      result.recorded = false;
      result.warnings.push(`the end of the run was not recorded: ${errorMessage(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    await this.#session.close();
  }
}
