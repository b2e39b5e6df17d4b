import { concludeReview, type ReviewCheck, type ReviewFinding } from "../../lib/checks/review-check.ts";
import type { ReviewReport, ReviewResult } from "../../lib/review/run.ts";

/** A complete finding about one table; whatever is given stands in it. */
export function findingOf(
  given: Partial<ReviewFinding> & { check?: string; table?: string } = {},
): ReviewFinding {
  const { table = "orders", ...parts } = given;
  const check = given.check ?? "unindexed-foreign-keys";
  return {
    check,
    key: `${check}/public.${table}`,
    severity: "medium",
    confidence: "certain",
    object: { schema: "public", table },
    title: `public.${table} has no index for its foreign key`,
    evidence: { rows: 1_000_000 },
    impact: "Deleting a customer reads the whole table.",
    blastRadius: `Everybody who writes to public.${table}.`,
    rootCause: "PostgreSQL makes no index for a foreign key.",
    prevention: "Create the index in the migration that creates the key.",
    effort: "minutes",
    remediation: {
      sql: `CREATE INDEX CONCURRENTLY ${table}_customer_idx ON public.${table} (customer_id);`,
      lock: "SHARE UPDATE EXCLUSIVE",
      rollback: `DROP INDEX CONCURRENTLY public.${table}_customer_idx;`,
    },
    ...parts,
  };
}

/** What one check says. */
export function resultOf(check: string, given: Partial<ReviewResult> = {}): ReviewResult {
  const findings = given.findings ?? [];
  return {
    check,
    title: `Is ${check} well?`,
    area: "indexes",
    verdict: findings.length > 0 ? "findings" : given.reason === undefined ? "pass" : "not-assessable",
    durationMs: 1,
    findings,
    facts: {},
    good: [],
    ...given,
  };
}

export function reportOf(results: ReviewResult[], given: Partial<ReviewReport> = {}): ReviewReport {
  return {
    version: 1,
    database: "shop",
    server: {
      version: "17.10",
      versionNumber: 170_010,
      isStandby: false,
      startedAt: "2026-11-01T00:00:00.000Z",
    },
    startedAt: "2026-11-21T12:00:00.000Z",
    seconds: 1.5,
    user: "alice",
    window: { statisticsSince: "2026-11-01T00:00:00.000Z", seconds: 1_728_000 },
    replicas: [],
    results,
    ...given,
  };
}

/** A check that answers what it is told to. */
export function checkNamed(
  name: string,
  run: ReviewCheck["run"] = async () => concludeReview({}),
): ReviewCheck {
  return { name, title: `Is ${name} well?`, area: "settings", run };
}
