import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { openStalledReader } from "../../postgres/stalled-reader.ts";
import type { SandboxState } from "../state.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { primaryOf, sessionName, withSuperuser } from "./held-sessions.ts";

const name = "fill-replication-slot";
const slot = "pgkeep_fault_stalled";

/** About 140 bytes in the slot's files for each, a tenth of that in WAL. */
const rows = 200_000;

/**
 * The files of a slot hold what logical decoding has no room for in memory: here one large transaction, whose
 * reader stopped in the middle of it. Its table lives and dies in that transaction. The WAL that the slot keeps is
 * a tenth of its files.
 */
export const fillReplicationSlot: Fault = {
  name,
  alarms: ["slot-disk-usage", "oldest-slot-lag"],
  summary:
    "have a logical consumer stop in the middle of one large transaction: the files of its slot take 28 MB of the primary's disk, and they and its WAL stay",
  apply: async (context) => {
    const { state, held } = context;
    const pids = await held.pids(name, state);
    if (pids.length > 0) {
      const details = { slot, pids };
      return { outcome: "already-applied", message: `the reader of ${slot} is stopped`, details };
    }
    try {
      await withSuperuser(state, createBacklog);
      const reader = await openStalledReader(
        { ...primaryOf(state), ...state.superuser, applicationName: sessionName(name) },
        slot,
      );
      held.keep(name, reader);
      const bytes = await waitForFiles(context);
      return {
        outcome: "applied",
        message: `the reader of ${slot} stopped in the middle of a transaction, and the slot's files take ${bytes} bytes`,
        details: { slot, bytes },
      };
    } catch (error) {
      await held.end(name, state);
      await withSuperuser(state, dropSlot).catch(() => {});
      throw error;
    }
  },
  repair: async ({ state, held }) => {
    const ended = await held.end(name, state);
    const dropped = await withSuperuser(state, dropSlot);
    return ended === 0 && !dropped
      ? { outcome: "not-applied", message: `there is no slot ${slot}`, details: { slot } }
      : { outcome: "repaired", message: `the slot ${slot} was dropped with its files`, details: { slot } };
  },
};

async function createBacklog(session: Session): Promise<void> {
  const existing = await session.query("select 1 from pg_replication_slots where slot_name = $1", [slot]);
  // Its reader was lost, by a crash: the slot begins with the same transaction again.
  if (existing.length > 0) return;
  await session.query("select pg_create_logical_replication_slot($1, 'test_decoding')", [slot]);
  await session.transaction(async () => {
    await session.query("create schema pgkeep_fault");
    await session.query("create table pgkeep_fault.large (number int)");
    await session.query(`copy pgkeep_fault.large from program 'seq 1 ${rows}'`);
    await session.query("drop schema pgkeep_fault cascade");
  });
}

async function dropSlot(session: Session): Promise<boolean> {
  const dropped = await session.query(
    "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1",
    [slot],
  );
  return dropped.length > 0;
}

/** Until the whole transaction lies in files: their size has not changed for a moment. */
async function waitForFiles({ state, clock, signal }: FaultContext): Promise<number> {
  let before = 0;
  for (let attempt = 0; attempt < 200; attempt++) {
    const bytes = await filesOf(state);
    if (bytes > 100 * rows && bytes === before) return bytes;
    before = bytes;
    await clock.sleep(100, signal);
  }
  throw new PgkeepError("timeout", `the transaction did not arrive in the files of ${slot} within 20 s`);
}

async function filesOf(state: SandboxState): Promise<number> {
  const directory = join(state.primary.dataDirectory, "pg_replslot", slot);
  let bytes = 0;
  for (const file of await readdir(directory)) {
    bytes += await stat(join(directory, file)).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return bytes;
}
