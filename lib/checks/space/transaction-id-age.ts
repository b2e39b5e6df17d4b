import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { wraparound } from "../wraparound.ts";

/** The question of health, asked in the review too: it is the one vacuum that must not be late. */
export const transactionIdAge: ReviewCheck = {
  name: "transaction-id-age",
  title: "Which tables are late to be frozen against wraparound?",
  area: "space",
  needs: { primary: true },
  async run({ session, config, now }) {
    const outcome = await wraparound.run({ session, config, now, ownNow: () => new Date() });
    return concludeReview({
      findings: outcome.findings.map((one) => ({
        ...one,
        check: "transaction-id-age",
        key: one.key.replace(/^wraparound\//, "transaction-id-age/"),
        rootCause:
          "Vacuum did not come, did not finish, or something old holds the horizon back (see vacuum-held-back).",
        prevention:
          "Alarm on the age of the oldest transaction id; never switch autovacuum off; end what is old.",
        effort: "hours" as const,
      })),
      facts: outcome.facts,
      good: ["Transaction ids are frozen in time, table by table."],
      obstacle: outcome.verdict === "not-assessable" ? outcome.reason : undefined,
    });
  },
};
