import type { Session } from "../../ports/databases.ts";
import type { Fault } from "./fault.ts";
import { requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/** Quiet after the load: nobody of the workload inserts here. */
const table = "shop.categories";
const sequence = "shop.categories_id_seq";
const integerEnd = 2_147_483_647;

const details = { table, column: "id", sequence, end: integerEnd };

/** The table's key is as wide as it should be; its sequence ends where an integer does, and it is there. */
export const exhaustKey: Fault = {
  name: "exhaust-key",
  alarms: ["key-forecast"],
  summary:
    "give out the last value of the sequence behind shop.categories.id, which ends where an integer does: the next INSERT fails, and the forecast of keys says none is left",
  apply: async (context) => {
    await requireApplication(context);
    return withSuperuser(context.state, async (session) => {
      if (await isLimited(session)) {
        return { outcome: "already-applied", message: `${sequence} has no value left`, details };
      }
      await session.transaction(async () => {
        await session.query(`alter sequence ${sequence} maxvalue ${integerEnd}`);
        await session.query("select setval($1::regclass, $2, true)", [sequence, integerEnd]);
      });
      return {
        outcome: "applied",
        message: `${sequence} has given out its last value, ${integerEnd}`,
        details,
      };
    });
  },
  repair: ({ state }) =>
    withSuperuser(state, async (session) => {
      if (!(await isLimited(session))) {
        return { outcome: "not-applied", message: `${sequence} ends where a bigint does`, details };
      }
      const [row] = await session.transaction(async () => {
        await session.query(`alter sequence ${sequence} no maxvalue`);
        return session.query<{ next: number }>(
          `select setval($1::regclass, (select max(id) from ${table})) + 1 as next`,
          [sequence],
        );
      });
      return {
        outcome: "repaired",
        message: `${sequence} goes on with ${row?.next ?? 1}`,
        details,
      };
    }),
};

async function isLimited(session: Session): Promise<boolean> {
  const found = await session.query(
    "select 1 from pg_sequence where seqrelid = to_regclass($1) and seqmax = $2",
    [sequence, integerEnd],
  );
  return found.length > 0;
}
