import { bytesText, countText } from "../words.ts";
import type { Listed, PartitionsReport } from "./report.ts";

/** Entries of each kind that people are shown; `--json` has more. */
const shown = 20;

/** The report as lines for people. */
export function describePartitions(report: PartitionsReport): string[] {
  const lines = [
    `${countText(report.tables, "declared table")}` +
      (report.dryRun
        ? `; ${countText(report.planned?.total ?? 0, "thing")} would be done`
        : `, ${countText(report.created.total, "partition")} made, ${report.retired.total} retired in ${report.secondsUsed} of ${report.budgetSeconds} s`) +
      (report.interrupted ? ", interrupted" : ""),
  ];
  const section = <T>(title: string, list: Listed<T>, text: (entry: T) => string | string[]) => {
    if (list.total === 0) return;
    lines.push(`${title}:`);
    for (const entry of list.entries.slice(0, shown)) {
      for (const line of [text(entry)].flat()) lines.push(`  ${oneLine(line)}`);
    }
    if (list.total > shown) lines.push(`  and ${list.total - shown} more`);
  };
  if (report.planned !== undefined) {
    section("Would", report.planned, ({ table, what, statements }) => [
      `${table}: ${what}`,
      ...statements.flatMap(({ sql, lock, why }) => [`  ${sql};`, `    lock: ${lock}`, `    why: ${why}`]),
    ]);
  }
  section("Made", report.created, ({ table, partition, from, to, movedRows }) => {
    const moved = movedRows === 0 ? "" : `, ${countText(movedRows, "row")} out of the default partition`;
    return `${table}: ${partition} for [${from}, ${to})${moved}`;
  });
  section("Retired", report.retired, ({ partition, outcome, now }) =>
    now === null || now === partition ? `${partition}: ${outcome}` : `${partition}: ${outcome}, now ${now}`,
  );
  if (report.byPartman.length > 0) lines.push(`By pg_partman: ${oneLine(report.byPartman.join(", "))}`);
  const undone = (entry: { table: string; what: string; why: string; remedy: string }) =>
    `${entry.table}: to ${entry.what}: ${entry.why} (${entry.remedy})`;
  section("Failed", report.failed, undone);
  section("Not done, something is in the way", report.blocked, undone);
  section("Not permitted", report.notPermitted, ({ table, why, remedy }) => `${table}: ${why} (${remedy})`);
  section("Not looked after", report.refused, ({ table, why, remedy }) => `${table}: ${why} (${remedy})`);
  section(
    "Findings",
    report.findings,
    ({ severity, table, text, remedy }) => `${severity}: ${table}: ${text} (${remedy})`,
  );
  section(
    "Large and not partitioned",
    report.advice,
    ({ table, rows, bytes, text }) => `${table}: about ${rows} rows, ${bytesText(bytes)}; ${text}`,
  );
  for (const note of report.notes) lines.push(`Note: ${oneLine(note)}`);
  return lines;
}

/** A name with a line break cannot pretend to be a line of ours. */
function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));
}
