import { setTimeout as delay } from "node:timers/promises";
import type { Session } from "../../ports/databases.ts";
import { literal } from "../../postgres/identifiers.ts";
import type { Fault } from "./fault.ts";
import { heldFault, pidOf } from "./held-fault.ts";
import { type HeldSessions, withSuperuser } from "./held-sessions.ts";
import { writeWal } from "./write-wal.ts";

const name = "checkpoint-storm";
/** A burst that looks like a bulk load, then less than 10 MB a minute: the archive keeps all of it. */
const burst = 16;
const burstPauseMilliseconds = 250;
const pauseMilliseconds = 30_000;
/** After this much it rests: the fault stays, the disk does not fill. */
const mostMegabytes = 1_000;

/** The least that the server takes: two segments. */
const leastSegments = 2;

/** What `ALTER SYSTEM` had set before, by the sandbox that it belongs to. */
const before = new WeakMap<HeldSessions, string | null>();

const storm = heldFault(
  name,
  ["checkpoint-storm"],
  "lower max_wal_size to the least and write WAL as a bulk load does: its volume forces checkpoint after checkpoint",
  async ({ held }, open, goOn) => {
    const session = await open("superuser");
    const pid = await pidOf(session);
    const segment = await segmentMegabytes(session);
    const setting = `${leastSegments * segment}MB`;
    const earlier = await setBySystem(session);
    if (earlier !== setting) before.set(held, earlier);
    await session.query(`alter system set max_wal_size = '${setting}'`);
    await session.query("select pg_reload_conf()");
    goOn(async (signal) => {
      for (let step = 0; step * segment < mostMegabytes; step++) {
        await writeWal(session, segment);
        await delay(step < burst ? burstPauseMilliseconds : pauseMilliseconds, undefined, { signal });
      }
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    });
    return {
      message: `max_wal_size is ${setting}, and process ${pid} writes more than that again and again`,
      details: { pid, maxWalSize: setting, mostMegabytes },
    };
  },
);

/** A setting of the server is left behind by a crash, too: it is undone with the sessions. */
export const checkpointStorm: Fault = {
  ...storm,
  repair: async (context) => {
    const result = await storm.repair(context);
    const undone = await withSuperuser(context.state, async (session) => {
      const ours = `${leastSegments * (await segmentMegabytes(session))}MB`;
      // Another value is how somebody has repaired it already.
      if ((await setBySystem(session)) !== ours) return false;
      const earlier = before.get(context.held) ?? null;
      await session.query(
        earlier === null
          ? "alter system reset max_wal_size"
          : `alter system set max_wal_size = ${literal(earlier)}`,
      );
      await session.query("select pg_reload_conf()");
      return true;
    });
    before.delete(context.held);
    if (!undone) return result;
    const message = "max_wal_size is what it was, and nobody writes WAL on purpose";
    return { ...result, outcome: "repaired", message };
  },
};

async function segmentMegabytes(session: Session): Promise<number> {
  const [row] = await session.query<{ bytes: number }>(
    "select setting::bigint as bytes from pg_settings where name = 'wal_segment_size'",
  );
  return (row?.bytes ?? 0) / 2 ** 20;
}

/** What `ALTER SYSTEM` has set max_wal_size to; null when it has not. */
async function setBySystem(session: Session): Promise<string | null> {
  const [row] = await session.query<{ setting: string }>(
    `select setting from pg_file_settings
      where name = 'max_wal_size' and sourcefile like '%postgresql.auto.conf' order by seqno desc limit 1`,
  );
  return row?.setting ?? null;
}
