import type { Confidence, Severity, Verdict } from "../checks/check.ts";
import { type HealthSummary, severities } from "../checks/health.ts";
import type { ReviewFinding } from "../checks/review-check.ts";
import type { ReviewReport } from "./run.ts";

/** How sure, from most to least. */
const confidences: readonly Confidence[] = ["certain", "likely", "suspected"];

/** What to do first is smallest: by severity, then by how sure. */
export function rankOf({ severity, confidence }: Pick<ReviewFinding, "severity" | "confidence">): number {
  return severities.indexOf(severity) * confidences.length + confidences.indexOf(confidence);
}

/** The findings that nobody has suppressed, what to do first on top. */
export function whatToDo(report: Pick<ReviewReport, "results">): ReviewFinding[] {
  return report.results
    .flatMap(({ findings }) => findings)
    .filter(({ suppressed }) => suppressed === undefined)
    .toSorted((a, b) => rankOf(a) - rankOf(b));
}

/** What was found and is not listed, because there is so much of it: of which checks, and how much. */
export function notListed(report: Pick<ReviewReport, "results">): { check: string; count: number }[] {
  return report.results.flatMap(({ check, facts: { notListed: count } }) =>
    typeof count === "number" && count > 0 ? [{ check, count }] : [],
  );
}

/** What counts, in numbers. */
export function summarize(report: Pick<ReviewReport, "results">): HealthSummary {
  const findings: Record<Severity, number> = { critical: 0, high: 0, medium: 0, low: 0 };
  for (const { severity } of whatToDo(report)) findings[severity] += 1;
  const count = (wanted: Verdict) => report.results.filter(({ verdict }) => verdict === wanted).length;
  return {
    findings,
    worst: severities.find((severity) => findings[severity] > 0) ?? null,
    passed: count("pass"),
    withFindings: count("findings"),
    notAssessable: count("not-assessable"),
  };
}

/** `1 critical, 3 medium`; empty without any. */
export function bySeverity(findings: Record<Severity, number>): string {
  return severities
    .filter((severity) => findings[severity] > 0)
    .map((severity) => `${findings[severity]} ${severity}`)
    .join(", ");
}

/** What nobody could see, and why: the checks of each reason. */
export function obstacles(report: Pick<ReviewReport, "results">): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { check, verdict, reason } of report.results) {
    if (reason === undefined) continue;
    const name = verdict === "findings" ? `${check} (in part)` : check;
    found.set(reason, [...(found.get(reason) ?? []), name]);
  }
  return found;
}
