import type { Fault } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { writeWal } from "./write-wal.ts";

const slot = "pgkeep_fault_abandoned";

/** What the slot keeps from the beginning; it grows with each write. */
const walMebibytes = 16;

interface Slot {
  restart_lsn: string;
  retained_bytes: number;
}

const look = `select restart_lsn::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint as retained_bytes
  from pg_replication_slots where slot_name = $1`;

export const abandonSlot: Fault = {
  name: "abandon-slot",
  alarms: ["oldest-slot-lag", "inactive-slots", "transaction-logs-disk"],
  summary:
    "create a replication slot that nobody reads: an inactive slot, for which the primary keeps more and more WAL, 16 MB from the beginning",
  apply: ({ state }) =>
    withSuperuser(state, async (session) => {
      const [existing] = await session.query<Slot>(look, [slot]);
      if (existing !== undefined) {
        const details = {
          slot,
          restartLsn: existing.restart_lsn,
          retainedBytes: existing.retained_bytes,
        };
        return { outcome: "already-applied", message: `the slot ${slot} exists`, details };
      }
      await session.query("select pg_create_physical_replication_slot($1, true)", [slot]);
      await writeWal(session, walMebibytes);
      const [created] = await session.query<Slot>(look, [slot]);
      return {
        outcome: "applied",
        message: `the slot ${slot} keeps all WAL from ${created?.restart_lsn} on, and nobody reads it`,
        details: {
          slot,
          restartLsn: created?.restart_lsn ?? "",
          retainedBytes: created?.retained_bytes ?? 0,
        },
      };
    }),
  repair: ({ state }) =>
    withSuperuser(state, async (session) => {
      const dropped = await session.query(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1",
        [slot],
      );
      return dropped.length === 0
        ? { outcome: "not-applied", message: `there is no slot ${slot}`, details: { slot } }
        : { outcome: "repaired", message: `the slot ${slot} was dropped`, details: { slot } };
    }),
};
