import type { Severity, Verdict } from "../checks/check.ts";
import { type HealthSummary, severities } from "../checks/health.ts";
import type { ReviewFinding } from "../checks/review-check.ts";
import { ordered, type ReviewReport } from "./run.ts";

/** The findings that count, what to do first on top. */
export function whatToDo(report: Pick<ReviewReport, "results">): ReviewFinding[] {
  return ordered(report);
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
