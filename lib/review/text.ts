import { printable } from "../checks/describe-health.ts";
import { severities } from "../checks/health.ts";
import type { ReviewFinding } from "../checks/review-check.ts";
import type { Suppression } from "../config/suppressions.ts";
import { countText, durationText } from "../words.ts";
import type { Comparison, KnownFinding } from "./compare.ts";
import type { ReviewReport } from "./run.ts";
import { bySeverity, notListed, obstacles, summarize, whatToDo } from "./summary.ts";
import type { SuppressionsReport } from "./suppressions.ts";

/** Of findings of one check and severity, the first is shown whole and so many more by their title. */
const shownTitles = 5;
const shownGood = 5;

/** The report as lines for a terminal, short: what to do first on top. The other formats have all of it. */
export function describeReview(report: ReviewReport): string[] {
  const { server } = report;
  const summary = summarize(report);
  const total = whatToDo(report).length;
  const lines = [
    `${printable(report.database)}: PostgreSQL ${server.version}, ${server.isStandby ? "standby" : "primary"}: ${
      total === 0 ? "nothing found" : `${countText(total, "finding")} (${bySeverity(summary.findings)})`
    }; ${summary.passed} of ${countText(report.results.length, "check")} passed${
      summary.notAssessable === 0 ? "" : `, ${summary.notAssessable} not assessable`
    }; ${durationText(report.seconds)}`,
  ];
  if (report.incomplete !== undefined) lines.push(`Not complete: ${printable(report.incomplete)}`);
  for (const { name, reason } of report.replicasUnseen ?? []) {
    lines.push(`Not asked: the replica ${printable(name)}: ${printable(reason)}`);
  }
  if (report.window.seconds !== null) {
    lines.push(`Statistics go back ${durationText(report.window.seconds)}.`);
  }
  if (report.comparison !== undefined) lines.push("", ...describeComparison(report.comparison));
  for (const group of groups(whatToDo(report))) lines.push("", ...describeGroup(group));
  for (const { check, count } of notListed(report)) {
    lines.push("", `Not listed: ${count} more of ${check}, with less weight.`);
  }
  const unseen = obstacles(report);
  if (unseen.size > 0) {
    lines.push("", "Not assessable:");
    for (const [reason, checks] of unseen) lines.push(`  ${printable(reason)}`, `    ${checks.join(", ")}`);
  }
  if (report.suppressions !== undefined) lines.push(...describeSuppressions(report.suppressions));
  const good = report.results.flatMap((result) => result.good);
  if (good.length > 0) {
    lines.push("", "Done well:", ...good.slice(0, shownGood).map((sentence) => `  ${printable(sentence)}`));
    if (good.length > shownGood) lines.push(`  and ${good.length - shownGood} more, in the other formats`);
  }
  return lines;
}

function describeComparison(comparison: Comparison): string[] {
  const { since, fixed, still, unknown, newlySeen } = comparison;
  const titles = (head: string, findings: readonly KnownFinding[]) =>
    findings.length === 0
      ? []
      : [
          head,
          ...findings.slice(0, shownTitles).map(({ title }) => `  ${printable(title)}`),
          ...(findings.length > shownTitles ? [`  and ${findings.length - shownTitles} more`] : []),
        ];
  return [
    `Since ${printable(since)}: ${comparison.new.length} new, ${fixed.length} fixed, ${still.length} still there${
      newlySeen.length === 0 ? "" : `, ${newlySeen.length} seen for the first time`
    }${unknown.length === 0 ? "" : `, ${unknown.length} unknown`}`,
    ...titles("New:", comparison.new),
    ...titles("Fixed:", fixed),
    ...titles("Unknown, because its check could not be assessed now:", unknown),
  ];
}

/** What became of the file of suppressions, each group after an empty line. */
export function describeSuppressions({ used, expired, stale, endless }: SuppressionsReport): string[] {
  const lines = (head: string, list: readonly (Suppression & { findings?: number })[]) =>
    list.length === 0
      ? []
      : [
          "",
          head,
          ...list.map(({ key, reason, expires, findings }) =>
            [
              `  ${printable(key)}: ${printable(reason)}`,
              expires === undefined ? "" : ` (until ${expires})`,
              findings === undefined ? "" : `: ${countText(findings, "finding")}`,
            ].join(""),
          ),
        ];
  return [
    ...lines("Suppressed:", used),
    ...lines("Suppressions that are over, so that what they match counts again:", expired),
    ...lines("Suppressions that match nothing: delete them", stale),
    ...lines("Suppressions without an end: give each `expires`", endless),
  ];
}

/** Neighbours of the same check, severity and confidence; the order stays. */
function groups(findings: readonly ReviewFinding[]): ReviewFinding[][] {
  const found = new Map<string, ReviewFinding[]>();
  for (const finding of findings) {
    const key = `${severities.indexOf(finding.severity)} ${finding.confidence} ${finding.check}`;
    const group = found.get(key);
    if (group === undefined) found.set(key, [finding]);
    else group.push(finding);
  }
  return [...found.values()];
}

function describeGroup([first, ...others]: ReviewFinding[]): string[] {
  if (first === undefined) return [];
  const confidence = first.confidence === "certain" ? "" : ` (${first.confidence})`;
  const lines = [
    `${first.severity.toUpperCase()} ${first.check}: ${printable(first.title)}${confidence}`,
    `  Means: ${printable(first.impact)}`,
    `  Affects: ${printable(first.blastRadius)}`,
    `  What to do (${first.effort}):`,
    ...first.remediation.sql.split("\n").map((line) => `    ${printable(line)}`),
    `  Locks: ${printable(first.remediation.lock)}. Rollback: ${printable(first.remediation.rollback)}`,
  ];
  if (others.length > 0) {
    lines.push("  The same:", ...others.slice(0, shownTitles).map(({ title }) => `    ${printable(title)}`));
  }
  if (others.length > shownTitles) {
    lines.push(`    and ${others.length - shownTitles} more, in the other formats`);
  }
  return lines;
}
