import type { Finding } from "../check.ts";
import { invalidIndexes as ofHealth } from "../invalid-indexes.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";

/** What the check of health finds, with the reasons and the migration that a review gives. */
export const invalidIndexes: ReviewCheck = {
  name: ofHealth.name,
  title: ofHealth.title,
  area: "indexes",
  needs: { primary: true },
  async run({ session, config, now }) {
    const { findings, facts, reason } = await ofHealth.run({
      session,
      config,
      now,
      ownNow: () => new Date(),
    });
    return concludeReview({ findings: findings.map(explained), facts, obstacle: reason });
  },
};

function explained(finding: Finding): ReviewFinding {
  const { sql } = finding.remediation;
  const isRebuilt = sql.startsWith("REINDEX");
  return {
    ...finding,
    rootCause:
      "CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY was cancelled, timed out or met values that its uniqueness forbids.",
    prevention:
      "Look for invalid indexes after each concurrent build and have the migration fail on one; let the job reindex clean up its own leftovers.",
    effort: "minutes",
    fix: {
      up: [sql],
      // What was invalid was of use to nobody: there is nothing to return to.
      down: [],
      proof: [
        "pg_index says indisvalid = false, and nobody is building it",
        isRebuilt
          ? "a unique index is built only when its values are unique: look for duplicates first"
          : "the index that it was to replace is there and valid",
      ],
    },
  };
}
