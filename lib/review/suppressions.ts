import type { JobConfig } from "../config/schema.ts";
import type { Suppression } from "../config/suppressions.ts";
import { PgkeepError } from "../errors.ts";
import type { ReviewReport } from "./run.ts";

/** What became of the file; plain JSON. */
export interface SuppressionsReport {
  /** Those that match something, and how many findings. */
  used: (Suppression & { findings: number })[];
  /** Over: what they match counts again. */
  expired: (Suppression & { findings: number })[];
  /** Match nothing although their check saw everything: to be deleted. */
  stale: Suppression[];
  /** Would hold for ever: to be given an end. */
  endless: Suppression[];
}

/**
 * What the file that `review.suppressions` names has; undefined when none is named.
 * @throws PgkeepError `configuration` when the configuration names a file, and came without what is in it: a review
 * that counted what people have accepted would look like one that was asked for
 */
export function configuredSuppressions({
  review,
  suppressions,
}: Pick<JobConfig, "review" | "suppressions">): readonly Suppression[] | undefined {
  if (review.suppressions === undefined || suppressions !== undefined) return suppressions;
  throw new PgkeepError(
    "configuration",
    `the content of ${review.suppressions} (review.suppressions) did not come with the configuration`,
    { remedy: "load the configuration from its file, and deploy what was synthesized from it" },
  );
}

/** Marks the findings that are accepted, and says what became of each suppression. The report is changed. */
export function suppress(report: ReviewReport, suppressions: readonly Suppression[]): void {
  const today = report.startedAt.slice(0, 10);
  const findings = report.results.flatMap((result) => result.findings);
  const said: SuppressionsReport = { used: [], expired: [], stale: [], endless: [] };
  for (const suppression of suppressions) {
    const { key, reason, expires } = suppression;
    const matching = findings.filter((finding) => matches(key, finding.key));
    const counted = { ...suppression, findings: matching.length };
    if (matching.length === 0 && sawEverything(report, key)) said.stale.push(suppression);
    if (expires !== undefined && expires < today) {
      if (matching.length > 0) said.expired.push(counted);
      continue;
    }
    if (matching.length > 0) said.used.push(counted);
    if (expires === undefined) said.endless.push(suppression);
    for (const finding of matching) {
      finding.suppressed ??= { reason, ...(expires === undefined ? {} : { expires }) };
    }
  }
  report.suppressions = said;
}

/** Each part of the pattern in its order, the first at the beginning and the last at the end. */
function matches(pattern: string, key: string): boolean {
  if (pattern === key) return true;
  const [first = "", ...others] = pattern.split("*");
  const last = others.pop();
  if (last === undefined || !key.startsWith(first)) return false;
  let at = first.length;
  for (const part of others) {
    const found = key.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return key.length - last.length >= at && key.endsWith(last);
}

/** Whether the check could have found it this time; one that does not exist any more finds nothing. */
function sawEverything({ results, incomplete }: ReviewReport, key: string): boolean {
  const result = results.find(({ check }) => key.startsWith(`${check}/`));
  return result === undefined ? incomplete === undefined : result.reason === undefined;
}
