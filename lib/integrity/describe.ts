import { countText, durationText } from "../words.ts";
import type { IntegrityReport } from "./report.ts";

/** Findings and reasons that people are shown; `--json` has more. */
const shown = 20;

/** Control characters of names and messages must not make lines of their own. */
const oneLine = (text: string) => text.replace(/\p{Cc}+/gu, " ");

/** The report as lines for people. */
export function describeIntegrity(report: IntegrityReport): string[] {
  const { coverage, left } = report;
  const lines = [
    report.dryRun
      ? `${countText(left.total, "object")} would be looked at on ${report.server}, ${coverage.blocks} blocks of tables and indexes`
      : `${coverage.checked} of ${countText(coverage.objects, "object")} looked at on ${report.server}, ${coverage.blocksChecked} of ${coverage.blocks} blocks, ${coverage.rowsChecked} rows, in ${durationText(report.secondsUsed)}${report.interrupted ? "; the time was over" : ""}`,
    coverage.neverChecked > 0
      ? `${countText(coverage.neverChecked, "object")} never looked at so far`
      : `Everything was looked at since ${coverage.since ?? "never"}`,
  ];
  if (report.findingsTotal === 0 && coverage.checked > 0) lines.push("Nothing wrong was found");
  for (const finding of report.findings.slice(0, shown)) {
    lines.push(`${finding.severity} (${finding.confidence}): ${oneLine(finding.title)}`);
    lines.push(`  ${oneLine(finding.impact)}`);
    lines.push(`  ${oneLine(finding.remediation.sql)}`);
  }
  if (report.findingsTotal > shown) lines.push(`and ${report.findingsTotal - shown} more`);
  const section = (title: string, list: IntegrityReport["notAssessable"]) => {
    if (list.length > 0) lines.push(`${title}:`);
    for (const { reason, first, objects } of list.slice(0, shown)) {
      const more = objects > 1 ? ` and ${objects - 1} more` : "";
      lines.push(`  ${oneLine(first)}${more}: ${oneLine(reason)}`);
    }
  };
  section("Not assessable", report.notAssessable);
  section("Left for a later run", left.reasons);
  if (report.skipped.length > 0)
    lines.push(`Skipped as configured: ${report.skipped.map(oneLine).join(", ")}`);
  for (const note of report.notes) lines.push(`Note: ${oneLine(note)}`);
  return lines;
}
