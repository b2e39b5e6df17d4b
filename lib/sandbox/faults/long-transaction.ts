import { heldFault, pidOf, requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

export const longTransaction = heldFault(
  "long-transaction",
  ["long-queries", "old-transaction"],
  "run one statement for a day in a repeatable read transaction: long-running query, and vacuum removes nothing because its snapshot holds the xmin horizon",
  async (context, open) => {
    await requireApplication(context);
    const session = await open();
    const pid = await pidOf(session);
    await session.query("begin isolation level repeatable read");
    const [row] = await session.query<{ snapshot: string }>(
      "select pg_current_snapshot()::text as snapshot, count(*) from shop.orders",
    );
    // Ends with its session; nobody waits for it.
    session.query("select pg_sleep(86400)").catch(() => {});
    await withSuperuser(context.state, async (observer) => {
      for (let attempt = 0; attempt < 250; attempt++) {
        const running = await observer.query(
          "select 1 from pg_stat_activity where pid = $1 and state = 'active' and query like '%pg_sleep%'",
          [pid],
        );
        if (running.length > 0) return;
        await context.clock.sleep(20, context.signal);
      }
      throw new Error("the day-long statement does not run");
    });
    return {
      message: `process ${pid} runs a statement for a day and holds the xmin horizon`,
      details: { pid, snapshot: row?.snapshot ?? "" },
    };
  },
);
