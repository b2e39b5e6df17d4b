import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";

/** Runs one statement with what is left of the time. */
export type Execute = (sql: string, values?: readonly unknown[]) => Promise<Row[]>;
type Row = Record<string, unknown>;

/**
 * A transaction that is over within `limitMilliseconds` of its first strong lock, whatever happens: half of the time
 * is for the wait for that lock, in which others queue behind it, and each statement may take what is left. Whoever
 * writes therefore never waits longer. Later locks are waited for less long than the server's deadlock check takes
 * (one second by default), so that it is this transaction that gives way and never one of the application.
 */
export async function boundedTransaction<T>(
  session: Session,
  options: { owner: string | undefined; limitMilliseconds: number },
  body: (execute: Execute, begun: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const limit = options.limitMilliseconds;
  let begin = performance.now();
  return session.transaction(async (transaction) => {
    const set = (name: string, milliseconds: number) =>
      transaction.query("select set_config($1, $2, true)", [
        name,
        `${Math.max(1, Math.floor(milliseconds))}ms`,
      ]);
    await set("lock_timeout", limit / 2);
    // A client that froze would keep the locks.
    await set("idle_in_transaction_session_timeout", limit);
    await transaction.query("select set_config('default_tablespace', '', true)");
    // A policy must not hide rows from what moves them: with this off it is an error instead.
    await transaction.query("select set_config('row_security', 'off', true)");
    if (options.owner !== undefined) await transaction.query(`set local role ${identifier(options.owner)}`);
    const execute: Execute = async (sql, values) => {
      await set("statement_timeout", limit - (performance.now() - begin));
      return transaction.query<Row>(sql, values);
    };
    begin = performance.now();
    return body(execute, async () => {
      await set("lock_timeout", Math.min(limit / 4, 500));
    });
  });
}
