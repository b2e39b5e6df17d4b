import { readFileSync, writeFileSync } from "node:fs";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import { table } from "../../../lib/config/reference.ts";
import { describeLimit } from "./describe-limit.ts";
import type { Drill, DrillResult } from "./drill.ts";
import { tickSeconds } from "./drill-sandbox.ts";
import { type NotDrilled, waves } from "./drills.ts";

/** Writes the document instead of comparing with it. */
export const writes = process.env.PGKEEP_WRITE_ALARM_DRILLS === "1";

export const regenerateCommand =
  "PGKEEP_WRITE_ALARM_DRILLS=1 PGKEEP_ALARM_DRILLS=all node_modules/.bin/vitest run test/alarms/drills";

const file = new URL("../../../docs/alarm-drills.md", import.meta.url);

/** The parts of the document that runs write, each by itself. */
export type Part = "drilled" | "not-drilled" | "week" | "whole-week";

/** One alarm's row. */
export interface Row {
  alarm: string;
  severity: string;
  fault: string;
  lowered: string;
  seconds: number | undefined;
  told: number;
  cleared: DrillResult["cleared"];
}

const headings = ["alarm", "", "fault", "lowered", "fault to message", "messages", "cleared"];

export function rowOf(
  drill: Drill,
  { seconds, told, cleared }: Pick<Row, "seconds" | "told" | "cleared">,
): Row {
  const entry = entryOf(drill.alarm);
  return {
    alarm: drill.alarm,
    severity: entry.severity,
    fault: drill.fault,
    lowered: describeLimit(drill, entry.unit),
    seconds: drill.grows === true ? undefined : seconds,
    told,
    cleared,
  };
}

/** The entry of the catalogue whose alarm has this name: the longest that it begins with. */
export function entryOf(alarm: string) {
  const found = catalogue
    .filter(({ name }) => alarm === name || alarm.startsWith(`${name}-`))
    .sort((one, other) => other.name.length - one.name.length)[0];
  if (found === undefined) throw new TypeError(`no entry of the catalogue has an alarm ${alarm}`);
  return found;
}

/** The table with these rows in place of the committed ones of the same drills. */
export function drillLines(fresh: readonly Row[]): string[] {
  const isFresh = ({ alarm, fault }: Drill) =>
    fresh.some((row) => row.alarm === alarm && row.fault === fault);
  const kept = waves
    .flatMap(({ drills }) => drills)
    .filter((drill) => !isFresh(drill))
    .flatMap((drill) => {
      const committed = committedRow(drill);
      return committed === undefined ? [] : [rowOf(drill, committed)];
    });
  const rows = [...fresh, ...kept];
  const order = catalogue.map(({ name }) => name);
  const placeOf = ({ alarm }: Row) => order.indexOf(entryOf(alarm).name);
  const sorted = rows.toSorted((one, other) => placeOf(one) - placeOf(other));
  return table(
    headings,
    sorted.map((row) => [
      `[${row.alarm}](runbook.md#${entryOf(row.alarm).name})`,
      row.severity,
      `\`${row.fault}\``,
      row.lowered,
      row.seconds === undefined ? "as it grows" : `${row.seconds} s`,
      String(row.told),
      row.cleared,
    ]),
  );
}

export function notDrilledLines(entries: readonly NotDrilled[]): string[] {
  return table(
    ["alarm", "why no fault of the sandbox raises it", "checked instead"],
    entries.map(({ entry, because, instead }) => [`[${entry}](runbook.md#${entry})`, because, instead]),
  );
}

/** What the committed document says of an alarm; undefined when it has no row. */
export function committedRow({ alarm, fault: wanted }: Drill): Omit<Row, "severity"> | undefined {
  const line = readPart("drilled").find(
    (one) => one.startsWith(`| [${alarm}](`) && one.includes(`| \`${wanted}\` `),
  );
  if (line === undefined) return undefined;
  const [, , fault = "", lowered = "", seconds = "", told = "", cleared = ""] = line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());
  return {
    alarm,
    fault: fault.replaceAll("`", ""),
    lowered,
    seconds: seconds === "as it grows" ? undefined : Number.parseInt(seconds, 10),
    told: Number(told),
    cleared: cleared as DrillResult["cleared"],
  };
}

/** A tick more or less: the fault may need some real time to take effect. */
export const toleranceTicks = 6;

export function isCloseTo(seconds: number | undefined, committed: number | undefined): boolean {
  if (seconds === undefined || committed === undefined) return seconds === committed;
  return Math.abs(seconds - committed) <= toleranceTicks * tickSeconds;
}

export function readPart(part: Part): string[] {
  const lines = readFileSync(file, "utf8").split("\n");
  const from = lines.indexOf(begin(part));
  const to = lines.indexOf(end(part));
  if (from < 0 || to < from) throw new TypeError(`docs/alarm-drills.md has no part ${part}`);
  return lines.slice(from + 2, to - 1);
}

export function writePart(part: Part, content: readonly string[]): void {
  const lines = readFileSync(file, "utf8").split("\n");
  const from = lines.indexOf(begin(part));
  const to = lines.indexOf(end(part));
  if (from < 0 || to < from) throw new TypeError(`docs/alarm-drills.md has no part ${part}`);
  writeFileSync(file, [...lines.slice(0, from + 1), "", ...content, "", ...lines.slice(to)].join("\n"));
}

function begin(part: Part): string {
  return `<!-- ${part}: generated -->`;
}

function end(part: Part): string {
  return `<!-- ${part}: end -->`;
}
