import { databaseRule, error } from "./rule.ts";

const days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const minutesADay = 1440;
const minutesAWeek = 7 * minutesADay;
const shortestMinutes = 30;

export interface Window {
  start: number;
  length: number;
}

/** Minutes of `03:00-03:30` in the day; an end before the start is on the next day. */
export function daily(text: string): Window {
  const [start = 0, end = 0] = text.split("-").map(minuteOfDay);
  return { start, length: (end - start + minutesADay) % minutesADay };
}

/** Minutes of `sun:04:00-sun:05:00` in the week. */
export function weekly(text: string): Window {
  const [start = 0, end = 0] = text
    .split("-")
    .map((part) => days.indexOf(part.slice(0, 3)) * minutesADay + minuteOfDay(part.slice(4)));
  return { start, length: (end - start + minutesAWeek) % minutesAWeek };
}

function minuteOfDay(text: string): number {
  const [hours = 0, minutes = 0] = text.split(":").map(Number);
  return hours * 60 + minutes;
}

/** Whether a window of the week meets one that recurs each day. Both hold their start and not their end. */
export function overlap(week: Window, day: Window): boolean {
  const untilNext = (day.start - week.start + minutesAWeek) % minutesADay;
  const sinceLast = (minutesADay - untilNext) % minutesADay;
  return untilNext < week.length || sinceLast < day.length;
}

/** Whether two windows of the week meet. */
export function overlapInWeek(one: Window, other: Window): boolean {
  const until = (from: Window, to: Window) => (to.start - from.start + minutesAWeek) % minutesAWeek;
  return until(one, other) < one.length || until(other, one) < other.length;
}

export const windowRules = [
  databaseRule({
    name: "windows-long-enough",
    demand: "`backups.window` and `maintenance.window` last at least 30 minutes",
    source: "Amazon RDS API, CreateDBInstance: PreferredBackupWindow and PreferredMaintenanceWindow",
    check: ({ backups, maintenance }) => [
      ...tooShort("backups.window", backups.window, daily(backups.window)),
      ...tooShort("maintenance.window", maintenance.window, weekly(maintenance.window)),
    ],
  }),
  databaseRule({
    name: "windows-apart",
    demand: "`backups.window` and `maintenance.window` do not overlap",
    source:
      "Amazon RDS API, CreateDBInstance: the backup window must not conflict with the maintenance window",
    check: ({ backups, maintenance }) =>
      overlap(weekly(maintenance.window), daily(backups.window))
        ? [
            error(
              "maintenance.window",
              `${maintenance.window} overlaps backups.window, ${backups.window}; RDS refuses that`,
              ["backups.window"],
            ),
          ]
        : [],
  }),
];

function tooShort(path: string, text: string, window: Window) {
  return window.length < shortestMinutes
    ? [error(path, `${text} is not allowed; at least ${shortestMinutes} minutes`)]
    : [];
}
