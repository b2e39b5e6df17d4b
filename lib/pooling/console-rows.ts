import { PgkeepError } from "../errors.ts";
import type { ConsoleRow, ConsoleView } from "../ports/pooler-console.ts";

/** @throws PgkeepError `unsupported-server` when the console has no such column */
export function textOf(view: ConsoleView, row: ConsoleRow, column: string): string {
  const value = row[column];
  if (value === undefined || value === null) {
    throw new PgkeepError("unsupported-server", `PgBouncer's SHOW ${view} has no ${column}`, {
      remedy: "pgkeep reads the console of PgBouncer 1.16 and later",
    });
  }
  return value;
}

/** @throws PgkeepError `unsupported-server` when the console has no such column */
export function numberOf(view: ConsoleView, row: ConsoleRow, column: string): number {
  return Number(textOf(view, row, column));
}

/** The first of these columns that this version has; null when it has none, or no value in it. */
export function maybeNumber(row: ConsoleRow, ...columns: string[]): number | null {
  for (const column of columns) {
    const value = row[column];
    if (value !== undefined && value !== null && value.trim() !== "") return Number(value);
  }
  return null;
}

/** 0 where this version has none of the columns. */
export function countOf(row: ConsoleRow, ...columns: string[]): number {
  return maybeNumber(row, ...columns) ?? 0;
}

interface WallClock {
  milliseconds: number;
  zone: string;
}

/** `2026-11-21 12:23:54 CET`: the local time of PgBouncer's machine, with an abbreviation that may be anything. */
function wallClock(text: string | null | undefined): WallClock | undefined {
  const match = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?: (.*))?$/.exec(text ?? "");
  if (match === null) return undefined;
  return { milliseconds: Date.parse(`${match[1]}T${match[2]}Z`), zone: match[3] ?? "" };
}

/**
 * Ages by the console's own clock, whatever its time zone: its newest request is the one that asks. Whole seconds.
 * Between two different zone names the clocks were changed, by an hour: the age is then at least what is given.
 */
export function ageBy(
  rows: readonly ConsoleRow[],
): (...times: (string | null | undefined)[]) => number | null {
  const now = rows.reduce<WallClock | undefined>((newest, { request_time }) => {
    const time = wallClock(request_time);
    return time !== undefined && (newest === undefined || time.milliseconds > newest.milliseconds)
      ? time
      : newest;
  }, undefined);
  return (...times) => {
    const known = times.map(wallClock).filter((time) => time !== undefined);
    if (now === undefined || known.length === 0) return null;
    const ages = known.map(({ milliseconds, zone }) => {
      const seconds = (now.milliseconds - milliseconds) / 1000;
      return Math.max(0, zone === now.zone ? seconds : seconds - 3_600);
    });
    return Math.min(...ages);
  };
}
