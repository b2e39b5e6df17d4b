import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseConfig } from "../config/schema.ts";
import { errorMessage, PgkeepError, UsageError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryTransactionLock } from "../postgres/advisory-lock.ts";
import { DatabaseError, hasSqlState } from "../postgres/errors.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { BlockedChange, Change } from "./change.ts";
import { passwordMark, roleMark } from "./desired.ts";
import { type InstallPlan, planInstall } from "./plan.ts";
import { roleNames } from "./role-names.ts";
import { scramVerifier } from "./scram.ts";

export interface InstallOptions {
  /** Clear passwords by role name; only their SCRAM verifiers are sent. Other roles keep what they have. */
  passwords?: Readonly<Record<string, string>>;
  /** Stops between two statements; everything is rolled back. */
  signal?: AbortSignal;
  /** How long to wait for another installation in the same database. Default 20. */
  waitSeconds?: number;
}

export interface InstallReport {
  database: string;
  outcome: "installed" | "upgraded" | "repaired" | "unchanged";
  schemaVersion: number;
  /** One sentence for each thing that was not there. */
  created: string[];
  /** One sentence for each thing that had been changed by hand, or by an older pgkeep. */
  repaired: string[];
  /** What the installing user may not do, with the statement for whoever may. */
  blocked: Pick<BlockedChange, "reason" | "sql" | "needs">[];
  /** What was tried and is still not as it should be. */
  unresolved: Pick<Change, "reason" | "sql">[];
  /** What else a person should know. */
  warnings: string[];
  /** Roles that got a password. */
  passwordsSet: string[];
  seconds: number;
}

/** A repair can uncover the next one (an object that was given away had rights of its own): look again. */
const maximumRounds = 3;
const maximumAttempts = 4;
const lockTimeout = "5s";

/**
 * Brings the database into the state that its configuration describes, in one transaction. Repeatable: what is
 * right already is left alone. It never drops a role, nor anything that holds data.
 * @throws PgkeepError `insufficient-privilege` (naming all that is missing), `read-only`, `newer-schema`,
 *   `refused`, `timeout` (a lock was not to be had); nothing was changed then
 */
export async function applyInstall(
  session: Session,
  config: DatabaseConfig,
  options: InstallOptions = {},
): Promise<InstallReport> {
  const begun = performance.now();
  if (session.isStandby) throw readOnly(session, "it is a standby");
  const passwords = await verifiers(config, options.passwords ?? {});
  const giveUpAt = begun + (options.waitSeconds ?? 20) * 1000;
  for (let attempt = 1; ; ) {
    try {
      const report = await session.transaction(async (transaction) => {
        await prepare(transaction);
        return installInTransaction(transaction, config, passwords, options.signal);
      });
      return { ...report, seconds: (performance.now() - begun) / 1000 };
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
  if (rows[0]?.readonly === "on")
    throw readOnly(session, "transactions are read-only (default_transaction_read_only)");
  if (!(await tryTransactionLock(session, "install"))) throw new Busy();
}

async function installInTransaction(
  session: Session,
  config: DatabaseConfig,
  passwords: ReadonlyMap<string, string>,
  signal: AbortSignal | undefined,
): Promise<Omit<InstallReport, "seconds">> {
  const planNow = () => planInstall(session, config, { withPassword: [...passwords.keys()] });
  const first = await planNow();
  requirePrivileges(first);
  const done: Change[] = [];
  const refused: BlockedChange[] = [];
  let plan = first;
  for (let round = 1; round <= maximumRounds && pending(plan, refused).length > 0; round += 1) {
    for (const change of pending(plan, refused)) {
      signal?.throwIfAborted();
      const refusal = await execute(session, change);
      if (refusal === undefined) done.push(change);
      else refused.push({ ...change, needs: refusal });
    }
    plan = await planNow();
  }
  for (const [role, verifier] of passwords) {
    signal?.throwIfAborted();
    await setPassword(session, role, verifier);
  }
  const fresh = first.schemaVersion.installed === null;
  const isNew = (change: Change) => fresh || change.kind === "create";
  return {
    database: plan.database,
    outcome:
      done.length === 0
        ? "unchanged"
        : fresh
          ? "installed"
          : first.schemaVersion.installed !== first.schemaVersion.current
            ? "upgraded"
            : "repaired",
    schemaVersion: first.schemaVersion.current,
    created: unique(done.filter(isNew)),
    repaired: unique(done.filter((change) => !isNew(change))),
    blocked: [...plan.blocked, ...refused].map(({ reason, sql, needs }) => ({ reason, sql, needs })),
    unresolved: pending(plan, refused).map(({ reason, sql }) => ({ reason, sql })),
    warnings: first.warnings,
    passwordsSet: [...passwords.keys()],
  };
}

async function setPassword(session: Session, role: string, verifier: string): Promise<void> {
  await session.query(`ALTER ROLE ${identifier(role)} PASSWORD ${literal(verifier)}`);
  const rows = await session.query<{ comment: string }>(
    "select shobj_description(oid, 'pg_authid') as comment from pg_roles where rolname = $1",
    [role],
  );
  const comment = rows[0]?.comment ?? roleMark;
  if (comment.endsWith(passwordMark)) return;
  await session.query(`COMMENT ON ROLE ${identifier(role)} IS ${literal(comment + passwordMark)}`);
}

const unique = (changes: readonly Change[]): string[] => [...new Set(changes.map(({ result }) => result))];

function pending(plan: InstallPlan, refused: readonly Change[]): Change[] {
  return plan.changes.filter((change) => !refused.some(({ sql }) => sql === change.sql));
}

/** @returns why the server refused a change that may be refused */
async function execute(session: Session, change: Change): Promise<string | undefined> {
  if (change.attempt !== true) {
    try {
      await session.query(change.sql);
      return undefined;
    } catch (error) {
      throw explained(error, change);
    }
  }
  await session.query("savepoint attempt");
  try {
    await session.query(change.sql);
    await session.query("release savepoint attempt");
    return undefined;
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    await session.query("rollback to savepoint attempt");
    return `somebody else: ${error.message}`;
  }
}

function explained(error: unknown, change: Change): unknown {
  if (!(error instanceof DatabaseError)) return error;
  const remedy =
    error.sqlState === SqlState.lockNotAvailable
      ? "another session holds a lock on it: try again when that has ended (`pgkeep health` shows who waits for whom)"
      : error.remedy;
  return new DatabaseError(
    error.code,
    error.sqlState,
    `nothing was changed: ${change.reason}, and the server refused to change that: ${error.message}`,
    { cause: error, ...(remedy === undefined ? {} : { remedy }) },
  );
}

function requirePrivileges(plan: InstallPlan): void {
  const missing = plan.blocked.filter(({ required }) => required);
  if (missing.length === 0) return;
  const needed = [...new Set(missing.map(({ needs }) => needs))];
  const reasons = [...new Set(missing.map(({ reason }) => reason))];
  throw new PgkeepError(
    "insufficient-privilege",
    `${plan.user} may not install pgkeep in database ${plan.database}; nothing was changed. Needed: ${needed.join("; ")}. Because: ${reasons.slice(0, 5).join("; ")}${reasons.length > 5 ? "; …" : ""}`,
    {
      remedy:
        "connect as the master user of the server (CREATEROLE, owner of the database); `pgkeep roles plan` shows every statement",
    },
  );
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

async function verifiers(
  config: DatabaseConfig,
  passwords: Readonly<Record<string, string>>,
): Promise<Map<string, string>> {
  const { owner: _o, writer: _w, reader: _r, ...logins } = roleNames(config);
  const known = Object.values(logins);
  const unknown = Object.keys(passwords).filter((role) => !known.includes(role));
  if (unknown.length > 0) {
    throw new UsageError(`no login role of pgkeep is called ${unknown.join(", ")}`, {
      remedy: `passwords can be given for: ${known.join(", ")}`,
    });
  }
  const entries = await Promise.all(
    Object.entries(passwords).map(async ([role, password]) => [role, await scramVerifier(password)] as const),
  );
  return new Map(entries);
}

function readOnly(session: Session, why: string): PgkeepError {
  return new PgkeepError("read-only", `cannot install pgkeep in database ${session.database}: ${why}`, {
    remedy: "connect to the primary, as a user whose transactions may write",
  });
}

function anotherRuns(session: Session): PgkeepError {
  return new PgkeepError("refused", `another installation is running in database ${session.database}`, {
    remedy: "wait until it has ended, then try again",
  });
}
