import { qualified } from "../postgres/identifiers.ts";
import { bytesText, countText, durationText } from "../words.ts";
import type { AutovacuumState } from "./autovacuum.ts";
import type { HandedOver, Listed, TableEntry, VacuumReport } from "./report.ts";
import type { Reason } from "./triggers.ts";

/** Tables of each kind that people are shown; `--json` has more. */
const shown = 20;

/** The report as lines for people. */
export function describeVacuum(report: VacuumReport): string[] {
  const lines = [...emergencyLines(report)];
  lines.push(
    `${report.considered} tables looked at, ${report.due} due` +
      (report.dryRun
        ? `; ${report.planned?.total ?? 0} would be worked on`
        : `, ${report.vacuumed.total} done in ${report.secondsUsed} of ${report.budgetSeconds} s`) +
      (report.interrupted ? ", interrupted" : ""),
  );
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
  section(
    report.dryRun ? "Too large for a run, would be left to others" : "Too large for a run, left to others",
    report.handedOver,
    handedOverText,
  );
  section("No longer left to others", report.takenBack, (entry) => {
    const back = entry.sql.length === 0 ? "" : `; ${entry.sql.join("; ")}`;
    return `${entry.outcome} by ${entry.to} after ${durationText(entry.afterSeconds)}${back}`;
  });
  section("Not permitted", report.notPermitted, (entry) => entry.remedy);
  if (report.autovacuum !== undefined) section("Autovacuum", report.autovacuum, stateText);
  for (const entry of report.advice.tables.slice(0, shown)) {
    lines.push(`Advice for ${entry.toast === true ? "the TOAST table of " : ""}${nameOf(entry)}:`);
    for (const why of entry.why) lines.push(`  ${why}`);
    for (const sql of entry.sql) lines.push(`  ${oneLine(sql)};`);
  }
  for (const note of report.notes) lines.push(`Note: ${note}`);
  return lines;
}

/** What must be seen first: how near the end is, and who holds it there. */
function emergencyLines(report: VacuumReport): string[] {
  const { emergency } = report;
  if (emergency === undefined) return [];
  return [
    `EMERGENCY: ${countText(emergency.total, "table")} beyond the failsafe age; the server stops taking transactions when an age reaches 2^31`,
    ...emergency.holders
      .slice(0, 5)
      .map((holder) => `  held back by ${oneLine(holder.name)}: ${holder.remedy}`),
    ...emergency.tables
      .slice(0, shown)
      .map(
        (entry) =>
          `  ${nameOf(entry)}: ${entry.transactionIdAge} transactions, ${entry.multixactAge} multixacts old`,
      ),
  ];
}

function handedOverText(entry: HandedOver): string {
  const begun = entry.sinceSeconds === 0 ? "" : ` for ${durationText(entry.sinceSeconds)}`;
  const needs =
    entry.predictedSeconds === null ? "" : `needs about ${durationText(entry.predictedSeconds)}; `;
  const details = [...entry.sql, ...(entry.notes ?? [])].map((text) => `; ${oneLine(text)}`).join("");
  return `${needs}${entry.to}, ${entry.state}${begun}${details}`;
}

function stateText(entry: AutovacuumState): string {
  const percent = (share: number | null) => (share === null ? "never" : `${Math.round(share * 100)} %`);
  const last = entry.lastAutovacuum === null ? "never" : entry.lastAutovacuum;
  return (
    `${entry.toast === true ? "TOAST: " : ""}${entry.rows} rows, ${entry.deadRows} dead (${percent(entry.share.dead)} of the trigger), ` +
    `inserted ${percent(entry.share.inserted)}, changed ${percent(entry.share.changed)}, age ${percent(entry.share.age)}; ` +
    `${countText(entry.autovacuums, "autovacuum")}, last ${last}`
  );
}

/** Quoted only where it has to be, so that a name with a line break cannot pretend to be a line of ours. */
function nameOf(entry: TableEntry): string {
  const plain = /^[a-z_][a-z0-9_$]*$/;
  if (plain.test(entry.schema) && plain.test(entry.table)) return `${entry.schema}.${entry.table}`;
  return oneLine(qualified(entry.schema, entry.table));
}

function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));
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
