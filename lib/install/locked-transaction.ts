import { setTimeout as delay } from "node:timers/promises";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryTransactionLock } from "../postgres/advisory-lock.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

export interface LockedTransactionOptions {
  signal?: AbortSignal | undefined;
  /** How long to wait for another installation in the same database. Default 20. */
  waitSeconds?: number | undefined;
}

const maximumAttempts = 4;
/** Longest wait for a lock on one object: whoever queues behind it waits as long. */
const lockTimeout = "5s";

/**
 * Runs `body` in a transaction while no other installation runs in this database. Runs it again when an
 * installation in another database was faster with something that databases share.
 * @throws PgkeepError `read-only`; `refused` when another installation does not end in time
 */
export async function lockedTransaction<T>(
  session: Session,
  options: LockedTransactionOptions,
  body: (session: Session) => Promise<T>,
): Promise<T> {
  const giveUpAt = performance.now() + (options.waitSeconds ?? 20) * 1000;
  for (let attempt = 1; ; ) {
    try {
      return await session.transaction(async (transaction) => {
        await prepare(transaction);
        return body(transaction);
      });
    } catch (error) {
      if (error instanceof Busy) {
        if (performance.now() > giveUpAt) throw anotherRuns(session);
      } else if (attempt < maximumAttempts && isConcurrentChange(error)) {
        attempt += 1;
      } else throw error;
    }
    await delay(100 + Math.random() * 200, undefined, options.signal ? { signal: options.signal } : {});
  }
}

/** Another installation holds the lock of this database. */
class Busy extends Error {}

async function prepare(session: Session): Promise<void> {
  const rows = await session.query<{ readonly: string }>(
    "select current_setting('transaction_read_only') as readonly, set_config('lock_timeout', $1, true)",
    [lockTimeout],
  );
  if (rows[0]?.readonly === "on") {
    throw readOnlyTarget(session, "transactions are read-only (default_transaction_read_only)");
  }
  if (!(await tryTransactionLock(session, "install"))) throw new Busy();
}

/** Roles are shared by all databases, so an installation in another one can be faster by a moment. */
function isConcurrentChange(error: unknown): boolean {
  return (
    hasSqlState(
      error,
      SqlState.uniqueViolation,
      SqlState.duplicateObject,
      SqlState.deadlockDetected,
      SqlState.serializationFailure,
    ) || /tuple concurrently (updated|deleted)/.test(errorMessage(error))
  );
}

export function readOnlyTarget(session: Session, why: string): PgkeepError {
  return new PgkeepError("read-only", `cannot install pgkeep in database ${session.database}: ${why}`, {
    remedy: "connect to the primary, as a user whose transactions may write",
  });
}

function anotherRuns(session: Session): PgkeepError {
  return new PgkeepError("refused", `another installation is running in database ${session.database}`, {
    remedy: "wait until it has ended, then try again",
  });
}
