import type { Session } from "../ports/databases.ts";
import { literal } from "../postgres/identifiers.ts";
import { bytesText, durationText } from "../words.ts";
import type { IndexFacts } from "./index-facts.ts";

/** Something because of which an index is not rebuilt now. */
export type Obstacle = {
  kind: "old transaction" | "prepared transaction" | "lock" | "build" | "replica lag" | "disk space";
  /** Who or what, in words. */
  text: string;
  remedy: string;
};

export interface Limits {
  /** Transactions that have been open for longer are not waited for. */
  oldTransactionSeconds: number;
  maximumReplicaLagBytes: number;
}

interface Row {
  kind: Exclude<Obstacle["kind"], "disk space">;
  pid: number | null;
  user: string | null;
  application: string | null;
  state: string | null;
  seconds: number | null;
  detail: string | null;
  bytes: number | null;
}

/**
 * What a concurrent rebuild of an index of this table would wait for or get in the way of, now: transactions of this
 * database with an old snapshot (`WaitForOlderSnapshots()` in `indexcmds.c`: VACUUM and other databases do not
 * count), transactions that have the table open for long, locks that exclude SHARE UPDATE EXCLUSIVE, another build
 * on the table, standbys that are behind. An autovacuum gives way by itself unless it prevents wraparound.
 */
export async function readObstacles(session: Session, tableOid: number, limits: Limits): Promise<Obstacle[]> {
  const rows = await session.query<Row>(obstaclesQuery, [
    tableOid,
    limits.oldTransactionSeconds,
    limits.maximumReplicaLagBytes,
  ]);
  return rows.map(obstacleOf);
}

const obstaclesQuery = `
with locks as materialized (
  select l.pid, l.mode, l.granted, l.virtualtransaction from pg_locks l
   where l.locktype = 'relation' and l.relation = $1
     and l.database = (select oid from pg_database where datname = current_database())
     and l.pid is distinct from pg_backend_pid()
), activity as materialized (
  select a.pid, a.usename::text as "user", nullif(a.application_name, '') as application, a.state, a.backend_xmin,
         a.backend_type, a.query, a.datname, extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
    from pg_stat_activity a where a.pid <> pg_backend_pid()
)
select 'old transaction' as kind, a.pid, a."user", a.application, a.state, a.seconds,
       case when exists (select from locks l where l.pid = a.pid) then 'has the table open' else 'has a snapshot' end as detail,
       null::int8 as bytes
  from activity a
 where a.seconds > $2::float8 and a.backend_type <> 'autovacuum worker'
   and (a.datname = current_database() and a.backend_xmin is not null
          and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
        or exists (select from locks l where l.pid = a.pid and l.granted))
union all
select distinct 'prepared transaction', null::int, p.owner::text, null, null,
       extract(epoch from clock_timestamp() - p.prepared)::float8, p.gid, null::int8
  from locks l
  -- Its locks have no process; the one on its own id has the same virtual transaction.
  join pg_locks own on own.locktype = 'transactionid' and own.pid is null and own.virtualtransaction = l.virtualtransaction
  join pg_prepared_xacts p on p.transaction = own.transactionid
 where l.pid is null
union all
select 'lock', l.pid, a."user", a.application, a.state, a.seconds,
       case when l.granted then 'holds ' else 'waits for ' end || l.mode, null::int8
  from locks l left join activity a on a.pid = l.pid
 where l.pid is not null
   and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   and not (a.backend_type = 'autovacuum worker' and a.query not like '%(to prevent wraparound)')
   and not exists (select from pg_stat_progress_create_index b where b.pid = l.pid and b.relid = $1)
union all
select 'build', b.pid, a."user", a.application, a.state, a.seconds, b.command || ', ' || b.phase, null::int8
  from pg_stat_progress_create_index b left join activity a on a.pid = b.pid
 where b.relid = $1 and b.pid <> pg_backend_pid() and b.datname = current_database()
union all
select 'replica lag', r.pid, null, nullif(r.application_name, ''), r.state, null,
       null, pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn)::int8
  from pg_stat_replication r
 where pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn) > $3::int8`;

function obstacleOf(row: Row): Obstacle {
  const user = row.user === null ? "" : ` of ${row.user}`;
  const application = row.application === null ? "" : ` (${row.application})`;
  const who = `process ${row.pid}${user}${application}`;
  const age =
    row.seconds === null ? "" : `, ${row.state ?? "running"}, transaction of ${durationText(row.seconds)}`;
  const end = `SELECT pg_terminate_backend(${row.pid})`;
  switch (row.kind) {
    case "old transaction":
      return {
        kind: row.kind,
        text: `${who} ${row.detail}${age}`,
        remedy: `let it end its transaction, or end it: ${end}`,
      };
    case "prepared transaction": {
      const gid = literal(row.detail ?? "").trim();
      return {
        kind: row.kind,
        text: `prepared transaction ${gid}${user} has the table locked`,
        remedy: `finish it: COMMIT PREPARED ${gid} or ROLLBACK PREPARED ${gid}`,
      };
    }
    case "lock":
      return {
        kind: row.kind,
        text: `${who} ${row.detail} on the table${age}`,
        remedy: `let it end, or end it: ${end}`,
      };
    case "build":
      return {
        kind: row.kind,
        text: `${who} builds an index of the table (${row.detail})`,
        remedy: `let it end, or cancel it: SELECT pg_cancel_backend(${row.pid})`,
      };
    case "replica lag":
      return {
        kind: row.kind,
        text: `the standby behind ${who} has ${bytesText(row.bytes ?? 0)} of WAL to replay`,
        remedy: "wait until it has caught up, or raise maintenance.reindex.maxReplicaLagMegabytes",
      };
  }
}

/** How much the database may still grow; null where it cannot be told. */
export type Headroom = { freeBytes: number | null; basis: string };

/**
 * The new index stands beside the old one until the end, and what is sorted outside memory takes as much again.
 * Free space cannot be seen by SQL: where the server is RDS, it is what the configuration lets it grow to, less all
 * databases that can be seen; elsewhere nothing is known of the disk.
 */
export async function readHeadroom(
  session: Session,
  allowed: { topology: string; maxStorageGigabytes: number; freeStoragePercent: number },
): Promise<Headroom> {
  const rows = await session.query<{ managed: boolean; bytes: number; unseen: number }>(
    `select current_setting('rds.extensions', true) is not null as managed,
            coalesce(sum(pg_database_size(oid)) filter (where seen), 0)::int8 as bytes,
            count(*) filter (where not seen)::int8 as unseen
       from (select oid, has_database_privilege(oid, 'CONNECT') or pg_has_role('pg_read_all_stats', 'USAGE') as seen
               from pg_database) d`,
  );
  const row = rows[0];
  if (row === undefined || !row.managed) {
    return { freeBytes: null, basis: "not assessable: the server's disk cannot be seen by SQL" };
  }
  if (allowed.topology === "aurora")
    return { freeBytes: null, basis: "not assessable: Aurora's volume grows by itself" };
  const most = allowed.maxStorageGigabytes * 1024 ** 3 * (1 - allowed.freeStoragePercent / 100);
  const unseen = row.unseen > 0 ? `, ${row.unseen} databases unseen` : "";
  return {
    freeBytes: Math.max(0, Math.round(most - row.bytes)),
    basis: `database.maxStorageGigabytes less health.freeStoragePercent and ${bytesText(row.bytes)} in use${unseen}`,
  };
}

export function diskNeededBytes(index: IndexFacts, blockBytes: number): number {
  return 2 * index.pages * blockBytes;
}

export function diskObstacle(neededBytes: number, headroom: Headroom): Obstacle | undefined {
  if (headroom.freeBytes === null || neededBytes <= headroom.freeBytes) return undefined;
  return {
    kind: "disk space",
    text: `needs ${bytesText(neededBytes)} of disk, and ${bytesText(headroom.freeBytes)} are free (${headroom.basis})`,
    remedy: "raise database.maxStorageGigabytes, or free space first",
  };
}
