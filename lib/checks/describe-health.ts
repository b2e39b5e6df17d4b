import { countText, escapeActing } from "../words.ts";
import type { Finding, Severity } from "./check.ts";
import { type HealthReport, severities } from "./health.ts";

/** One line of anything: names and statements may contain what a terminal would act on instead of showing. */
export function printable(text: string): string {
  return escapeActing(text.replaceAll("\n", "\\n"));
}

/** The report as lines for people: the worst first, each with what to do, then what could not be seen. */
export function describeHealth(report: Omit<HealthReport, "metrics">): string[] {
  const { summary, server } = report;
  const total = Object.values(summary.findings).reduce((sum, count) => sum + count, 0);
  const lines = [
    `${printable(report.database)}: PostgreSQL ${server.version}, ${server.isStandby ? "standby" : "primary"}: ${
      total === 0 ? "nothing found" : `${countText(total, "finding")} (${bySeverity(summary.findings)})`
    }; ${summary.passed} of ${countText(report.results.length, "check")} passed${
      summary.notAssessable === 0 ? "" : `, ${summary.notAssessable} not assessable`
    }`,
  ];
  const findings = report.results.flatMap((result) => result.findings);
  for (const severity of severities) {
    for (const finding of findings.filter((one) => one.severity === severity)) {
      lines.push("", ...describeFinding(finding));
    }
  }
  const unseen = report.results.filter(({ reason }) => reason !== undefined);
  if (unseen.length > 0) {
    lines.push("", "Not assessable:");
    for (const { check, reason, verdict } of unseen) {
      lines.push(`  ${check}${verdict === "findings" ? " (in part)" : ""}: ${printable(reason ?? "")}`);
    }
  }
  const passed = report.results.filter(({ verdict }) => verdict === "pass").map(({ check }) => check);
  if (passed.length > 0) lines.push("", `Fine: ${passed.join(", ")}`);
  return lines;
}

function describeFinding(finding: Finding): string[] {
  const confidence = finding.confidence === "certain" ? "" : ` (${finding.confidence})`;
  return [
    `${finding.severity.toUpperCase()} ${finding.check}: ${printable(finding.title)}${confidence}`,
    `  Means: ${printable(finding.impact)}`,
    `  Affects: ${printable(finding.blastRadius)}`,
    "  What to do:",
    ...finding.remediation.sql.split("\n").map((line) => `    ${printable(line)}`),
    `  Locks: ${finding.remediation.lock}. Rollback: ${printable(finding.remediation.rollback)}`,
  ];
}

function bySeverity(counts: Record<Severity, number>): string {
  return severities
    .filter((severity) => counts[severity] > 0)
    .map((severity) => `${counts[severity]} ${severity}`)
    .join(", ");
}
