import { setTimeout as delay } from "node:timers/promises";
import { type LiveServer, type Measure, type MeasureContext, type Measurement, ofServer } from "./measure.ts";

/** Time for WAL that was just written to arrive and be replayed. */
const inFlightMilliseconds = 30;

interface Standby {
  recovering: boolean;
  streaming: boolean;
  caughtUp: boolean;
  behindSeconds: number;
}

/**
 * - `ReplicaLag`. AWS: `now() - pg_last_xact_replay_timestamp()` on the replica, −1 while replication is stopped; a
 *   source without transactions shows up to five minutes, as RDS itself writes that often. Ours: the same, −1 while the
 *   replica's receiver is not streaming, and 0 when the replica has replayed all that the primary has written: nothing
 *   else writes to an idle sandbox, and the formula would rise for ever. Absent while the replica does not run or
 *   answer, and of one that was promoted.
 * - `OldestReplicationSlotLag`. AWS: WAL that the replica furthest behind has not received. Ours: WAL from the oldest
 *   `restart_lsn` of any slot to the newest record. Absent without a slot that keeps WAL, and while the primary does
 *   not answer.
 */
export const replication: Measure = {
  metrics: ["ReplicaLag", "OldestReplicationSlotLag"],
  start: () => async (context) => {
    const { primary } = context.state;
    const [slots] =
      (await context.ask<{ written: string; lag: number | null }>(
        primary,
        `select case when not pg_is_in_recovery() then pg_current_wal_flush_lsn()::text end as written,
                (select max(case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) end)
                   from pg_get_replication_slots())::bigint as lag`,
      )) ?? [];
    const replicas = context.servers.filter(({ name }) => name !== primary.name);
    const lags = await Promise.all(replicas.map((replica) => replicaLag(context, replica, slots?.written)));
    return [
      ...lags.flat(),
      ...(slots?.lag === undefined || slots.lag === null
        ? []
        : [ofServer("OldestReplicationSlotLag", primary, slots.lag)]),
    ];
  },
};

async function replicaLag(
  context: MeasureContext,
  replica: LiveServer,
  written: string | undefined,
): Promise<Measurement[]> {
  const look = async () => (await context.ask<Standby>(replica, standbyQuery, [written ?? null]))?.[0];
  let standby = await look();
  if (standby?.streaming === true && !standby.caughtUp) {
    await delay(inFlightMilliseconds);
    standby = (await look()) ?? standby;
  }
  if (standby === undefined || !standby.recovering) return [];
  return [ofServer("ReplicaLag", replica, lagSeconds(standby))];
}

function lagSeconds({ streaming, caughtUp, behindSeconds }: Standby): number {
  if (!streaming) return -1;
  return caughtUp ? 0 : Math.max(0, behindSeconds);
}

/** A replica that has replayed no transaction since its start counts from there. */
const standbyQuery = `
  select pg_is_in_recovery() as recovering,
         exists (select from pg_stat_wal_receiver where status = 'streaming') as streaming,
         coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false) as "caughtUp",
         extract(epoch from now() - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))::float8
           as "behindSeconds"`;
