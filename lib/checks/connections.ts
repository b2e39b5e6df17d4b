import { literal } from "../postgres/identifiers.ts";
import { countText, durationText } from "../words.ts";
import type { Check, CheckContext, Finding } from "./check.ts";
import { conclude, metric, round, whySessionsAreHidden } from "./outcome.ts";

interface SessionGroup {
  state: string;
  role: string;
  database: string;
  application: string;
  client: string | null;
  sessions: number;
  longIdle: number;
  oldestIdleSeconds: number | null;
}

interface Limits {
  maxConnections: number;
  reserved: number;
}

interface NarrowLimit {
  kind: "role" | "database";
  name: string;
  connectionLimit: number;
}

/** States that always have a value, so that a gauge goes back to 0. */
const usualStates = ["active", "idle", "idle in transaction", "idle in transaction (aborted)"];

/** A pool keeps a few; this many of one application, idle for longer than a pooler would keep them, is a leak suspect. */
const leakSuspectSessions = 10;
const leakSuspectShare = 0.1;

/**
 * Client connections by state against what `max_connections` leaves to ordinary roles, against the limits
 * of roles and of this database, and groups of sessions that look forgotten.
 * Limit: `health.connectionsPercent` (AWS recommends 90 % for DatabaseConnections). Walsenders and background workers do
 * not count against `max_connections` (PostgreSQL documentation, 20.3.1).
 */
export const connections: Check = {
  name: "connections",
  title: "Are connections running out?",
  async run(context) {
    const { session } = context;
    const hidden = await whySessionsAreHidden(session);
    const [limits] = await session.query<Limits>(
      `select current_setting('max_connections')::int as "maxConnections",
              current_setting('superuser_reserved_connections')::int
                + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved`,
    );
    const maxConnections = limits?.maxConnections ?? 0;
    const usable = maxConnections - (limits?.reserved ?? 0);
    const facts = { maxConnections, reserved: limits?.reserved ?? 0, usable };
    if (hidden !== undefined) return conclude({ obstacle: hidden, facts });

    const groups = await readGroups(context);
    const used = sum(groups);
    const byState = Object.fromEntries(usualStates.map((state) => [state, 0]));
    for (const group of groups) byState[group.state] = (byState[group.state] ?? 0) + group.sessions;
    const usedPercent = usable > 0 ? (100 * used) / usable : 100;
    return conclude({
      findings: [
        ...tooMany(context, used, usable, usedPercent, groups),
        ...(await narrowLimits(context, groups)),
        ...leakSuspects(context, usable, groups),
      ],
      facts: { ...facts, used, usedPercent: round(usedPercent), byState },
      metrics: [
        metric("ConnectionsUsed", used),
        metric("ConnectionsUsedPercent", round(usedPercent, 2)),
        ...Object.entries(byState).map(([state, count]) =>
          metric("ConnectionsByState", count, { State: state }),
        ),
      ],
    });
  },
};

function readGroups(context: CheckContext): Promise<SessionGroup[]> {
  return context.session.query<SessionGroup>(
    `select coalesce(state, 'starting') as state, coalesce(usename::text, '') as role,
            coalesce(datname::text, '') as database, application_name as application, host(client_addr) as client,
            count(*) as sessions,
            count(*) filter (where state = 'idle'
              and clock_timestamp() - state_change > $1::float8 * interval '1 second') as "longIdle",
            (max(extract(epoch from clock_timestamp() - state_change)) filter (where state = 'idle'))::float8
              as "oldestIdleSeconds"
       from pg_stat_activity
      where backend_type = 'client backend'
      group by 1, 2, 3, 4, 5`,
    [context.config.pooling.idleTimeoutSeconds],
  );
}

const sum = (groups: readonly SessionGroup[]): number =>
  groups.reduce((total, group) => total + group.sessions, 0);

function tooMany(
  context: CheckContext,
  used: number,
  usable: number,
  usedPercent: number,
  groups: readonly SessionGroup[],
): Finding[] {
  const limit = context.config.health.connectionsPercent;
  if (usedPercent < limit) return [];
  const holders = [...groups].sort((a, b) => b.sessions - a.sessions).slice(0, 5);
  return [
    {
      check: "connections",
      key: "connections/max_connections",
      severity: used >= usable ? "critical" : "high",
      confidence: "certain",
      object: {},
      title: `${used} of ${usable} connections for ordinary roles are in use (${round(usedPercent)} %)`,
      evidence: {
        used,
        usable,
        usedPercent: round(usedPercent),
        limitPercent: limit,
        largestGroups: holders.map(({ role, application, client, state, sessions }) => ({
          role,
          application,
          client,
          state,
          sessions,
        })),
      },
      impact: "New connections are refused when none is left: FATAL: sorry, too many clients already.",
      blastRadius: "every application of the server",
      remediation: {
        sql: `-- ends sessions of this database that have been idle for more than 10 minutes\nSELECT pg_terminate_backend(pid) FROM pg_stat_activity\n WHERE backend_type = 'client backend' AND state = 'idle' AND datname = current_database()\n   AND state_change < now() - interval '10 minutes' AND pid <> pg_backend_pid();`,
        lock: "none",
        rollback: "none needed: clients connect again; put a pooler in front or make the pools smaller",
      },
    },
  ];
}

/** Limits of roles and databases; superusers are exempt from them. */
async function narrowLimits(context: CheckContext, groups: readonly SessionGroup[]): Promise<Finding[]> {
  const rows = await context.session.query<NarrowLimit>(
    `select 'role' as kind, rolname::text as name, rolconnlimit as "connectionLimit"
       from pg_roles where rolconnlimit > 0 and rolcanlogin and not rolsuper
     union all
     select 'database', datname::text, datconnlimit from pg_database where datconnlimit > 0 and datallowconn`,
  );
  const percent = context.config.health.connectionsPercent;
  return rows.flatMap(({ kind, name, connectionLimit }): Finding[] => {
    const used = sum(groups.filter((group) => group[kind] === name));
    const usedPercent = (100 * used) / connectionLimit;
    if (usedPercent < percent) return [];
    return [
      {
        check: "connections",
        key: `connections/${kind}/${name}`,
        severity: used >= connectionLimit ? "high" : "medium",
        confidence: "certain",
        object: kind === "role" ? { role: name } : { name },
        title: `${kind} ${JSON.stringify(name)} uses ${used} of the ${connectionLimit} connections that it may have`,
        evidence: { used, connectionLimit, usedPercent: round(usedPercent), limitPercent: percent },
        impact: `Further connections of this ${kind} are refused: FATAL: too many connections for ${kind}.`,
        blastRadius: `what connects with this ${kind}`,
        remediation: {
          sql: `-- who holds them\nSELECT pid, application_name, client_addr, state, state_change FROM pg_stat_activity ORDER BY state_change;`,
          lock: "none",
          rollback: "none needed",
        },
      },
    ];
  });
}

function leakSuspects(context: CheckContext, usable: number, groups: readonly SessionGroup[]): Finding[] {
  const least = Math.max(leakSuspectSessions, Math.ceil(usable * leakSuspectShare));
  const idleSeconds = context.config.pooling.idleTimeoutSeconds;
  return groups
    .filter((group) => group.longIdle >= least)
    .map((group) => ({
      check: "connections",
      key: `connections/leak/${group.role}/${group.application}/${group.client ?? "local"}/${group.database}`,
      severity: "medium",
      confidence: "suspected",
      object: { role: group.role, name: group.application },
      title: `${countText(group.longIdle, "session")} of ${JSON.stringify(group.role)} (${JSON.stringify(group.application)} from ${group.client ?? "a local socket"}) have been idle for more than ${durationText(idleSeconds)}`,
      evidence: {
        role: group.role,
        application: group.application,
        client: group.client,
        database: group.database,
        idleSessions: group.longIdle,
        longestIdleSeconds: Math.round(group.oldestIdleSeconds ?? 0),
        idleLimitSeconds: idleSeconds,
      },
      impact: "Connections that nobody gives back fill the server; each holds memory of its own.",
      blastRadius: "every application of the server, once no connection is left",
      remediation: {
        sql: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity\n WHERE state = 'idle' AND usename = ${literal(group.role)} AND application_name = ${literal(group.application)}\n   AND state_change < now() - interval '${idleSeconds} seconds';`,
        lock: "none",
        rollback: "none needed: a pool opens connections again; set idle_session_timeout for the role",
      },
    }));
}
