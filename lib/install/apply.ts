import type { JobConfig } from "../config/schema.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { DatabaseError } from "../postgres/errors.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { BlockedChange, Change } from "./change.ts";
import { passwordMark, roleMark } from "./desired.ts";
import { lockedTransaction, readOnlyTarget } from "./locked-transaction.ts";
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

/**
 * Brings the database into the state that its configuration describes. Repeatable: what is right already is left
 * alone. It never drops a role, nor anything that holds data. One transaction, except that thousands of objects
 * which change their owner follow in small ones: each is locked, and a server's table of locks has an end.
 * @throws PgkeepError `insufficient-privilege` (naming all that is missing), `read-only`, `newer-schema`,
 *   `refused`, `timeout` (a lock was not to be had); nothing was changed then
 */
export async function applyInstall(
  session: Session,
  config: JobConfig,
  options: InstallOptions = {},
): Promise<InstallReport> {
  const begun = performance.now();
  if (session.isStandby) throw readOnlyTarget(session, "it is a standby");
  const passwords = await verifiers(config, options.passwords ?? {});
  const planNow = (transaction: Session) =>
    planInstall(transaction, config, { withPassword: [...passwords.keys()] });
  const together = (include: (change: Change) => boolean) =>
    lockedTransaction(session, options, async (transaction) => {
      const work = await changeTogether(transaction, planNow, include, options.signal);
      for (const [role, verifier] of passwords) await setPassword(transaction, role, verifier);
      return work;
    });

  const first = await together((change) => change.apart !== true);
  const apart = first.after.changes.filter((change) => change.apart === true);
  const { done, failed } = await changeApart(session, apart, options);
  const last = apart.length === 0 ? first : await together((change) => change.moves !== true);
  const changed = apart.length === 0 ? first.done : [...first.done, ...done, ...last.done];
  return {
    ...describe(first.before, changed),
    blocked: [...last.after.blocked, ...last.refused].map(({ reason, sql, needs }) => ({
      reason,
      sql,
      needs,
    })),
    unresolved: [
      ...failed,
      ...pending(last.after, last.refused).filter(({ moves }) => failed.length === 0 || moves !== true),
    ].map(({ reason, sql }) => ({ reason, sql })),
    passwordsSet: [...passwords.keys()],
    seconds: (performance.now() - begun) / 1000,
  };
}

interface Work {
  before: InstallPlan;
  after: InstallPlan;
  done: Change[];
  /** What the server would not do, although it looked possible. */
  refused: BlockedChange[];
}

async function changeTogether(
  session: Session,
  planNow: (session: Session) => Promise<InstallPlan>,
  include: (change: Change) => boolean,
  signal: AbortSignal | undefined,
): Promise<Work> {
  const before = await planNow(session);
  requirePrivileges(before);
  const work: Work = { before, after: before, done: [], refused: [] };
  for (let round = 1; round <= maximumRounds; round += 1) {
    const changes = pending(work.after, work.refused).filter(include);
    if (changes.length === 0) break;
    for (const change of changes) {
      signal?.throwIfAborted();
      const refusal = await execute(session, change);
      if (refusal === undefined) work.done.push(change);
      else work.refused.push({ ...change, needs: refusal });
    }
    work.after = await planNow(session);
  }
  return work;
}

/** Each in a transaction of its own: one that fails, for a lock that somebody holds, leaves the others done. */
async function changeApart(
  session: Session,
  changes: readonly Change[],
  options: InstallOptions,
): Promise<{ done: Change[]; failed: Change[] }> {
  const result: { done: Change[]; failed: Change[] } = { done: [], failed: [] };
  for (const change of changes) {
    options.signal?.throwIfAborted();
    try {
      await lockedTransaction(session, options, (transaction) => transaction.query(change.sql));
      result.done.push(change);
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      result.failed.push({ ...change, reason: `${change.reason}: ${error.message}` });
    }
  }
  return result;
}

function describe(
  before: InstallPlan,
  done: readonly Change[],
): Pick<InstallReport, "database" | "outcome" | "schemaVersion" | "created" | "repaired" | "warnings"> {
  const { installed, current } = before.schemaVersion;
  const fresh = installed === null;
  const isNew = (change: Change) => fresh || change.kind === "create";
  const outcome = fresh ? "installed" : installed !== current ? "upgraded" : "repaired";
  return {
    database: before.database,
    outcome: done.length === 0 ? "unchanged" : outcome,
    schemaVersion: current,
    created: unique(done.filter(isNew)),
    repaired: unique(done.filter((change) => !isNew(change))),
    warnings: before.warnings,
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

async function verifiers(
  config: JobConfig,
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
