import { errorMessage, PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { Job, JobResult, Run, RunOptions } from "./job.ts";
import { recordEnd, recordStart, type Span, whyNotRecordable } from "./run-record.ts";

/** How long recording the end of a run may take before a server that has stopped answering is given up. */
const recordingMilliseconds = 15_000;

/** The session that holds a job's lock and writes its record, as far as they could be had. */
export interface Guard {
  /** Another run holds the lock. */
  readonly busy: boolean;
  /** The run stands in `pgkeep.job_run`. */
  readonly recorded: boolean;
  /** Writes the result; when that is impossible, says so in its warnings. */
  record(result: JobResult): Promise<void>;
  close(): Promise<void>;
}

/** For dry runs, and where there is no database to lock. */
const nothing: Guard = { busy: false, recorded: false, record: async () => {}, close: async () => {} };

/**
 * Takes the job's lock (unless `lock` is false) and notes the run's beginning, for as long as the job may go without.
 * `span` says what may be believed of other runs that still stand as running.
 * @throws PgkeepError when the job requires its lock and the database cannot be reached
 */
export async function takeGuard(
  job: Job,
  options: Pick<RunOptions, "ports" | "dryRun">,
  run: Run,
  span: Span,
  warnings: string[],
  { lock = true }: { lock?: boolean } = {},
): Promise<Guard> {
  if (options.dryRun === true || options.ports.primary === undefined) return nothing;
  const givingUp = new AbortController();
  let session: Session;
  try {
    session = await options.ports.primary.connect({ role: job.role, signal: givingUp.signal });
  } catch (error) {
    if (job.lock === "required") throw error;
    warnings.push(`neither locked nor recorded: ${errorMessage(error)}`);
    return nothing;
  }
  try {
    const locked = !lock || session.isStandby || (await tryAdvisoryLock(session, job.name));
    if (!locked) return new SessionGuard(session, givingUp, { busy: true, recorded: false });
    const obstacle = await whyNotRecordable(session);
    if (obstacle !== undefined) {
      warnings.push(`not recorded: ${obstacle}`);
      return new SessionGuard(session, givingUp, { busy: false, recorded: false });
    }
    await recordStart(session, job, run, span);
    return new SessionGuard(session, givingUp, { busy: false, recorded: true });
  } catch (error) {
    await session.close();
    if (job.lock === "required") throw error;
    warnings.push(`neither locked nor recorded: ${errorMessage(error)}`);
    return nothing;
  }
}

class SessionGuard implements Guard {
  readonly busy: boolean;
  readonly recorded: boolean;
  readonly #session: Session;
  readonly #givingUp: AbortController;

  constructor(session: Session, givingUp: AbortController, state: Pick<Guard, "busy" | "recorded">) {
    this.#session = session;
    this.#givingUp = givingUp;
    this.busy = state.busy;
    this.recorded = state.recorded;
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
