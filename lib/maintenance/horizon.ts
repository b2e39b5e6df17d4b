import type { Session } from "../ports/databases.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";

/** Something because of which rows that are dead already must stay. */
export type Holder = {
  kind: "session" | "standby" | "prepared transaction" | "replication slot";
  /** For people: `process 4711 of alice (psql)`, `slot "s1"`, `prepared transaction "gid"`. */
  name: string;
  pid?: number;
  user?: string;
  application?: string;
  state?: string;
  slot?: string;
  gid?: string;
  /** `catalogs`: only system catalogs are held (a logical slot's catalog_xmin). */
  holds: "everything" | "catalogs";
  /** Transactions that began since: their dead rows stay. */
  ageTransactions: number;
  /** Null when the server does not tell. */
  ageSeconds: number | null;
  /** A slot that nothing reads. */
  abandoned: boolean;
  remedy: string;
};

interface Row {
  kind: Holder["kind"];
  pid: number | null;
  user: string | null;
  application: string | null;
  state: string | null;
  object: string | null;
  holds: Holder["holds"];
  ageTransactions: number;
  ageSeconds: number | null;
  active: boolean | null;
}

/**
 * Everything that holds back the xmin horizon of this database, the oldest first. As `ComputeXidHorizons()`
 * in PostgreSQL's `procarray.c`: sessions of this database with a snapshot or a transaction id, walsenders
 * with standby feedback, prepared transactions, slots. Running VACUUMs do not count.
 */
export async function readHorizon(session: Session): Promise<Holder[]> {
  const since =
    majorOf(session.serverVersionNumber) >= 17
      ? "extract(epoch from clock_timestamp() - s.inactive_since)::float8"
      : "null::float8";
  const rows = await session.query<Row>(`
select case when a.backend_type = 'walsender' or a.datid is null then 'standby' else 'session' end as kind,
       a.pid, a.usename::text as user, nullif(a.application_name, '') as application, a.state,
       null::text as object, 'everything' as holds,
       greatest(age(a.backend_xmin), age(a.backend_xid))::int8 as "ageTransactions",
       case when a.backend_type = 'walsender' then null
            else extract(epoch from clock_timestamp() - a.xact_start)::float8 end as "ageSeconds",
       null::boolean as active
  from pg_stat_activity a
 where (a.backend_xmin is not null or a.backend_xid is not null)
   and a.pid <> pg_backend_pid() and a.leader_pid is null
   and (a.datid is null or a.backend_type = 'walsender'
        or a.datid = (select oid from pg_database where datname = current_database()))
   and a.pid not in (select pid from pg_stat_progress_vacuum)
union all
select 'prepared transaction', null, p.owner::text, null, null, p.gid, 'everything',
       age(p.transaction), extract(epoch from clock_timestamp() - p.prepared)::float8, null
  from pg_prepared_xacts p where p.database = current_database()
union all
select 'replication slot', s.active_pid, null, null, null, s.slot_name::text, h.holds, h.age, ${since}, s.active
  from pg_replication_slots s,
       lateral (values ('everything', age(s.xmin)), ('catalogs', age(s.catalog_xmin))) as h(holds, age)
 where h.age is not null and s.wal_status is distinct from 'lost'
 order by "ageTransactions" desc`);
  return rows.map(holderOf);
}

function holderOf(row: Row): Holder {
  const { name, remedy } = describe(row);
  return {
    kind: row.kind,
    name,
    ...(row.pid === null ? {} : { pid: row.pid }),
    ...(row.user === null ? {} : { user: row.user }),
    ...(row.application === null ? {} : { application: row.application }),
    ...(row.state === null ? {} : { state: row.state }),
    ...(row.kind === "replication slot" && row.object !== null ? { slot: row.object } : {}),
    ...(row.kind === "prepared transaction" && row.object !== null ? { gid: row.object } : {}),
    holds: row.holds,
    ageTransactions: row.ageTransactions,
    ageSeconds: row.ageSeconds,
    abandoned: row.kind === "replication slot" && row.active === false,
    remedy,
  };
}

function describe(row: Row): { name: string; remedy: string } {
  const who = `process ${row.pid}${row.user === null ? "" : ` of ${row.user}`}${
    row.application === null ? "" : ` (${row.application})`
  }`;
  const object = row.object ?? "";
  switch (row.kind) {
    case "session":
      return {
        name: who,
        remedy: `let it end its transaction, or end it: SELECT pg_terminate_backend(${row.pid})`,
      };
    case "standby":
      return {
        name: `standby behind ${who}`,
        remedy:
          "end the long query on the standby, or switch off hot_standby_feedback there and accept cancelled queries",
      };
    case "prepared transaction":
      return {
        name: `prepared transaction ${identifier(object)}`,
        remedy: `finish it: COMMIT PREPARED ${literal(object).trim()} or ROLLBACK PREPARED ${literal(object).trim()}`,
      };
    case "replication slot":
      return {
        name: `slot ${identifier(object)}`,
        remedy:
          row.active === true
            ? "end the long query on the standby or let the consumer catch up"
            : `start its consumer again, or drop it: SELECT pg_drop_replication_slot(${literal(object).trim()})`,
      };
  }
}
