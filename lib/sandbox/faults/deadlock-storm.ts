import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { identifier } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { countNow } from "./count-now.ts";
import { every } from "./every.ts";
import { heldFault, pidOf, requireApplication } from "./held-fault.ts";

const pauseMilliseconds = 150;
/** The server's second would make a deadlock of two take one; only a superuser may shorten it. */
const detectedAfterMilliseconds = 10;

export const deadlockStorm = heldFault(
  "deadlock-storm",
  ["deadlocks"],
  "two sessions lock the same two rows of shop.warehouses in opposite orders, several times a second: deadlocks, of which the server's log names both statements",
  async (context, open, goOn) => {
    await requireApplication(context);
    const sessions = [await open("superuser"), await open("superuser")] as const;
    for (const session of sessions) {
      await session.query(`set deadlock_timeout = ${detectedAfterMilliseconds}`);
      await session.query(`set session authorization ${identifier(context.state.application.writer.user)}`);
    }
    const pids = [await pidOf(sessions[0]), await pidOf(sessions[1])];
    const step = () => deadlock(...sessions);
    await step();
    goOn((signal) => every(pauseMilliseconds, signal, step));
    return {
      message: `processes ${pids.join(" and ")} end each other's transactions in a deadlock, again and again`,
      details: { pids, table: "shop.warehouses" },
    };
  },
);

async function deadlock(one: Session, other: Session): Promise<void> {
  const lock = (session: Session, id: number) =>
    session.query("select 1 from shop.warehouses where id = $1 for no key update", [id]);
  try {
    await one.query("begin");
    await other.query("begin");
    await lock(one, 1);
    await lock(other, 2);
    const second = async (session: Session, id: number) => {
      try {
        await lock(session, id);
      } catch (error) {
        if (!hasSqlState(error, SqlState.deadlockDetected)) throw error;
        // The other one gets its row.
        await session.query("rollback");
      }
    };
    await Promise.all([second(one, 2), second(other, 1)]);
  } finally {
    await one.query("rollback");
    await other.query("rollback");
  }
  await countNow(one);
  await countNow(other);
}
