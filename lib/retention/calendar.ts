const millisecondsPerDay = 86_400_000;

/** Days since 1970-01-01, UTC. */
export function utcDay(time: Date): number {
  return Math.floor(time.getTime() / millisecondsPerDay);
}

/** Counts ISO 8601 weeks (Monday to Sunday, UTC); 1970-01-01 was a Thursday. */
export function isoWeek(time: Date): number {
  return Math.floor((utcDay(time) + 3) / 7);
}

/** Counts calendar months, UTC. */
export function utcMonth(time: Date): number {
  return time.getUTCFullYear() * 12 + time.getUTCMonth();
}

const two = (value: number) => String(value).padStart(2, "0");

/** `20260102`, UTC. */
export function compactDate(time: Date): string {
  return `${time.getUTCFullYear()}${two(time.getUTCMonth() + 1)}${two(time.getUTCDate())}`;
}

/** `20260102t030405z`, UTC: lower case, because names of AWS resources are. */
export function compactTime(time: Date): string {
  return `${compactDate(time)}t${two(time.getUTCHours())}${two(time.getUTCMinutes())}${two(time.getUTCSeconds())}z`;
}
