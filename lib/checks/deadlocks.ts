import { countText, durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { readDatabaseTotals } from "./database-counters.ts";
import { conclude, metric } from "./outcome.ts";
import { differenceSince } from "./samples.ts";

/** Deadlocks since the previous sample, with the transactions among which they happened. One is one too many. */
export const deadlocks: Check = {
  name: "deadlocks",
  title: "Did transactions block each other for ever?",
  async run(context) {
    const { totals, resetAt } = await readDatabaseTotals(context.session);
    const difference = differenceSince(context, totals, resetAt);
    if (!difference.comparable) return conclude({ obstacle: difference.reason, counters: totals });
    const count = difference.of("Deadlocks");
    const facts = {
      deadlocks: count,
      committed: difference.of("TransactionsCommitted"),
      rolledBack: difference.of("TransactionsRolledBack"),
      seconds: Math.round(difference.seconds),
    };
    return conclude({
      counters: totals,
      facts,
      metrics: [
        metric("Deadlocks", count),
        metric("TransactionsCommitted", facts.committed),
        metric("TransactionsRolledBack", facts.rolledBack),
      ],
      findings:
        count === 0
          ? []
          : [
              {
                check: "deadlocks",
                key: "deadlocks",
                severity: "medium",
                confidence: "certain",
                object: { name: context.session.database },
                title: `${countText(count, "deadlock")} in the last ${durationText(difference.seconds)}`,
                evidence: facts,
                impact: "In each, PostgreSQL rolled back a transaction that the application has to repeat.",
                blastRadius: "the transactions that lock the same rows in different orders",
                remediation: {
                  sql: '-- the server\'s log names both statements of each ("deadlock detected"); also log long waits (on a managed server, in its parameter group):\nALTER SYSTEM SET log_lock_waits = on;\nSELECT pg_reload_conf();',
                  lock: "none",
                  rollback: "ALTER SYSTEM RESET log_lock_waits; SELECT pg_reload_conf();",
                },
              },
            ],
    });
  },
};
