import { UsageError } from "../errors.ts";

const pattern =
  /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,3}))?)?(Z|[+-]\d{2}:?\d{2}|[+-]\d{2})$/i;

/**
 * Reads a moment as ISO 8601 with a time zone, to the millisecond: `2026-01-02T03:04:05.678Z`,
 * `2026-01-02 03:04+01:00`. Nothing is guessed: a time without a zone could be hours off.
 * @throws UsageError
 */
export function parseMoment(text: string): Date {
  const match = pattern.exec(text.trim());
  if (match === null) throw wrong(text, whyNot(text.trim()));
  const [, year, month, day, hour, minute, second = "0", fraction = "0", zone = "Z"] = match;
  const fields = [year, month, day, hour, minute, second].map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const local = new Date(0);
  local.setUTCFullYear(fields[0], fields[1] - 1, fields[2]);
  local.setUTCHours(fields[3], fields[4], fields[5], Number(fraction.padEnd(3, "0")));
  const read = [
    local.getUTCFullYear(),
    local.getUTCMonth() + 1,
    local.getUTCDate(),
    local.getUTCHours(),
    local.getUTCMinutes(),
    local.getUTCSeconds(),
  ];
  if (fields.some((field, index) => field !== read[index])) {
    throw wrong(text, "there is no such day or time of day");
  }
  return new Date(local.getTime() - zoneMinutes(text, zone) * 60_000);
}

function zoneMinutes(text: string, zone: string): number {
  if (zone.toUpperCase() === "Z") return 0;
  const digits = zone.slice(1).replace(":", "").padEnd(4, "0");
  const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2));
  if (minutes > 18 * 60 || Number(digits.slice(2)) > 59) throw wrong(text, "there is no such time zone");
  return zone.startsWith("-") ? -minutes : minutes;
}

function whyNot(text: string): string {
  if (/[.,]\d{4,}/.test(text)) return "moments are exact to the millisecond: give at most three decimals";
  if (/^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?$/i.test(text)) return "it has no time zone";
  return "it is not a moment in ISO 8601";
}

function wrong(text: string, why: string): UsageError {
  return new UsageError(`${JSON.stringify(text)}: ${why}`, {
    remedy: "write it like 2026-01-02T03:04:05Z or 2026-01-02T03:04:05.678+01:00",
  });
}
