import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";

export interface DayCollected {
  day: string;
  again: boolean;
  databaseBytes: number;
  sizeBasis: "files" | "estimate";
  /** Days after today that were removed. */
  futureDays: number;
  otherDatabase: boolean;
}

/**
 * `pg_database_size` looks at each file: two microseconds for each, more on a cold disk. Beyond this many relations
 * the size comes from `relpages`. The check of the database's size draws the same line.
 */
const exactUpToRelations = 4000;

/**
 * Writes today's row, and makes the rest fit it: when the server's clock was put back, what lies in its future is
 * removed; tables of another database (this one was restored from a dump, or copied) end here.
 */
export async function collectDay(session: Session): Promise<DayCollected> {
  const [now] = await session.query<{ day: string; again: boolean; future: number; other: boolean }>(
    `select t.day::text as day, exists (select from pgkeep.history_day d where d.day = t.day) as again,
            (select count(*) from pgkeep.history_day d where d.day > t.day) as future,
            coalesce((select d.database_oid from pgkeep.history_day d order by d.day desc limit 1) <> t.database_oid, false) as other
       from (select (clock_timestamp() at time zone 'UTC')::date as day, oid as database_oid
               from pg_database where datname = current_database()) t`,
  );
  if (now === undefined) throw new PgkeepError("internal", "the server does not know this database");
  if (now.future > 0) await removeFuture(session, now.day);
  if (now.other) await endAllTables(session, now.day);
  const [row] = await session.query<{ bytes: number; basis: DayCollected["sizeBasis"] }>(writeDayQuery, [
    now.day,
    exactUpToRelations,
  ]);
  if (row === undefined) throw new PgkeepError("internal", "the day was noted and says nothing");
  return {
    day: now.day,
    again: now.again,
    databaseBytes: row.bytes,
    sizeBasis: row.basis,
    futureDays: now.future,
    otherDatabase: now.other,
  };
}

async function removeFuture(session: Session, day: string): Promise<void> {
  for (const statement of [
    "delete from pgkeep.history_day where day > $1::date",
    "delete from pgkeep.history_table_before where until_day >= $1::date",
    "delete from pgkeep.history_statement where day > $1::date",
    "delete from pgkeep.history_table where gone_day is not null and first_day > $1::date",
    `update pgkeep.history_table
        set first_day = least(first_day, $1::date), since_day = least(since_day, $1::date), 
            gone_day = case when gone_day > $1::date then $1::date else gone_day end
      where greatest(first_day, since_day, gone_day) > $1::date`,
  ]) {
    await session.query(statement, [day]);
  }
}

/** Oids mean something in one database only. */
async function endAllTables(session: Session, day: string): Promise<void> {
  await session.query("delete from pgkeep.history_table where first_day >= $1::date", [day]);
  await session.query("update pgkeep.history_table set gone_day = $1::date where gone_day is null", [day]);
}

/**
 * The next transaction id is where the present snapshot ends; `mxid_age` counts from the next multixact id. Neither
 * uses one up. Ages are the oldest of the whole server's, as in the wraparound check.
 */
const writeDayQuery = `
with sizes as materialized (
  select count(*) <= $2::int as exact, coalesce(sum(greatest(relpages, 0)::int8), 0)::int8 as pages
    from pg_class where relkind in ('r', 'm', 't', 'i', 'S')
), ages as materialized (
  select max(age(datfrozenxid))::int8 as transaction_id, max(mxid_age(datminmxid))::int8 as multixact from pg_database
)
insert into pgkeep.history_day as d (day, taken_at, database_oid, server_started_at, statistics_reset, database_bytes, size_basis,
       next_transaction_id, transaction_id_age, next_multixact_id, multixact_age)
select $1::date, clock_timestamp(), b.oid, pg_postmaster_start_time(),
       (select stats_reset from pg_stat_database where datid = b.oid),
       case when s.exact then pg_database_size(b.oid) else s.pages * current_setting('block_size')::int8 end,
       case when s.exact then 'files' else 'estimate' end,
       pg_snapshot_xmax(pg_current_snapshot())::text::int8, a.transaction_id,
       (mxid_age('1'::xid)::int8 + 1) & 4294967295, a.multixact
  from pg_database b cross join sizes s cross join ages a
 where b.datname = current_database()
on conflict (day) do update set
  taken_at = excluded.taken_at, database_oid = excluded.database_oid, server_started_at = excluded.server_started_at,
  statistics_reset = excluded.statistics_reset, database_bytes = excluded.database_bytes, size_basis = excluded.size_basis,
  next_transaction_id = excluded.next_transaction_id, transaction_id_age = excluded.transaction_id_age,
  next_multixact_id = excluded.next_multixact_id, multixact_age = excluded.multixact_age
returning d.database_bytes as bytes, d.size_basis as basis`;
