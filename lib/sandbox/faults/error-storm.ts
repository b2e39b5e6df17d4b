import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { countNow } from "./count-now.ts";
import { every } from "./every.ts";
import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

const pauseMilliseconds = 100;
/** Transactions of a step, of which one is logged: the server's log grows by a few kilobytes a second. */
const transactions = 100;

/** What a deployment does that came before its migration. */
const failing = "select discount_code from shop.orders";

const manyFailing = `do $storm$
begin
  for attempt in 1..${transactions - 1} loop
    begin
      execute '${failing}';
    exception when undefined_column then
      null;
    end;
    rollback;
  end loop;
end
$storm$`;

export const errorStorm = heldFault(
  "error-storm",
  ["rollbacks"],
  `ask for a column that shop.orders does not have, up to ${(transactions * 1_000) / pauseMilliseconds} times a second, as a deployment without its migration: most transactions are rolled back`,
  async (context, open, goOn) => {
    await requireApplication(context);
    const session = await open();
    const pid = await pidOf(session);
    const step = async () => {
      // The server counts the transactions of a session together with what it has read.
      await session.query("select status from shop.orders limit 1");
      await session.query(failing).catch((error: unknown) => {
        if (!hasSqlState(error, SqlState.undefinedColumn)) throw error;
      });
      await session.query(manyFailing);
      await countNow(session);
    };
    await step();
    goOn((signal) => every(pauseMilliseconds, signal, step));
    return {
      message: `process ${pid} rolls back transaction after transaction: the column discount_code does not exist`,
      details: { pid, transactionsPerStep: transactions, pauseMilliseconds },
    };
  },
);
