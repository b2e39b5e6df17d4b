import { errorMessage, PgkeepError } from "../errors.ts";
import type { Notice, Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { Work } from "./plan.ts";

/** How one statement ended. */
export type StatementOutcome =
  | { kind: "done" }
  | { kind: "locked"; heldBy: string | null }
  | { kind: "not permitted"; remedy: string }
  /** Dropped since the plan was made. */
  | { kind: "gone" }
  /** By the statement timeout, or by someone with pg_cancel_backend. */
  | { kind: "cancelled" }
  | { kind: "failed"; error: string };

/**
 * Runs the statement of one table. What the server skips it says only in a warning, so the warnings decide;
 * they are told apart by SQLSTATE, because their texts are translated.
 * @throws what ends the whole run: the deadline's reason, a lost connection
 */
export async function runStatement(
  session: Session,
  work: Work,
  deadline: AbortSignal,
): Promise<StatementOutcome> {
  const warnings: Notice[] = [];
  try {
    await session.query(work.sql, undefined, {
      onNotice: (notice) => {
        if (notice.severity === "WARNING") warnings.push(notice);
      },
    });
  } catch (error) {
    if (deadline.aborted) throw error;
    if (hasSqlState(error, SqlState.lockNotAvailable)) return locked(session, work);
    if (hasSqlState(error, SqlState.undefinedTable, SqlState.invalidSchemaName)) return { kind: "gone" };
    if (hasSqlState(error, SqlState.queryCanceled)) return { kind: "cancelled" };
    if (hasSqlState(error, SqlState.insufficientPrivilege)) {
      return { kind: "not permitted", remedy: errorMessage(error) };
    }
    if (error instanceof PgkeepError && error.code !== "unreachable") {
      return { kind: "failed", error: errorMessage(error) };
    }
    throw error;
  }
  if (warnings.some((warning) => warning.code === SqlState.lockNotAvailable)) return locked(session, work);
  if (warnings.some((warning) => warning.code === SqlState.undefinedTable)) return { kind: "gone" };
  // A lost privilege is the only skip without a SQLSTATE of its own; the plan has checked it before.
  const skipped = warnings.find(
    (warning) => warning.code === "01000" && warning.message.includes(`"${work.relation.table}"`),
  );
  if (skipped !== undefined) return { kind: "not permitted", remedy: skipped.message };
  return { kind: "done" };
}

async function locked(session: Session, work: Work): Promise<StatementOutcome> {
  const rows = await session.query<{
    pid: number;
    user: string | null;
    application: string | null;
    mode: string;
  }>(
    `select l.pid, a.usename::text as user, nullif(a.application_name, '') as application, l.mode
       from pg_locks l left join pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
        and l.relation = any(array[$1::oid, (select nullif(reltoastrelid, 0) from pg_class where oid = $1)])
        and l.database = (select oid from pg_database where datname = current_database())
        and l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
      order by l.pid limit 1`,
    [work.relation.oid],
  );
  const holder = rows[0];
  if (holder === undefined) return { kind: "locked", heldBy: null };
  const user = holder.user === null ? "" : ` of ${holder.user}`;
  const application = holder.application === null ? "" : ` (${holder.application})`;
  return { kind: "locked", heldBy: `process ${holder.pid}${user}${application}, ${holder.mode}` };
}
