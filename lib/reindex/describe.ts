import { qualified } from "../postgres/identifiers.ts";
import { bytesText, countText } from "../words.ts";
import type { Reason } from "./plan.ts";
import type { Listed, ReindexReport } from "./report.ts";

/** Indexes of each kind that people are shown; `--json` has more. */
const shown = 20;

/** The report as lines for people. */
export function describeReindex(report: ReindexReport): string[] {
  const lines = [
    `${countText(report.considered, "index", "indexes")} looked at, ${report.measured} measured, ${report.due} due` +
      (report.dryRun
        ? `; ${report.planned?.total ?? 0} would be rebuilt`
        : `, ${report.rebuilt.total} rebuilt in ${report.secondsUsed} of ${report.budgetSeconds} s, ${bytesText(report.bytesFreed)} freed`) +
      (report.interrupted ? ", interrupted" : ""),
  ];
  const section = <T extends { schema: string; index: string }>(
    title: string,
    list: Listed<T>,
    text: (entry: T) => string,
  ) => {
    if (list.total === 0) return;
    lines.push(`${title}:`);
    for (const entry of list.indexes.slice(0, shown)) lines.push(`  ${nameOf(entry)}: ${text(entry)}`);
    if (list.total > shown) lines.push(`  and ${list.total - shown} more`);
  };
  if (report.planned !== undefined) {
    section("Would rebuild", report.planned, (entry) => {
      const waits = entry.obstacles.map(({ text }) => `; now in its way: ${text}`).join("");
      return `${reasonText(entry.reason)}, ${bytesText(entry.bytes)}, about ${entry.predictedSeconds} s, needs ${bytesText(entry.diskNeededBytes)} of disk${waits}`;
    });
  }
  section("Rebuilt", report.rebuilt, (entry) => {
    const after = entry.bytesAfter === null ? "unknown" : bytesText(entry.bytesAfter);
    return `${bytesText(entry.bytesBefore)} → ${after} in ${entry.seconds} s, for ${reasonText(entry.reason)}`;
  });
  section(
    report.dryRun ? "Leftovers that would be dropped" : "Leftovers dropped",
    report.leftoversDropped,
    (entry) => `of a rebuild of ${entry.of}`,
  );
  section("Leftovers remaining", report.leftoversRemaining, (entry) => `${entry.why}; ${entry.sql}`);
  section("Failed", report.failed, (entry) => entry.error);
  section("Not started, something is in the way", report.blocked, (entry) =>
    entry.obstacles.map(({ text, remedy }) => `${text} (${remedy})`).join("; "),
  );
  section("Left", report.left, (entry) => entry.why);
  section("Not permitted", report.notPermitted, (entry) => entry.remedy);
  section("Cannot be rebuilt concurrently", report.notConcurrently, (entry) => `${entry.why}; ${entry.sql}`);
  section("Invalid, not pgkeep's to drop", report.invalid, (entry) => `${entry.why}; ${entry.sql}`);
  section(
    "Perhaps bloated, not measured",
    report.unconfirmed,
    (entry) =>
      `${Math.round(entry.leastPercent)} to ${Math.round(entry.mostPercent)} % of ${bytesText(entry.bytes)} by the estimate; ${entry.why}`,
  );
  lines.push(
    `Free disk: ${report.freeDiskBytes === null ? "" : `${bytesText(report.freeDiskBytes)}, `}${report.freeDiskBasis}`,
  );
  for (const note of report.notes) lines.push(`Note: ${note}`);
  return lines;
}

/** Quoted only where it has to be, so that a name with a line break cannot pretend to be a line of ours. */
function nameOf({ schema, index }: { schema: string; index: string }): string {
  const plain = /^[a-z_][a-z0-9_$]*$/;
  if (plain.test(schema) && plain.test(index)) return `${schema}.${index}`;
  return qualified(schema, index).replaceAll(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));
}

export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case "bloat": {
      const density = reason.leafDensity === null ? "" : `, leaf pages ${reason.leafDensity} % full`;
      return `${reason.percent} % bloat (${bytesText(reason.wastedBytes)}${density})`;
    }
    case "estimated bloat":
      return `at least ${reason.leastPercent} % bloat by the estimate`;
    case "interrupted":
      return "a rebuild that was interrupted";
    case "invalid":
      return "being invalid";
    case "asked for":
      return "being asked for";
  }
}
