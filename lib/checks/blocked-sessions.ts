import { literal } from "../postgres/identifiers.ts";
import { countText, durationText } from "../words.ts";
import type { Check, CheckContext, Finding } from "./check.ts";
import { maskLiterals } from "./mask-literals.ts";
import { conclude, metric, whySessionsAreHidden } from "./outcome.ts";
import { type Backend, backendColumns, describeBackend } from "./sessions.ts";

/** A session that waits for a lock. `blockers` has 0 for each lock that a prepared transaction holds. */
interface Waiter extends Backend {
  blockers: number[];
  waitingSeconds: number | null;
  lock: string | null;
  relation: string | null;
}

interface PreparedBlocker {
  gid: string;
  owner: string;
  database: string;
  ageSeconds: number;
}

/** At most this many roots are reported one by one. */
const shown = 20;

/**
 * Sessions that wait for locks, followed through `pg_blocking_pids` to those at the root that wait for
 * nobody. One finding for each root whose longest waiter waits for more than `health.blockedSeconds`.
 */
export const blockedSessions: Check = {
  name: "blocked-sessions",
  title: "Do sessions wait for a lock, and who holds it?",
  async run(context) {
    const { session, config } = context;
    const hidden = await whySessionsAreHidden(session);
    if (hidden !== undefined) return conclude({ obstacle: hidden });
    const waiters = await readWaiters(context);
    const roots = findRoots(new Map(waiters.map((waiter) => [waiter.pid, waiter.blockers])));
    const longest = Math.max(0, ...waiters.map(waitingSeconds));
    const backends = await readRoots(context, [...roots.keys()]);
    const findings: Finding[] = [];
    for (const [pid, held] of roots) {
      const heldWaiters = waiters.filter((waiter) => held.has(waiter.pid));
      if (Math.max(0, ...heldWaiters.map(waitingSeconds)) < config.health.blockedSeconds) continue;
      if (pid === 0) findings.push(preparedFinding(await readPrepared(context, heldWaiters), heldWaiters));
      else findings.push(rootFinding(pid, backends.get(pid), heldWaiters));
    }
    findings.sort((a, b) => Number(b.evidence.sessionsHeldUp) - Number(a.evidence.sessionsHeldUp));
    return conclude({
      findings: findings.slice(0, shown),
      facts: {
        blocked: waiters.length,
        rootBlockers: roots.size,
        longestSeconds: Math.round(longest),
        limitSeconds: config.health.blockedSeconds,
      },
      metrics: [metric("BlockedSessions", waiters.length), metric("LongestBlockedTime", Math.round(longest))],
    });
  },
};

const waitingSeconds = (waiter: Waiter): number => waiter.waitingSeconds ?? waiter.statementSeconds ?? 0;

/** `pg_blocking_pids` stops the lock manager for a moment, so it is asked only about sessions that wait. */
async function readWaiters({ session }: CheckContext): Promise<Waiter[]> {
  return session.query<Waiter>(
    `with waiting as materialized (
       select ${backendColumns}, pg_blocking_pids(a.pid) as blockers
         from pg_stat_activity a where a.wait_event_type = 'Lock')
     select w.*, l.seconds as "waitingSeconds", l.lock, l.relation
       from waiting w
       left join lateral (
         select extract(epoch from clock_timestamp() - p.waitstart)::float8 as seconds,
                p.locktype || ' ' || p.mode as lock,
                (select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                   from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where c.oid = p.relation
                    and p.database = (select oid from pg_database where datname = current_database())) as relation
           from pg_locks p where p.pid = w.pid and not p.granted limit 1) l on true
      where cardinality(w.blockers) > 0`,
  );
}

/**
 * From who waits for whom to: root → sessions that it holds up, directly or through others. A root waits
 * for nobody. Sessions that wait in a circle have no root; the deadlock detector ends them.
 */
export function findRoots(blockersOf: ReadonlyMap<number, readonly number[]>): Map<number, Set<number>> {
  const roots = new Map<number, Set<number>>();
  for (const waiter of blockersOf.keys()) {
    const seen = new Set<number>([waiter]);
    const open = [...(blockersOf.get(waiter) ?? [])];
    for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      const next = blockersOf.get(pid);
      if (next === undefined) roots.set(pid, (roots.get(pid) ?? new Set()).add(waiter));
      else open.push(...next);
    }
  }
  return roots;
}

async function readRoots({ session }: CheckContext, pids: readonly number[]): Promise<Map<number, Backend>> {
  if (pids.length === 0) return new Map();
  const rows = await session.query<Backend>(
    `select ${backendColumns} from pg_stat_activity a where a.pid = any($1::int[])`,
    [pids],
  );
  return new Map(rows.map((row) => [row.pid, { ...row, statement: maskLiterals(row.statement) }]));
}

function heldUp(waiters: readonly Waiter[]) {
  const longest = Math.max(0, ...waiters.map(waitingSeconds));
  return {
    longest,
    severity: waiters.length >= 5 || longest >= 60 ? ("high" as const) : ("medium" as const),
    evidence: {
      sessionsHeldUp: waiters.length,
      longestWaitSeconds: Math.round(longest),
      waiting: [...waiters]
        .sort((a, b) => waitingSeconds(b) - waitingSeconds(a))
        .slice(0, 10)
        .map((waiter) => ({
          pid: waiter.pid,
          role: waiter.role,
          application: waiter.application,
          waitingSeconds: Math.round(waitingSeconds(waiter)),
          lock: waiter.lock,
          relation: waiter.relation,
          statement: maskLiterals(waiter.statement),
        })),
    },
  };
}

function rootFinding(pid: number, root: Backend | undefined, waiters: readonly Waiter[]): Finding {
  const held = heldUp(waiters);
  const who =
    root === undefined
      ? `pid ${pid}`
      : `${JSON.stringify(root.role ?? root.backendType)} (${JSON.stringify(root.application)}, pid ${pid}, ${root.state ?? root.backendType})`;
  const idle = root?.state?.startsWith("idle in transaction") === true;
  return {
    check: "blocked-sessions",
    key: `blocked-sessions/${pid}/${root?.startedAt ?? ""}`,
    severity: held.severity,
    confidence: "certain",
    object: { pid, ...(root?.role == null ? {} : { role: root.role }) },
    title: `${who} holds up ${countText(waiters.length, "session")}, for ${durationText(held.longest)}`,
    evidence: {
      ...held.evidence,
      root: root === undefined ? { pid } : describeBackend(root),
    },
    impact: "The waiting sessions do nothing, and each keeps a connection and its own locks meanwhile.",
    blastRadius: `${countText(waiters.length, "session")} now, and all that come for the same lock`,
    remediation: {
      // An idle session has no statement to cancel.
      sql: idle ? `SELECT pg_terminate_backend(${pid});` : `SELECT pg_cancel_backend(${pid});`,
      lock: "none",
      rollback: "none: the blocking transaction is rolled back, and its client may do it again",
    },
  };
}

/**
 * The prepared transactions that hold what these sessions wait for. `pg_locks` shows their locks without a
 * pid; which transaction they belong to, the lock on its own id says.
 */
async function readPrepared(
  { session }: CheckContext,
  waiters: readonly Waiter[],
): Promise<PreparedBlocker[]> {
  return session.query<PreparedBlocker>(
    `select x.gid, x.owner::text, x.database::text, extract(epoch from clock_timestamp() - x.prepared)::float8 as "ageSeconds"
       from pg_prepared_xacts x
      where exists (
        select from pg_locks held
          join pg_locks wanted on not wanted.granted and wanted.pid = any($1::int[])
           and held.locktype = wanted.locktype
           and held.database is not distinct from wanted.database
           and held.relation is not distinct from wanted.relation
           and held.page is not distinct from wanted.page
           and held.tuple is not distinct from wanted.tuple
           and held.transactionid is not distinct from wanted.transactionid
           and held.classid is not distinct from wanted.classid
           and held.objid is not distinct from wanted.objid
           and held.objsubid is not distinct from wanted.objsubid
          join pg_locks self on self.pid is null and self.virtualtransaction = held.virtualtransaction
           and self.locktype = 'transactionid' and self.transactionid = x.transaction
         where held.granted and held.pid is null)
      order by x.prepared`,
    [waiters.map((waiter) => waiter.pid)],
  );
}

function preparedFinding(prepared: readonly PreparedBlocker[], waiters: readonly Waiter[]): Finding {
  const held = heldUp(waiters);
  const first = prepared[0];
  const names = prepared.map(({ gid }) => JSON.stringify(gid)).join(", ");
  return {
    check: "blocked-sessions",
    key: `blocked-sessions/prepared/${first?.gid ?? ""}`,
    severity: held.severity,
    confidence: "certain",
    object: first === undefined ? {} : { name: first.gid, role: first.owner },
    title: `${prepared.length === 0 ? "a prepared transaction" : `prepared transaction ${names}`} holds up ${countText(waiters.length, "session")}, for ${durationText(held.longest)}`,
    evidence: {
      ...held.evidence,
      root: { pid: 0, prepared: prepared.map((one) => ({ ...one, ageSeconds: Math.round(one.ageSeconds) })) },
    },
    impact:
      "A prepared transaction belongs to no session: it keeps its locks across restarts until somebody ends it.",
    blastRadius: `${countText(waiters.length, "session")} now, and all that come for the same lock`,
    remediation: {
      sql:
        first === undefined
          ? "SELECT * FROM pg_prepared_xacts ORDER BY prepared;"
          : `-- in database ${JSON.stringify(first.database)}; ask the transaction manager first whether it should be COMMIT PREPARED\nROLLBACK PREPARED ${literal(first.gid).trim()};`,
      lock: "none",
      rollback: "none: ask the transaction manager first",
    },
  };
}
