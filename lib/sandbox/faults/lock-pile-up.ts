import type { Session } from "../../ports/databases.ts";
import type { FaultContext } from "./fault.ts";
import { heldFault, pidOf, requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/** With the chain and the migration, as many waiting as the alarm blocked-sessions takes, and one more. */
const readers = 8;

/**
 * One forgotten transaction (the root) has read a table and locked a row. Two sessions form a chain behind
 * the row; a migration waits for the table, and everybody who reads the table waits behind the migration.
 */
export const lockPileUp = heldFault(
  "lock-pile-up",
  ["blocked-sessions", "long-lock-wait", "idle-in-transaction", "old-transaction", "long-queries"],
  "one idle transaction blocks a chain of row locks and a migration, and readers of shop.reviews queue behind the migration: blocked sessions with one root",
  async (context, open) => {
    await requireApplication(context);
    const lock = (session: Session, warehouse: number) =>
      session.query("select 1 from shop.warehouses where id = $1 for no key update", [warehouse]);
    const waiters: number[] = [];

    const root = await open();
    const rootPid = await pidOf(root);
    await root.query("begin");
    await root.query("select 1 from shop.reviews limit 1");
    await lock(root, 1);

    for (const own of [2, 3]) {
      const session = await open();
      waiters.push(await pidOf(session));
      await session.query("begin");
      await lock(session, own);
      lock(session, own - 1).catch(() => {});
    }

    const migration = await open("superuser");
    waiters.push(await pidOf(migration));
    await migration.query("begin");
    migration.query("lock table shop.reviews in access exclusive mode").catch(() => {});
    await waitUntilBlocked(context, waiters);

    for (let reader = 0; reader < readers; reader++) {
      const session = await open();
      waiters.push(await pidOf(session));
      session.query("select count(*) from shop.reviews").catch(() => {});
    }
    await waitUntilBlocked(context, waiters);
    return {
      message: `process ${rootPid} is idle in transaction and blocks ${waiters.length} sessions`,
      details: { rootPid, blockedPids: waiters, table: "shop.reviews" },
    };
  },
);

async function waitUntilBlocked(
  { state, clock, signal }: FaultContext,
  pids: readonly number[],
): Promise<void> {
  await withSuperuser(state, async (session) => {
    for (let attempt = 0; attempt < 250; attempt++) {
      const [row] = await session.query<{ blocked: number }>(
        "select count(*) as blocked from unnest($1::int[]) as pid where cardinality(pg_blocking_pids(pid)) > 0",
        [pids],
      );
      if (row?.blocked === pids.length) return;
      await clock.sleep(20, signal);
    }
    throw new Error("the sessions that should wait for locks do not");
  });
}
