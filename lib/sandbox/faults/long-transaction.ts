import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

export const longTransaction = heldFault(
  "long-transaction",
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
    return {
      message: `process ${pid} runs a statement for a day and holds the xmin horizon`,
      details: { pid, snapshot: row?.snapshot ?? "" },
    };
  },
);
