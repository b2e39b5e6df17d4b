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

/**
 * Has the server give back the WAL files that nobody needs any more; by itself it keeps them for later, as many as
 * the last burst took.
 */
export async function giveBackWal(session: Session): Promise<void> {
  const [row] = await session.query<{ smallest: number }>(
    "select 2 * setting::int8 / 1048576 as smallest from pg_settings where name = 'wal_segment_size'",
  );
  const limits = ["min_wal_size", "max_wal_size"];
  for (const limit of limits) await session.query(`alter system set ${limit} = '${row?.smallest ?? 32}MB'`);
  try {
    await session.query("select pg_reload_conf()");
    // Each removes what lies before the one before it.
    for (let checkpoint = 0; checkpoint < 2; checkpoint++) {
      await session.query("select pg_switch_wal()");
      await session.query("checkpoint");
    }
  } finally {
    for (const limit of limits) await session.query(`alter system reset ${limit}`);
    await session.query("select pg_reload_conf()");
  }
}
