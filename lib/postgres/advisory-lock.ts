import type { Session } from "../ports/databases.ts";

/** First key of every advisory lock of pgkeep: "pgke" in ASCII. */
const lockNamespace = 0x70676b65;

/**
 * Takes the lock for `name` on this session, or resolves to false at once when another session holds it.
 * The lock ends with the session, so a killed run never stops the next one.
 */
export async function tryAdvisoryLock(session: Session, name: string): Promise<boolean> {
  const rows = await session.query<{ locked: boolean }>(
    "select pg_try_advisory_lock($1::int, hashtext($2)) as locked",
    [lockNamespace, name],
  );
  return rows[0]?.locked === true;
}

export async function releaseAdvisoryLock(session: Session, name: string): Promise<void> {
  await session.query("select pg_advisory_unlock($1::int, hashtext($2))", [lockNamespace, name]);
}

/** The same for the running transaction: the lock ends with it. */
export async function tryTransactionLock(session: Session, name: string): Promise<boolean> {
  const rows = await session.query<{ locked: boolean }>(
    "select pg_try_advisory_xact_lock($1::int, hashtext($2)) as locked",
    [lockNamespace, name],
  );
  return rows[0]?.locked === true;
}
