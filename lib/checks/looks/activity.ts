import { findStatementsView, statementsFunction } from "../../history/statements-view.ts";
import { countText, durationText } from "../../words.ts";
import { maskLiterals } from "../mask-literals.ts";
import { round, whySessionsAreHidden } from "../outcome.ts";
import { describeBackend, readBackends } from "../sessions.ts";
import { scalars } from "./clues-of-finding.ts";
import { type Clue, rankOf, type ShortLook, tableName, watchFor } from "./short-look.ts";

/** Rows that one look tells of. */
const shown = 3;

interface StatementTotals {
  userId: number;
  queryId: string;
  milliseconds: number;
  calls: number;
  temporaryBlocks: number;
}

/** The statements that took most of the time of the last moment; without any, of all since the counters began. */
export const lookAtStatements: ShortLook = async ({ session }) => {
  const view = await findStatementsView(session);
  if ("missing" in view) return { clues: [], unseen: `statements: ${view.reason}` };
  const from = statementsFunction(view);
  const totals = () =>
    session.query<StatementTotals>(
      `select userid::int8 as "userId", queryid::text as "queryId", sum(total_exec_time)::float8 as milliseconds,
              sum(calls)::float8 as calls, sum(temp_blks_written)::float8 as "temporaryBlocks"
         from ${from}(false)
        where dbid = (select oid from pg_database where datname = current_database()) and queryid is not null
          and userid not in (select oid from pg_roles where rolname = current_user and rolname like 'pgkeep\\_%')
        group by 1, 2`,
    );
  const watched = await watchFor(session, totals, (row) => `${row.userId}/${row.queryId}`);
  const recent = watched.map(({ row, before }) => ({
    ...row,
    milliseconds: row.milliseconds - (before?.milliseconds ?? 0),
    calls: row.calls - (before?.calls ?? 0),
  }));
  const happened = recent.filter(({ calls }) => calls > 0);
  const isRecent = happened.some(({ milliseconds }) => milliseconds > 1);
  const rows = isRecent ? happened : watched.map(({ row }) => row);
  const sum = rows.reduce((total, { milliseconds }) => total + milliseconds, 0);
  const top = rows.sort((a, b) => b.milliseconds - a.milliseconds).slice(0, shown);
  const texts = await session.query<{ userId: number; queryId: string; role: string | null; text: string }>(
    `select distinct on (s.userid, s.queryid) s.userid::int8 as "userId", s.queryid::text as "queryId",
            r.rolname::text as role, left(s.query, 4000) as text
       from ${from}(true) s left join pg_roles r on r.oid = s.userid where s.queryid::text = any($1::text[])`,
    [top.map(({ queryId }) => queryId)],
  );
  return {
    clues: top.flatMap(({ userId, queryId, milliseconds, calls, temporaryBlocks }): Clue[] => {
      const known = texts.find((one) => one.userId === userId && one.queryId === queryId);
      if (known === undefined || milliseconds <= 0) return [];
      const share = Math.round((100 * milliseconds) / Math.max(sum, Number.MIN_VALUE));
      const statement = maskLiterals(known.text);
      const when = isRecent ? "now" : "since its counters began";
      return [
        {
          from: "statements",
          rank: rankOf(share >= 50 ? "medium" : "low"),
          text: `${share} % of the time of all statements ${when} goes to one of ${JSON.stringify(known.role)}: ${statement}`,
          evidence: scalars({
            user: known.role,
            sharePercent: share,
            calls,
            meanMilliseconds: round(milliseconds / Math.max(1, calls), 2),
            temporaryBlocks,
            queryId,
            statement,
          }),
        },
      ];
    }),
  };
};

interface Group {
  role: string | null;
  application: string;
  state: string | null;
  wait: string;
  sessions: number;
}

/** How many sessions do something, what they wait for, and whose most of them are. */
export const lookAtSessions: ShortLook = async ({ session }) => {
  const hidden = await whySessionsAreHidden(session);
  if (hidden !== undefined) return { clues: [], unseen: `sessions: ${hidden}` };
  const groups = await session.query<Group>(
    `select usename::text as role, application_name as application, state,
            coalesce(wait_event_type || ': ' || wait_event, 'CPU') as wait, count(*)::int as sessions
       from pg_stat_activity
      where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()
      group by 1, 2, 3, 4`,
  );
  const total = sum(groups);
  if (total === 0) return { clues: [] };
  const byWait = grouped(groups, (group) => group.wait);
  const [holder] = grouped(groups, ({ role, application }) => JSON.stringify([role, application]));
  const [user, application] = JSON.parse(holder?.[0] ?? "[]") as [string | null, string];
  const statement = await commonStatement({ session });
  return {
    clues: [
      {
        from: "sessions",
        rank: rankOf("low"),
        text: `${countText(total, "session")} at work: ${byWait
          .slice(0, shown)
          .map(([wait, count]) => `${count} ${wait}`)
          .join(", ")}; ${holder?.[1] ?? 0} of ${JSON.stringify(user)} (${JSON.stringify(application)})`,
        evidence: scalars({
          sessions: total,
          mostWaitFor: byWait[0]?.[0] ?? null,
          user: user ?? null,
          application: application ?? null,
          ...statement,
        }),
      },
    ],
  };
};

async function commonStatement({ session }: Pick<Parameters<ShortLook>[0], "session">) {
  const backends = await readBackends(
    session,
    "a.backend_type = 'client backend' and a.state = 'active' and a.pid <> pg_backend_pid() limit 1000",
  );
  const [most] = grouped(
    backends.map((backend) => ({ ...backend, sessions: 1 })),
    ({ statement }) => statement,
  );
  return most === undefined ? {} : { statement: most[0], sessionsInIt: most[1] };
}

const sum = (groups: readonly { sessions: number }[]) =>
  groups.reduce((total, { sessions }) => total + sessions, 0);

function grouped<T extends { sessions: number }>(
  rows: readonly T[],
  by: (row: T) => string,
): [string, number][] {
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(by(row), (counts.get(by(row)) ?? 0) + row.sessions);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The oldest open transaction, whatever it does. */
export const lookAtTransactions: ShortLook = async ({ session }) => {
  const hidden = await whySessionsAreHidden(session);
  if (hidden !== undefined) return { clues: [], unseen: `transactions: ${hidden}` };
  const [oldest] = await readBackends(
    session,
    `a.xact_start is not null and a.pid <> pg_backend_pid()
       and a.backend_type not in ('walsender', 'autovacuum worker', 'autovacuum launcher')
     order by a.xact_start limit 1`,
  );
  if (oldest === undefined) return { clues: [] };
  const { role, ...backend } = describeBackend(oldest);
  return {
    clues: [
      {
        from: "transactions",
        rank: rankOf("medium"),
        text: `the oldest transaction is of ${JSON.stringify(oldest.role ?? oldest.backendType)} (${JSON.stringify(oldest.application)}, pid ${oldest.pid}, ${oldest.state ?? "no state"}): ${durationText(oldest.transactionSeconds ?? 0)}`,
        evidence: scalars({
          pid: oldest.pid,
          user: role ?? null,
          application: backend.application ?? null,
          client: backend.client ?? null,
          state: backend.state ?? null,
          ageSeconds: backend.transactionSeconds ?? null,
          statement: backend.statement ?? null,
        }),
      },
    ],
  };
};

interface Reads {
  schema: string;
  table: string;
  blocks: number;
  scanned: number;
}

/** The tables whose blocks come from outside shared buffers now; else those of which most did so far. */
export const lookAtScans: ShortLook = async ({ session }) => {
  const reads = () =>
    session.query<Reads>(
      `select io.schemaname::text as schema, io.relname::text as table,
              (coalesce(io.heap_blks_read, 0) + coalesce(io.idx_blks_read, 0) + coalesce(io.toast_blks_read, 0))::float8 as blocks,
              coalesce(t.seq_tup_read, 0)::float8 as scanned
         from pg_statio_user_tables io join pg_stat_user_tables t using (relid)
        order by 3 desc limit 200`,
    );
  const watched = await watchFor(session, reads, ({ schema, table }) => tableName(schema, table));
  const recent = watched
    .map(({ row, before }) => ({ ...row, blocks: row.blocks - (before?.blocks ?? 0) }))
    .filter(({ blocks }) => blocks > 0)
    .sort((a, b) => b.blocks - a.blocks);
  const when = recent.length > 0 ? "now" : "since the counters began";
  const tables =
    recent.length > 0 ? recent : watched.map(({ row }) => row).filter(({ blocks }) => blocks > 0);
  return {
    clues: tables.slice(0, shown).map(({ schema, table, blocks, scanned }) => ({
      from: "scans",
      rank: rankOf("low"),
      text: `table ${tableName(schema, table)} has most of its blocks read from outside shared buffers ${when}: ${countText(blocks, "block")}`,
      evidence: scalars({ table: tableName(schema, table), blocks, rowsScanned: scanned }),
    })),
  };
};

interface Changes {
  schema: string;
  table: string;
  changed: number;
}

/** The tables whose rows are changed most, and the roles that have changed something and not ended: those meet. */
export const lookAtContention: ShortLook = async ({ session }) => {
  const changes = () =>
    session.query<Changes>(
      `select schemaname::text as schema, relname::text as table, (n_tup_upd + n_tup_del)::float8 as changed
         from pg_stat_user_tables where n_tup_upd + n_tup_del > 0 order by 3 desc limit 200`,
    );
  const watched = await watchFor(session, changes, ({ schema, table }) => tableName(schema, table));
  const recent = watched
    .map(({ row, before }) => ({ ...row, changed: row.changed - (before?.changed ?? 0) }))
    .filter(({ changed }) => changed > 0)
    .sort((a, b) => b.changed - a.changed);
  const [table] = recent.length > 0 ? recent : watched.map(({ row }) => row);
  const hidden = await whySessionsAreHidden(session);
  const roles = await session.query<{ role: string }>(
    `select usename::text as role from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid() and usename is not null
        and (backend_xid is not null or (wait_event_type = 'Lock'))
      group by 1 order by count(*) desc limit 5`,
  );
  if (table === undefined) return { clues: [], ...(hidden === undefined ? {} : { unseen: hidden }) };
  const name = tableName(table.schema, table.table);
  const who = roles.map(({ role }) => JSON.stringify(role)).join(", ");
  return {
    clues: [
      {
        from: "contention",
        rank: rankOf("low"),
        text: `the rows of ${name} are changed most${who === "" ? "" : `; transactions that have changed something are of ${who}`}`,
        evidence: scalars({ table: name, rowsChanged: table.changed, users: who }),
      },
    ],
    ...(hidden === undefined ? {} : { unseen: hidden }),
  };
};
