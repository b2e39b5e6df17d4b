import type { Severity } from "../checks/check.ts";
import { areas, type ReviewFinding } from "../checks/review-check.ts";
import type { Json } from "../json.ts";
import { countText, durationText } from "../words.ts";
import type { Comparison, KnownFinding } from "./compare.ts";
import { block, inline, tableLines } from "./markup.ts";
import type { ReviewReport } from "./run.ts";
import { bySeverity, notListed, obstacles, summarize, whatToDo } from "./summary.ts";
import type { SuppressionsReport } from "./suppressions.ts";

/** What has to be mended before a release: it loses data, or is an outage that waits. */
const blocking: readonly Severity[] = ["critical", "high"];

/** The report as a document that somebody reads who was not there. Whatever a name contains, it is text. */
export function renderMarkdown(report: ReviewReport): string {
  const findings = whatToDo(report);
  const blockers = findings.filter(({ severity }) => blocking.includes(severity));
  const improvements = findings.filter(({ severity }) => !blocking.includes(severity));
  const numbers = new Map(findings.map((finding, index) => [finding, index + 1]));
  const number = (finding: ReviewFinding) => numbers.get(finding) ?? 0;
  return `${[
    ...summaryLines(report, findings),
    ...(report.comparison === undefined ? [] : comparisonLines(report.comparison)),
    "",
    "## Done well",
    "",
    ...orNone(
      report.results.flatMap(({ good }) => good).map((sentence) => `- ${inline(sentence)}`),
      "Nothing that the review praises.",
    ),
    "",
    "## Deployment blockers",
    "",
    "Critical is the loss of data or an outage near; high is to be mended before it hurts.",
    ...(blockers.length === 0 ? ["", "None."] : blockers.flatMap((one) => findingLines(one, number(one)))),
    "",
    "## Improvements",
    ...(improvements.length === 0
      ? ["", "None."]
      : improvements.flatMap((one) => findingLines(one, number(one)))),
    "",
    "## Tasks",
    "",
    ...orNone(
      findings.map(
        (one) => `- [ ] ${number(one)}. ${one.severity}, ${one.effort}: ${inline(one.title)}${guess(one)}`,
      ),
      "Nothing is to be done.",
    ),
    ...suppressionLines(report),
    "",
    "## What could not be assessed",
    "",
    ...unseenLines(report),
    "",
    "## What was asked",
    "",
    ...tableLines(
      ["area", "check", "verdict", "findings", "ms"],
      report.results.map((result) => [
        areas[result.area],
        result.title,
        result.verdict,
        String(result.findings.length),
        String(result.durationMs),
      ]),
    ),
  ].join("\n")}\n`;
}

function summaryLines(report: ReviewReport, findings: readonly ReviewFinding[]): string[] {
  const { server, window } = report;
  const summary = summarize(report);
  return [
    `# Database review: ${inline(report.database)}`,
    "",
    "## Summary",
    "",
    `- ${findings.length === 0 ? "Nothing was found" : `**${countText(findings.length, "finding")}**: ${bySeverity(summary.findings)}`}; ${
      summary.passed
    } of ${countText(report.results.length, "check")} passed, ${summary.notAssessable} could not be assessed.`,
    ...(report.incomplete === undefined ? [] : [`- **Not complete**: ${inline(report.incomplete)}`]),
    `- PostgreSQL ${server.version}, ${server.isStandby ? "a standby" : "the primary"}, asked as ${inline(
      report.user,
    )} on ${report.startedAt} for ${durationText(report.seconds)}.`,
    window.seconds === null
      ? "- Since when statistics count, the server does not say."
      : `- Statistics go back ${durationText(window.seconds)}${
          window.statisticsSince === null ? "" : `, to ${window.statisticsSince}`
        }: "unused" and "slow" are about this time. A crash resets them without saying so.`,
    `- Replicas asked: ${report.replicas.length === 0 ? "none" : report.replicas.map(inline).join(", ")}.`,
    ...(report.replicasUnseen ?? []).map(
      ({ name, reason }) => `- The replica ${inline(name)} did not answer: ${inline(reason)}`,
    ),
    ...notListed(report).map(
      ({ check, count }) => `- Not listed: ${count} more of ${check}, with less weight.`,
    ),
    ...findings.slice(0, 3).map((one, index) => `- ${index === 0 ? "First" : "Then"}: ${inline(one.title)}`),
  ];
}

function comparisonLines(comparison: Comparison): string[] {
  const lists: [string, readonly (KnownFinding & { reason?: string })[]][] = [
    ["New", comparison.new],
    ["Found by checks that could not see everything then", comparison.newlySeen],
    ["Fixed", comparison.fixed],
    ["Unknown: was there, and could not be looked at now", comparison.unknown],
  ];
  return [
    "",
    `## Since ${inline(comparison.since)}`,
    "",
    `${comparison.new.length} new, ${comparison.fixed.length} fixed, ${comparison.still.length} still there, ${comparison.unknown.length} unknown.`,
    ...lists.flatMap(([head, list]) =>
      list.length === 0
        ? []
        : [
            "",
            `${head}:`,
            "",
            ...list.map(
              ({ severity, title, reason }) =>
                `- ${severity}: ${inline(title)}${reason === undefined ? "" : ` (${inline(reason)})`}`,
            ),
          ],
    ),
  ];
}

function findingLines(finding: ReviewFinding, number: number): string[] {
  const { remediation, example, fix } = finding;
  return [
    "",
    `### ${number}. ${inline(finding.title)}`,
    "",
    `- **Severity**: ${finding.severity}; confidence: ${finding.confidence}; effort: ${finding.effort}`,
    `- **Location**: ${location(finding)}`,
    ...(finding.since === undefined ? [] : [`- **Since**: ${inline(finding.since)}`]),
    ...(finding.origin === undefined ? [] : [`- **In the application**: ${inline(finding.origin)}`]),
    `- **Impact**: ${inline(finding.impact)}`,
    `- **Root cause**: ${inline(finding.rootCause)}`,
    `- **Blast radius**: ${inline(finding.blastRadius)}`,
    `- **Evidence**: ${Object.entries(finding.evidence)
      .map(([name, value]) => `${inline(name)} ${inline(valueText(value))}`)
      .join("; ")}`,
    `- **Prevention**: ${inline(finding.prevention)}`,
    `- **Key**: ${inline(finding.key)}`,
    "",
    `Remediation (lock: ${inline(remediation.lock)}):`,
    "",
    ...block(remediation.sql, "sql"),
    "",
    "Rollback:",
    "",
    ...block(remediation.rollback, "sql"),
    ...(fix === undefined || fix.proof.length === 0
      ? []
      : ["", "Proof:", "", ...fix.proof.map((line) => `- ${inline(line)}`)]),
    ...(example === undefined
      ? []
      : [
          "",
          "Before:",
          "",
          ...block(example.before, "sql"),
          "",
          "After:",
          "",
          ...block(example.after, "sql"),
        ]),
  ];
}

function location({ object }: ReviewFinding): string {
  return Object.entries(object)
    .map(([kind, name]) => `${kind} ${inline(String(name))}`)
    .join(", ");
}

const longestValue = 500;

function valueText(value: Json): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > longestValue ? `${text.slice(0, longestValue)}…` : text;
}

function guess({ confidence }: ReviewFinding): string {
  return confidence === "certain" ? "" : ` (${confidence}: look before you act)`;
}

function suppressionLines({ suppressions, results }: ReviewReport): string[] {
  if (suppressions === undefined) return [];
  const accepted = results
    .flatMap(({ findings }) => findings)
    .filter(({ suppressed }) => suppressed !== undefined)
    .map(
      ({ severity, title, suppressed }) =>
        `- ${severity}: ${inline(title)}: ${inline(suppressed?.reason ?? "")}${
          suppressed?.expires === undefined ? "" : ` (until ${suppressed.expires})`
        }`,
    );
  const lists: [string, SuppressionsReport["stale"]][] = [
    ["Over, so that what they match counts again:", suppressions.expired],
    ["Match nothing any more, and are to be deleted:", suppressions.stale],
    ["Without an end, and are to get one:", suppressions.endless],
  ];
  return [
    "",
    "## Suppressions",
    "",
    ...orNone(accepted, "Nothing is suppressed."),
    ...lists.flatMap(([head, list]) =>
      list.length === 0
        ? []
        : ["", head, "", ...list.map(({ key, reason }) => `- ${inline(key)}: ${inline(reason)}`)],
    ),
  ];
}

function unseenLines(report: ReviewReport): string[] {
  const lines = [...obstacles(report)].map(
    ([reason, checks]) => `- ${inline(reason)}: ${checks.map(inline).join(", ")}`,
  );
  return orNone(lines, `All that was asked was seen.`);
}

function orNone(lines: string[], none: string): string[] {
  return lines.length === 0 ? [none] : lines;
}
