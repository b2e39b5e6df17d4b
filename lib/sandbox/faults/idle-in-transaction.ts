import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

export const idleInTransaction = heldFault(
  "idle-in-transaction",
  ["idle-in-transaction", "old-transaction"],
  "lock a row and forget the transaction: a session idle in transaction that keeps a row lock and its timeouts switched off",
  async (context, open) => {
    await requireApplication(context);
    const session = await open();
    const pid = await pidOf(session);
    await session.query("begin");
    // A lock that stops nobody of the workload: what refers to the row needs less.
    await session.query("select 1 from shop.categories where id = 1 for no key update");
    return {
      message: `process ${pid} is idle in a transaction that locks a row of shop.categories`,
      details: { pid, table: "shop.categories" },
    };
  },
);
