import { durationText } from "../words.ts";
import type { Check, Finding } from "./check.ts";
import { conclude, metric, whySessionsAreHidden } from "./outcome.ts";
import { type Backend, describeBackend, readBackends, whyActivityIsUnknown } from "./sessions.ts";

/** Statements whose length says nothing about the application; beyond the ticket limit they are worth a remark. */
const maintenance =
  /^(?:vacuum|analyze|reindex|cluster|create\s+(?:unique\s+)?index|refresh\s+materialized)\b/i;

/** At most this many are reported one by one. */
const shown = 20;

/**
 * Statements of clients and of background workers that run for too long. Limits:
 * `health.longQueryWarnSeconds` (30 s) and `longQueryTicketSeconds` (300 s). Walsenders and autovacuum run
 * for long by design; parallel workers belong to their leader, whose statement is counted once.
 */
export const longRunningQueries: Check = {
  name: "long-running-queries",
  title: "Does a statement run for too long?",
  async run({ session, config }) {
    const hidden = await whySessionsAreHidden(session);
    if (hidden !== undefined) return conclude({ obstacle: hidden });
    const { longQueryWarnSeconds: warn, longQueryTicketSeconds: ticket } = config.health;
    const backends = await readBackends(
      session,
      `a.state = 'active' and a.query <> '' and a.pid <> pg_backend_pid() and a.leader_pid is null
         and a.backend_type not in ('walsender', 'autovacuum worker', 'autovacuum launcher', 'logical replication launcher', 'slotsync worker')
       order by a.query_start limit 1000`,
    );
    const age = (backend: Backend) => backend.statementSeconds ?? 0;
    const application = backends.filter((backend) => !maintenance.test(backend.statement));
    const late = [
      ...application.filter((backend) => age(backend) >= warn),
      ...backends.filter((backend) => maintenance.test(backend.statement) && age(backend) >= ticket),
    ];
    const longest = Math.max(0, ...application.map(age));
    return conclude({
      findings: late.slice(0, shown).map((backend) => finding(backend, ticket)),
      facts: {
        running: backends.length,
        beyondWarning: application.filter((backend) => age(backend) >= warn).length,
        beyondTicket: application.filter((backend) => age(backend) >= ticket).length,
        longestSeconds: Math.round(longest),
        warnSeconds: warn,
        ticketSeconds: ticket,
      },
      metrics: [
        metric("LongestQueryAge", Math.round(longest)),
        metric("LongRunningQueries", application.filter((backend) => age(backend) >= ticket).length),
      ],
      obstacle: await whyActivityIsUnknown(session),
    });
  },
};

function finding(backend: Backend, ticket: number): Finding {
  const seconds = backend.statementSeconds ?? 0;
  const severity = maintenance.test(backend.statement) ? "low" : seconds >= ticket ? "high" : "medium";
  return {
    check: "long-running-queries",
    key: `long-running-queries/${backend.pid}/${backend.startedAt}`,
    severity,
    confidence: "certain",
    object: { pid: backend.pid, ...(backend.role === null ? {} : { role: backend.role }) },
    title: `a statement of ${JSON.stringify(backend.role ?? backend.backendType)} (${JSON.stringify(backend.application)}, pid ${backend.pid}) has been running for ${durationText(seconds)}`,
    evidence: describeBackend(backend),
    impact:
      "It holds its locks and its snapshot: VACUUM cannot remove what became dead since it began, anywhere in the database.",
    blastRadius: "sessions that need its locks; tables that are updated often",
    remediation: {
      sql: `SELECT pg_cancel_backend(${backend.pid});`,
      lock: "none",
      rollback: "none: the statement's transaction fails, and its client may send it again",
    },
  };
}
