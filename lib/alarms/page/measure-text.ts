import { bytesText, durationText } from "../../words.ts";
import type { Alarm, Comparison } from "../alarm.ts";

const limits: Record<Comparison, (limit: string) => string> = {
  ">": (limit) => `more than ${limit}`,
  ">=": (limit) => `${limit} or more`,
  "<": (limit) => `less than ${limit}`,
  "<=": (limit) => `${limit} or less`,
};

/** `97 %, alarm at 90 % or more`; `no value, …` without a value. */
export function measureText(of: {
  value: number | undefined;
  threshold: number;
  unit: Alarm["unit"];
  comparison: Comparison;
}): string {
  const value =
    of.value === undefined || !Number.isFinite(of.value) ? "no value" : valueText(of.value, of.unit);
  return `${value}, alarm at ${limits[of.comparison](valueText(of.threshold, of.unit))}`;
}

function valueText(value: number, unit: Alarm["unit"]): string {
  switch (unit) {
    case "Bytes":
      return bytesText(value);
    case "Percent":
      return `${rounded(value, 1)} %`;
    case "Seconds":
      return secondsText(value);
    case "Milliseconds":
      return secondsText(value / 1000);
    case "Microseconds":
      return secondsText(value / 1_000_000);
    default:
      return rounded(value, 2).toLocaleString("en-US");
  }
}

/** Latencies are parts of a second; a lag of −1 is how RDS says that there is no replication. */
function secondsText(seconds: number): string {
  if (seconds < 0) return `${rounded(seconds, 0)} s`;
  return seconds > 0 && seconds < 1 ? `${rounded(seconds * 1000, 1)} ms` : durationText(seconds);
}

function rounded(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}
