import type { Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import { literal } from "../../postgres/identifiers.ts";
import type { Fault } from "./fault.ts";
import { requireApplication } from "./held-fault.ts";
import { primaryOf, withSuperuser } from "./held-sessions.ts";

const transaction = "pgkeep fault forget-prepared-transaction";

export const forgetPreparedTransaction: Fault = {
  name: "forget-prepared-transaction",
  alarms: ["prepared-transactions"],
  summary:
    "prepare a transaction for two-phase commit and forget it: without a session and across restarts it keeps a row lock, and vacuum removes nothing newer",
  apply: async (context) => {
    const { state } = context;
    await requireApplication(context);
    const details = { transaction, table: "shop.categories" };
    if (await withSuperuser(state, isPrepared)) {
      return { outcome: "already-applied", message: `the transaction ${transaction} is prepared`, details };
    }
    const session = await connect({ ...primaryOf(state), ...state.application.writer });
    try {
      await session.query("begin");
      // A lock that stops nobody of the workload: what refers to the row needs less.
      await session.query("select 1 from shop.categories where id = 2 for no key update");
      await session.query(`prepare transaction ${literal(transaction)}`);
    } finally {
      await session.close();
    }
    return {
      outcome: "applied",
      message: `the transaction ${transaction} is prepared, and nobody will commit it`,
      details,
    };
  },
  repair: ({ state }) =>
    withSuperuser(state, async (session) => {
      const details = { transaction };
      if (!(await isPrepared(session))) {
        return { outcome: "not-applied", message: `no transaction ${transaction} is prepared`, details };
      }
      await session.query(`rollback prepared ${literal(transaction)}`);
      return { outcome: "repaired", message: `the transaction ${transaction} was rolled back`, details };
    }),
};

async function isPrepared(session: Session): Promise<boolean> {
  const found = await session.query("select 1 from pg_prepared_xacts where gid = $1", [transaction]);
  return found.length > 0;
}
