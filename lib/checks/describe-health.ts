import { countText } from "../words.ts";
import type { Finding, Severity } from "./check.ts";
import { type HealthReport, severities } from "./health.ts";

/** What a terminal would act on instead of showing: names and statements may contain anything. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace.
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

export function printable(text: string): string {
  return text.replace(unprintable, (character) => {
    if (character === "\n") return "\\n";
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
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
