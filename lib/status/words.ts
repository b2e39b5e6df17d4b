import { bytesText, durationText } from "../words.ts";

/** `5 min ago`, `in 20 s`: from the moment of the status to that one. */
export function relative(iso: string, now: string): string {
  const seconds = (Date.parse(now) - Date.parse(iso)) / 1000;
  if (Number.isNaN(seconds)) return iso;
  const whole = (value: number) => durationText(Math.round(value));
  return seconds >= 0 ? `${whole(seconds)} ago` : `in ${whole(-seconds)}`;
}

export function lagText({
  lagBytes,
  lagSeconds,
}: {
  lagBytes: number | null;
  lagSeconds: number | null;
}): string {
  if (lagBytes === null) return "unknown";
  if (lagBytes === 0) return "none";
  return `${bytesText(lagBytes)}${lagSeconds === null ? "" : `, ${durationText(lagSeconds)}`}`;
}

export function grownText({ grownBytes, fromDay }: { grownBytes: number | null; fromDay: string }): string {
  if (grownBytes === null) return "unknown";
  return `${grownBytes < 0 ? "−" : "+"}${bytesText(Math.abs(grownBytes))} since ${fromDay}`;
}
