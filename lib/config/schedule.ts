import { Cron, CronPattern } from "croner";

/** How often the routing document is published when `schedules.route-replicas` says nothing. */
export const defaultRoutingSchedule = "* * * * *";

const minutesADay = 1440;
/** A Monday, so that results do not depend on the day the file is read. */
const reference = new Date("2024-01-01T00:00:00Z");
/** Enough matching days to see the longest gap of any calendar pattern but 29 February. */
const sampledDays = 40;

/**
 * The longest time between two runs of five cron fields, in seconds: what a limit has to outlast.
 * Changes of summer time are not counted.
 * @returns undefined when the fields never come true
 * @throws Error in croner's words when they are not valid
 */
export function longestPeriodSeconds(fields: string): number | undefined {
  const pattern = new CronPattern(fields, "UTC", { mode: "5-part" });
  const minutes = indexes(pattern.hour).flatMap((hour) =>
    indexes(pattern.minute).map((minute) => hour * 60 + minute),
  );
  const first = minutes[0];
  const last = minutes[minutes.length - 1];
  if (first === undefined || last === undefined) return undefined;
  const within = Math.max(0, ...minutes.slice(1).map((minute, index) => minute - (minutes[index] ?? minute)));
  const days = longestDaysBetween(fields, pattern);
  if (days === undefined) return undefined;
  return Math.max(within, (days - 1) * minutesADay + minutesADay - last + first) * 60;
}

/** When five cron fields come true next; undefined when they never do. @throws Error in croner's words */
export function nextRun(fields: string, timeZone: string, after: Date): Date | undefined {
  const pattern = new Cron(fields, { paused: true, mode: "5-part", timezone: timeZone });
  return pattern.nextRun(after) ?? undefined;
}

function longestDaysBetween(fields: string, pattern: CronPattern): number | undefined {
  if (pattern.starDOM && pattern.starDOW && pattern.month.every(Boolean)) return 1;
  const [, , dayOfMonth, month, dayOfWeek] = fields.split(" ");
  const daily = new Cron(`0 0 ${dayOfMonth} ${month} ${dayOfWeek}`, {
    paused: true,
    mode: "5-part",
    timezone: "UTC",
  });
  const days = daily.nextRuns(sampledDays, reference).map((run) => run.getTime() / 86_400_000);
  return days.length < 2
    ? undefined
    : Math.max(...days.slice(1).map((day, index) => Math.round(day - (days[index] ?? day))));
}

function indexes(flags: ArrayLike<number | boolean>): number[] {
  return Array.from(flags).flatMap((flag, index) => (flag ? [index] : []));
}

/** `90 seconds`, `5 minutes`, `2 days`: the largest unit that needs no fraction. */
export function duration(seconds: number): string {
  for (const [size, unit] of [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ] as const) {
    if (seconds >= size && seconds % size === 0) return count(seconds / size, unit);
  }
  return count(seconds, "second");
}

function count(number: number, unit: string): string {
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}
