import { databaseRule, error, warning } from "./rule.ts";

export const limitRules = [
  databaseRule({
    name: "page-above-ticket",
    demand: "`alarms.transactionIdsPage` is not below `alarms.transactionIdsTicket`",
    source: "a ticket comes before a page",
    check: ({ alarms }) =>
      alarms.transactionIdsPage < alarms.transactionIdsTicket
        ? [
            error(
              "alarms.transactionIdsPage",
              `${alarms.transactionIdsPage} is below alarms.transactionIdsTicket, ${alarms.transactionIdsTicket}; a ticket comes before a page`,
              ["alarms.transactionIdsTicket"],
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "critical-above-high",
    demand: "`health.transactionIdsCritical` is not below `health.transactionIdsHigh`",
    source: "what is critical is also high",
    check: ({ health }) =>
      health.transactionIdsCritical < health.transactionIdsHigh
        ? [
            error(
              "health.transactionIdsCritical",
              `${health.transactionIdsCritical} is below health.transactionIdsHigh, ${health.transactionIdsHigh}; what is critical is also high`,
              ["health.transactionIdsHigh"],
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "ticket-above-warning",
    demand: "`health.longQueryTicketSeconds` is not below `health.longQueryWarnSeconds`",
    source: "a warning comes before a ticket",
    check: ({ health }) =>
      health.longQueryTicketSeconds < health.longQueryWarnSeconds
        ? [
            error(
              "health.longQueryTicketSeconds",
              `${health.longQueryTicketSeconds} is below health.longQueryWarnSeconds, ${health.longQueryWarnSeconds}; a warning comes before a ticket`,
              ["health.longQueryWarnSeconds"],
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "lock-timeout-below-statement-timeout",
    demand: "a role's `lockTimeoutSeconds` is below its `statementTimeoutSeconds`",
    source: "PostgreSQL, lock_timeout: pointless at or above statement_timeout, which triggers first",
    check: ({ roles }) =>
      (["application", "reporting"] as const).flatMap((role) => {
        const { lockTimeoutSeconds: lock, statementTimeoutSeconds: statement } = roles[role];
        return lock < statement
          ? []
          : [
              warning(
                `roles.${role}.lockTimeoutSeconds`,
                `${lock} has no effect, because statementTimeoutSeconds, ${statement}, ends the statement first`,
                [`roles.${role}.statementTimeoutSeconds`],
              ),
            ];
      }),
  }),
];
