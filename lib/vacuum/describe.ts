import { qualified } from "../postgres/identifiers.ts";
import { bytesText } from "../words.ts";
import type { Listed, TableEntry, VacuumReport } from "./report.ts";
import type { Reason } from "./triggers.ts";

/** Tables of each kind that people are shown; `--json` has more. */
const shown = 20;

/** The report as lines for people. */
export function describeVacuum(report: VacuumReport): string[] {
  const lines = [
    `${report.considered} tables looked at, ${report.due} due` +
      (report.dryRun
        ? `; ${report.planned?.total ?? 0} would be worked on`
        : `, ${report.vacuumed.total} done in ${report.secondsUsed} of ${report.budgetSeconds} s`) +
      (report.interrupted ? ", interrupted" : ""),
  ];
  const section = <T extends TableEntry>(title: string, list: Listed<T>, text: (entry: T) => string) => {
    if (list.total === 0) return;
    lines.push(`${title}:`);
    for (const entry of list.tables.slice(0, shown)) lines.push(`  ${nameOf(entry)}: ${text(entry)}`);
    if (list.total > shown) lines.push(`  and ${list.total - shown} more`);
  };
  if (report.planned !== undefined) {
    section("Would do", report.planned, (entry) => {
      const disk =
        entry.diskNeededBytes === undefined
          ? ""
          : `; takes ${entry.lock}; needs ${bytesText(entry.diskNeededBytes)} of free disk`;
      return `${entry.action}, about ${entry.predictedSeconds} s, for ${reasonsText(entry.reasons)}${disk}`;
    });
  }
  section(
    "Done",
    report.vacuumed,
    (entry) =>
      `${entry.action} in ${entry.seconds} s, for ${reasonsText(entry.reasons)}` +
      (entry.deadAfter === null ? "" : `; dead rows ${entry.deadBefore} → ${entry.deadAfter}`),
  );
  section("Failed", report.failed, (entry) => entry.error);
  section("Skipped, locked", report.skippedLocked, (entry) => entry.heldBy ?? "the lock is free again");
  section(
    "Held back, nothing could be removed now",
    report.heldBack,
    (entry) => `${reasonsText(entry.reasons)}, by ${entry.holders.join(", ")}`,
  );
  for (const holder of report.heldBack.holders.slice(0, 5)) {
    const age = holder.ageSeconds === null ? "" : ` (${Math.round(holder.ageSeconds)} s old)`;
    lines.push(`  ${holder.name}${age}: ${holder.remedy}`);
  }
  section("Left", report.left, (entry) => `${entry.action} ${entry.why}`);
  section("Not permitted", report.notPermitted, (entry) => entry.remedy);
  for (const note of report.notes) lines.push(`Note: ${note}`);
  return lines;
}

/** Quoted only where it has to be, so that a name with a line break cannot pretend to be a line of ours. */
function nameOf(entry: TableEntry): string {
  const plain = /^[a-z_][a-z0-9_$]*$/;
  if (plain.test(entry.schema) && plain.test(entry.table)) return `${entry.schema}.${entry.table}`;
  return qualified(entry.schema, entry.table).replaceAll(/\p{Cc}/gu, (control) =>
    JSON.stringify(control).slice(1, -1),
  );
}

function reasonsText(reasons: readonly Reason[]): string {
  return reasons
    .map((reason) =>
      reason.counter === "asked for" || reason.counter === "unknown contents"
        ? reason.counter
        : `${reason.value} ${reason.toast === true ? "TOAST " : ""}${reason.counter} of ${reason.trigger} (${Math.round(reason.ratio * 100)} %)`,
    )
    .join(", ");
}
