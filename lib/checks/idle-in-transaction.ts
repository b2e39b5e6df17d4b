import { durationText } from "../words.ts";
import type { Check, Finding } from "./check.ts";
import { conclude, metric, whySessionsAreHidden } from "./outcome.ts";
import { type Backend, describeBackend, readBackends, whyActivityIsUnknown } from "./sessions.ts";

/** At most this many are reported one by one. */
const shown = 20;

/**
 * Sessions that opened a transaction and do nothing, counted from `state_change`, the moment at which they
 * stopped working. Limit: `health.idleInTransactionSeconds`.
 */
export const idleInTransaction: Check = {
  name: "idle-in-transaction",
  title: "Does a transaction stay open with nothing to do?",
  async run({ session, config }) {
    const hidden = await whySessionsAreHidden(session);
    if (hidden !== undefined) return conclude({ obstacle: hidden });
    const limit = config.health.idleInTransactionSeconds;
    const [oldest] = await session.query<{ seconds: number | null }>(
      `select max(extract(epoch from clock_timestamp() - xact_start))::float8 as seconds from pg_stat_activity
        where xact_start is not null and pid <> pg_backend_pid()
          and backend_type not in ('walsender', 'autovacuum worker', 'autovacuum launcher')`,
    );
    const idle = await readBackends(
      session,
      "a.state in ('idle in transaction', 'idle in transaction (aborted)') order by a.state_change limit 1000",
    );
    const late = idle.filter((backend) => (backend.stateSeconds ?? 0) >= limit);
    const longest = Math.max(0, ...idle.map((backend) => backend.stateSeconds ?? 0));
    const oldestSeconds = Math.max(0, Math.round(oldest?.seconds ?? 0));
    return conclude({
      findings: late.slice(0, shown).map((backend) => finding(backend, config.health.longQueryTicketSeconds)),
      facts: {
        sessions: idle.length,
        beyondLimit: late.length,
        longestSeconds: Math.round(longest),
        limitSeconds: limit,
        oldestTransactionSeconds: oldestSeconds,
      },
      metrics: [
        metric("IdleInTransactionSessions", late.length),
        metric("LongestIdleInTransaction", Math.round(longest)),
        metric("OldestTransactionAge", oldestSeconds),
      ],
      obstacle: await whyActivityIsUnknown(session),
    });
  },
};

function finding(backend: Backend, ticketSeconds: number): Finding {
  const seconds = backend.stateSeconds ?? 0;
  return {
    check: "idle-in-transaction",
    key: `idle-in-transaction/${backend.pid}/${backend.startedAt}`,
    severity: seconds >= ticketSeconds ? "high" : "medium",
    confidence: "certain",
    object: { pid: backend.pid, ...(backend.role === null ? {} : { role: backend.role }) },
    title: `a session of ${JSON.stringify(backend.role ?? backend.backendType)} (${JSON.stringify(backend.application)}, pid ${backend.pid}) has been ${backend.state} for ${durationText(seconds)}`,
    evidence: { ...describeBackend(backend), hasWritten: backend.hasTransactionId },
    impact: backend.hasTransactionId
      ? "It has written: the rows that it changed stay locked, and VACUUM cannot remove what became dead since it began."
      : "It keeps its locks, and while it has a snapshot VACUUM cannot remove what became dead since.",
    blastRadius: "sessions that need its locks; tables that are updated often",
    remediation: {
      sql: `SELECT pg_terminate_backend(${backend.pid});`,
      lock: "none",
      rollback: "none: its transaction is rolled back; set idle_in_transaction_session_timeout for the role",
    },
  };
}
