import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { countText } from "../words.ts";
import { maskLiterals } from "./mask-literals.ts";

/** A backend as the checks show it: the statement without its data. */
export interface Backend {
  pid: number;
  role: string | null;
  database: string | null;
  application: string;
  client: string | null;
  backendType: string;
  state: string | null;
  waitEvent: string | null;
  /** Milliseconds of the epoch at which it began, as a text: with the pid, it names the session for ever. */
  startedAt: string;
  transactionSeconds: number | null;
  statementSeconds: number | null;
  stateSeconds: number | null;
  /** Whether it has written, and so holds row locks. */
  hasTransactionId: boolean;
  statement: string;
}

/** Columns of {@link Backend} from `pg_stat_activity` under the alias `a`; ages in seconds by the server's clock. */
export const backendColumns = `a.pid, a.usename::text as role, a.datname::text as database,
  a.application_name as application, host(a.client_addr) as client, a.backend_type as "backendType", a.state,
  case when a.wait_event is not null then a.wait_event_type || ': ' || a.wait_event end as "waitEvent",
  (extract(epoch from a.backend_start) * 1000)::bigint::text as "startedAt",
  extract(epoch from clock_timestamp() - a.xact_start)::float8 as "transactionSeconds",
  extract(epoch from clock_timestamp() - a.query_start)::float8 as "statementSeconds",
  extract(epoch from clock_timestamp() - a.state_change)::float8 as "stateSeconds",
  a.backend_xid is not null as "hasTransactionId",
  a.query as statement`;

export async function readBackends(
  session: Session,
  where: string,
  values: readonly unknown[] = [],
): Promise<Backend[]> {
  const rows = await session.query<Backend>(
    `select ${backendColumns} from pg_stat_activity a where ${where}`,
    values,
  );
  return rows.map((row) => ({ ...row, statement: maskLiterals(row.statement) }));
}

/** What a finding shows of a backend. */
export function describeBackend(backend: Backend): { [key: string]: Json } {
  const seconds = (value: number | null) => (value === null ? null : Math.round(value));
  return {
    pid: backend.pid,
    role: backend.role,
    database: backend.database,
    application: backend.application,
    client: backend.client,
    backendType: backend.backendType,
    state: backend.state,
    waitEvent: backend.waitEvent,
    transactionSeconds: seconds(backend.transactionSeconds),
    statementSeconds: seconds(backend.statementSeconds),
    stateSeconds: seconds(backend.stateSeconds),
    statement: backend.statement,
  };
}

/** Sessions whose activity is not recorded (`track_activities = off`), and what to do; undefined when there is none. */
export async function whyActivityIsUnknown(session: Session): Promise<string | undefined> {
  const rows = await session.query<{ disabled: number }>(
    "select count(*) as disabled from pg_stat_activity where state = 'disabled'",
  );
  const disabled = rows[0]?.disabled ?? 0;
  if (disabled === 0) return undefined;
  return `${countText(disabled, "session does", "sessions do")} not record what they do (track_activities = off): ALTER SYSTEM SET track_activities = on; (on a managed server, in its parameter group) or reset it for the roles that switch it off`;
}
