import { type AgeRequest, ageIds, endAgeing, transactionIds } from "./age-ids.ts";
import type { Fault } from "./fault.ts";
import { restorePastDays, rewritePastDays } from "./past-days.ts";

/** Beyond what autovacuum allows by a quarter, and less than any other alarm speaks of. */
const request: AgeRequest = { fault: "use-up-transaction-ids", kind: transactionIds, age: 250_000_000 };
const idsPerDay = 100_000_000;

export const useUpTransactionIds: Fault = {
  name: request.fault,
  alarms: ["transaction-ids-forecast"],
  summary:
    "let transaction ids be older than autovacuum allows, and let pgkeep's history say that a hundred million are used each day: they run out within a month",
  apply: async (context) => {
    const result = await ageIds(context, request);
    if (result.outcome !== "applied") return result;
    try {
      await rewritePastDays(context.state, request.fault, (daysAgo, { nextTransactionId }) => ({
        nextTransactionId: nextTransactionId - daysAgo * idsPerDay,
      }));
    } catch (error) {
      await endAgeing(context, request);
      throw error;
    }
    return { ...result, details: { ...result.details, idsPerDay } };
  },
  repair: async (context) => {
    const restored = await restorePastDays(context.state, request.fault);
    const result = await endAgeing(context, request);
    return restored && result.outcome === "not-applied" ? { ...result, outcome: "repaired" } : result;
  },
};
