import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import type { Fault } from "./fault.ts";
import { requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

const table = "shop.reviews";
const index = "pgkeep_fault_one_review_of_each_product";
const details = { table, index };

const isThere = async (session: Session): Promise<boolean> =>
  (await session.query("select from pg_class where oid = to_regclass($1)", [`shop.${index}`])).length > 0;

export const leaveInvalidIndex: Fault = {
  name: "leave-invalid-index",
  alarms: ["invalid-indexes"],
  summary: `build a unique index of ${table} concurrently where it has duplicates: the build fails and leaves an invalid index`,
  apply: async (context) => {
    await requireApplication(context);
    return withSuperuser(context.state, async (session) => {
      if (await isThere(session)) {
        return { outcome: "already-applied", message: `the index ${index} of ${table} is there`, details };
      }
      try {
        await session.query(`create unique index concurrently ${index} on ${table} (product_id)`);
      } catch (error) {
        // Duplicates are met while it is built, before writes have to keep it up: nobody is refused a row.
        if (hasSqlState(error, SqlState.uniqueViolation)) {
          return { outcome: "applied", message: `the index ${index} of ${table} was left invalid`, details };
        }
        await session.query(`drop index if exists shop.${index}`);
        throw error;
      }
      await session.query(`drop index shop.${index}`);
      throw new PgkeepError("refused", `${table} has no two rows of one product, so the index is valid`, {
        remedy: "start the sandbox again: it loads the application's rows",
      });
    });
  },
  repair: ({ state }) =>
    withSuperuser(state, async (session) => {
      if (!(await isThere(session))) {
        return { outcome: "not-applied", message: `there is no index ${index}`, details };
      }
      await session.query(`drop index concurrently shop.${index}`);
      return { outcome: "repaired", message: `the index ${index} of ${table} was dropped`, details };
    }),
};
