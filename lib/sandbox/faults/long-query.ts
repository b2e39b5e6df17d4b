import { heldFault, pidOf, requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/**
 * A report without the condition that joins its tables: each order with each order, and again. It reads a row
 * each 10 ms, so that it runs for days and leaves the machine's CPUs to the others.
 */
const report = `select a.status, count(*), sum(b.total_cents)
  from shop.orders a cross join shop.orders b cross join shop.orders c
  cross join lateral (select pg_sleep(0.01) where a.id + b.id + c.id > 0) slowly
 group by a.status`;

export const longQuery = heldFault(
  "long-query",
  ["long-queries"],
  "run a report on shop.orders that never ends: one active statement, read-only, outside any transaction block, on a role without statement_timeout",
  async (context, open) => {
    await requireApplication(context);
    const session = await open();
    const pid = await pidOf(session);
    // Ends with its session; nobody waits for it.
    session.query(report).catch(() => {});
    await withSuperuser(context.state, async (observer) => {
      for (let attempt = 0; attempt < 250; attempt++) {
        const running = await observer.query(
          "select 1 from pg_stat_activity where pid = $1 and state = 'active' and query like '%cross join%'",
          [pid],
        );
        if (running.length > 0) return;
        await context.clock.sleep(20, context.signal);
      }
      throw new Error("the report does not run");
    });
    return {
      message: `process ${pid} reads shop.orders in one statement that does not end`,
      details: { pid, table: "shop.orders" },
    };
  },
);
