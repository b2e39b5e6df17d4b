import type { Session } from "../ports/databases.ts";
import type { Lsn } from "./lsn.ts";

/** One instance of an Aurora cluster, as the cluster knows it. */
export interface AuroraInstance {
  /** The one that was asked. */
  own: boolean;
  writer: boolean;
  /** Up to where the volume's log has been applied; of the writer, where it ends. */
  appliedLsn: Lsn | null;
  receivedLsn: Lsn | null;
  lagSeconds: number | null;
}

interface Row {
  own: boolean;
  writer: boolean;
  applied: string | null;
  received: string | null;
  lag_seconds: number | null;
}

/**
 * Whether this is Aurora. Its readers share the writer's volume and replay no WAL of their own: the functions that
 * tell a standby's progress are not supported there (Aurora user guide, `aurora_replica_status`).
 */
export async function isAurora(session: Session): Promise<boolean> {
  const rows = await session.query<{ aurora: boolean }>(
    "select to_regprocedure('pg_catalog.aurora_replica_status()') is not null as aurora",
  );
  return rows[0]?.aurora === true;
}

/** All instances of the cluster, from any of them. Log positions are in the order of the writer's log. */
export async function auroraInstances(session: Session): Promise<AuroraInstance[]> {
  const rows = await session.query<Row>(
    `select server_id = pg_catalog.aurora_db_instance_identifier() as own,
            session_id = 'MASTER_SESSION_ID' as writer,
            durable_lsn::text as applied,
            highest_lsn_rcvd::text as received,
            replica_lag_in_msec::float8 / 1000 as lag_seconds
       from pg_catalog.aurora_replica_status()`,
  );
  return rows.map(({ own, writer, applied, received, lag_seconds }) => ({
    own,
    writer,
    appliedLsn: position(applied),
    receivedLsn: position(received),
    // A negative one is no measurement.
    lagSeconds: lag_seconds === null || lag_seconds < 0 ? null : lag_seconds,
  }));
}

/** A number as PostgreSQL writes positions in the WAL. */
function position(text: string | null): Lsn | null {
  if (text === null || !/^\d+$/.test(text)) return null;
  const number = BigInt(text);
  if (number > 0xffff_ffff_ffff_ffffn) return null;
  return `${(number >> 32n).toString(16)}/${(number & 0xffff_ffffn).toString(16)}`.toUpperCase();
}
