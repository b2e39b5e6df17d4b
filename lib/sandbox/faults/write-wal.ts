import { setTimeout as delay } from "node:timers/promises";
import type { Session } from "../../ports/databases.ts";

const mebibyte = 2 ** 20;

/** Writes so much WAL that means nothing to anybody: no table changes, and replicas replay it in no time. */
export async function writeWal(session: Session, mebibytes: number): Promise<void> {
  for (let written = 0; written < mebibytes; written++) {
    await session.query("select pg_logical_emit_message(false, 'pgkeep fault', repeat('x', $1::int))", [
      mebibyte,
    ]);
  }
}

/** Segments that a server needs at the least: the current one, what comes next, what replicas still read. */
const fewSegments = 6;

/**
 * Has the server give back the WAL files that nobody needs any more; by itself it keeps them for later, as many as
 * the last burst took. Stops after five seconds where somebody still needs them.
 */
export async function giveBackWal(session: Session): Promise<void> {
  const [row] = await session.query<{ segment: number }>(
    "select setting::int8 / 1048576 as segment from pg_settings where name = 'wal_segment_size'",
  );
  const limits = ["min_wal_size", "max_wal_size"];
  for (const limit of limits) {
    await session.query(`alter system set ${limit} = '${2 * (row?.segment ?? 16)}MB'`);
  }
  try {
    await session.query("select pg_reload_conf()");
    // The checkpointer has to know before its first checkpoint: what that one keeps for later is not given back.
    for (let attempt = 0; attempt < 100; attempt++) {
      const known = await session.query(
        "select 1 from pg_settings where name = 'max_wal_size' and sourcefile like '%postgresql.auto.conf'",
      );
      if (known.length > 0) break;
      await delay(10);
    }
    await delay(200);
    for (let attempt = 0; attempt < 25; attempt++) {
      if (attempt === 0) await session.query("select pg_switch_wal()");
      await session.query("checkpoint");
      const [files] = await session.query<{ segments: number }>(
        "select count(*) as segments from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'",
      );
      if ((files?.segments ?? 0) <= fewSegments) return;
      // Replicas say each second how far they are.
      await delay(200);
    }
  } finally {
    for (const limit of limits) await session.query(`alter system reset ${limit}`);
    await session.query("select pg_reload_conf()");
  }
}
