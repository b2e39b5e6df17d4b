import { ageFault, transactionIds } from "./age-ids.ts";

/** Beyond every limit that the alarms can have, and before PostgreSQL warns with each transaction (at 2,107,483,647). */
const age = 2_050_000_000;

export const ageTransactionIds = ageFault(
  { fault: "age-transaction-ids", kind: transactionIds, age },
  {
    alarms: ["transaction-ids-critical", "transaction-ids-high", "wraparound-overdue"],
    summary:
      "leave a session alone with a temporary table whose transaction ids are two billion old: autovacuum cannot freeze it, and PostgreSQL comes near the point where it refuses writes",
  },
);
