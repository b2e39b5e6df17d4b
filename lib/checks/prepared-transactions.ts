import { literal } from "../postgres/identifiers.ts";
import { durationText } from "../words.ts";
import type { Check, Finding } from "./check.ts";
import { conclude, metric } from "./outcome.ts";

interface Prepared {
  gid: string;
  owner: string;
  database: string;
  ageSeconds: number;
  transactionAge: number;
}

/** At most this many are reported one by one. */
const shown = 20;

/**
 * Prepared transactions whose second phase does not come. A healthy transaction manager ends them within
 * moments, so the limit is that of an idle transaction: `health.idleInTransactionSeconds`.
 */
export const preparedTransactions: Check = {
  name: "prepared-transactions",
  title: "Does a prepared transaction wait for its second phase?",
  async run({ session, config }) {
    if (session.isStandby) {
      return conclude({ obstacle: "a standby does not show prepared transactions: ask the primary" });
    }
    const prepared = await session.query<Prepared>(
      `select gid, owner::text, database::text, extract(epoch from clock_timestamp() - prepared)::float8 as "ageSeconds",
              age(transaction) as "transactionAge"
         from pg_prepared_xacts order by prepared`,
    );
    const limit = config.health.idleInTransactionSeconds;
    const late = prepared.filter((one) => one.ageSeconds >= limit);
    return conclude({
      findings: late.slice(0, shown).map((one) => finding(one, config.health.longQueryTicketSeconds)),
      facts: {
        prepared: prepared.length,
        beyondLimit: late.length,
        oldestSeconds: Math.round(prepared[0]?.ageSeconds ?? 0),
        limitSeconds: limit,
      },
      metrics: [metric("PreparedTransactions", prepared.length)],
    });
  },
};

function finding(one: Prepared, ticketSeconds: number): Finding {
  return {
    check: "prepared-transactions",
    key: `prepared-transactions/${one.database}/${one.gid}`,
    severity: one.ageSeconds >= ticketSeconds ? "high" : "medium",
    confidence: "certain",
    object: { name: one.gid, role: one.owner },
    title: `transaction ${JSON.stringify(one.gid)} in database ${JSON.stringify(one.database)} has been prepared for ${durationText(one.ageSeconds)}`,
    evidence: {
      owner: one.owner,
      database: one.database,
      ageSeconds: Math.round(one.ageSeconds),
      transactionAge: one.transactionAge,
    },
    impact:
      "It keeps its locks and the xmin horizon, without a session and across restarts: VACUUM removes nothing newer, until ids run out.",
    blastRadius: "the whole database",
    remediation: {
      sql: `-- in database ${JSON.stringify(one.database)}; ask the transaction manager first whether it should be COMMIT PREPARED\nROLLBACK PREPARED ${literal(one.gid).trim()};`,
      lock: "none",
      rollback: "none: ask the transaction manager first",
    },
  };
}
