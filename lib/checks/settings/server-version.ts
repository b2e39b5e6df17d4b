import { majorOf, versionText } from "../../postgres/versions.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";

/** Last day of fixes from the project (https://www.postgresql.org/support/versioning/). */
const lastDays: Readonly<Record<number, string>> = {
  14: "2026-11-12",
  15: "2027-11-11",
  16: "2028-11-09",
  17: "2029-11-08",
  18: "2030-11-14",
};
/** An upgrade of a major version is planned, tried and done in about that time. */
const warningDays = 180;
const millisecondsADay = 86_400_000;

/** Whether the major version still gets fixes. Which minor version is the newest cannot be known offline. */
export const serverVersion: ReviewCheck = {
  name: "server-version",
  title: "Does this version still get fixes?",
  area: "settings",
  async run({ session, now }) {
    const major = majorOf(session.serverVersionNumber);
    const lastDay = lastDays[major];
    if (lastDay === undefined) {
      return concludeReview({
        obstacle: `the end of PostgreSQL ${major} is not known to this version of pgkeep`,
      });
    }
    const daysLeft = Math.ceil((Date.parse(`${lastDay}T23:59:59Z`) - now.getTime()) / millisecondsADay);
    const facts = { version: versionText(session.serverVersionNumber), lastDay, daysLeft };
    if (daysLeft > warningDays) {
      return concludeReview({ facts, good: [`PostgreSQL ${major} gets fixes until ${lastDay}.`] });
    }
    const over = daysLeft < 0;
    return concludeReview({
      facts,
      findings: [
        {
          check: "server-version",
          key: `server-version/${major}`,
          severity: over ? "high" : "medium",
          confidence: "certain",
          object: { name: `PostgreSQL ${major}` },
          title: over
            ? `PostgreSQL ${major} gets no more fixes since ${lastDay}`
            : `PostgreSQL ${major} gets its last fixes on ${lastDay}`,
          evidence: facts,
          impact:
            "Holes in its security and errors that lose data stay open, unless a service mends them for money",
          blastRadius: "every database of this server",
          rootCause: "each major version is looked after for five years",
          prevention: "plan an upgrade of the major version every two or three years",
          effort: "days",
          remediation: {
            sql: `-- Upgrade to PostgreSQL ${Math.max(...Object.keys(lastDays).map(Number))}: try it on a restored backup first (pg_upgrade, a blue/green deployment, or logical replication).`,
            lock: "the server is away for minutes, or for a switch-over",
            rollback:
              "keep the old server until the new one is proved; afterwards, restore from before the upgrade",
          },
        },
      ],
    });
  },
};
