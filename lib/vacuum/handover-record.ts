import type { Session } from "../ports/databases.ts";
import type { Parameters } from "./parameters.ts";

/** A table that others vacuum for us, as recorded, with what became of it since. */
export interface Handover {
  /** As recorded; after a restore of the database tables have other numbers. */
  recordedOid: number;
  schema: string;
  table: string;
  to: "autovacuum" | "pg_cron";
  toastOnly: boolean;
  parameters: Parameters;
  cronJob: number | null;
  ageSeconds: number;
  /** Null when the table is gone. */
  oid: number | null;
  /** Whether a VACUUM of it has ended since. */
  isVacuumed: boolean;
  /** A VACUUM works on it now. */
  isRunning: boolean;
  options: string[] | null;
  toastOptions: string[] | null;
}

/** Whether hand-overs can be recorded here: nothing is changed that would not be put back. */
export async function recordsHandovers(session: Session): Promise<boolean> {
  const rows = await session.query<{ usable: boolean }>(
    `select coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
                     and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'delete'), false) as usable
       from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relname = 'vacuum_handover'
      where n.nspname = 'pgkeep'`,
  );
  return rows[0]?.usable === true;
}

export async function readHandovers(session: Session): Promise<Handover[]> {
  return session.query<Handover>(
    `with recorded as (
       select h.*, coalesce(
                (select c.oid from pg_class c where c.oid = h.table_oid),
                (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname::text = h.schema_name and c.relname::text = h.table_name)) as found
         from pgkeep.vacuum_handover h)
     select h.table_oid::int8 as "recordedOid", coalesce(n.nspname::text, h.schema_name) as schema,
            coalesce(c.relname::text, h.table_name) as table, h.handed_to as to, h.toast_only as "toastOnly",
            h.parameters, h.cron_job as "cronJob",
            extract(epoch from clock_timestamp() - h.begun_at)::float8 as "ageSeconds", h.found::int8 as oid,
            coalesce(greatest(pg_stat_get_last_vacuum_time(w.oid), pg_stat_get_last_autovacuum_time(w.oid)) > h.begun_at, false)
              as "isVacuumed",
            exists (select from pg_stat_progress_vacuum v
                     where v.datname = current_database() and v.relid in (c.oid, c.reltoastrelid)) as "isRunning",
            c.reloptions as options, t.reloptions as "toastOptions"
       from recorded h
       left join pg_class c on c.oid = h.found
       left join pg_namespace n on n.oid = c.relnamespace
       left join pg_class t on t.oid = nullif(c.reltoastrelid, 0)
       left join pg_class w on w.oid = case when h.toast_only then c.reltoastrelid else c.oid end
      order by h.begun_at`,
  );
}

export async function insertHandover(
  session: Session,
  entry: {
    oid: number;
    schema: string;
    table: string;
    to: Handover["to"];
    toastOnly: boolean;
    parameters: Parameters;
    cronJob: number | null;
  },
): Promise<void> {
  await session.query(
    `insert into pgkeep.vacuum_handover (table_oid, schema_name, table_name, handed_to, toast_only, parameters, cron_job)
     values ($1, $2, $3, $4, $5, $6::jsonb, $7)`,
    [
      entry.oid,
      entry.schema,
      entry.table,
      entry.to,
      entry.toastOnly,
      JSON.stringify(entry.parameters),
      entry.cronJob,
    ],
  );
}

export async function deleteHandover(session: Session, recordedOid: number): Promise<void> {
  await session.query("delete from pgkeep.vacuum_handover where table_oid = $1", [recordedOid]);
}
