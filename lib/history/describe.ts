import { bytesText, countText } from "../words.ts";
import type { Collected } from "./collect.ts";
import type { Forecast } from "./extrapolate.ts";
import type { Forecasts } from "./forecast.ts";

/** What a run noted, as lines for people. */
export function describeCollected(collected: Collected): string[] {
  const { statements, pruned } = collected;
  return [
    `${collected.day}${collected.again ? " (replaced)" : ""}: ${bytesText(collected.databaseBytes)}${collected.sizeBasis === "estimate" ? " (estimate)" : ""}, ` +
      `${countText(collected.tables, "table")}, of which ${collected.tablesChanged} changed, ${collected.tablesAdded} new, ${collected.tablesGone} gone` +
      (collected.tablesUnmeasured > 0 ? `, ${collected.tablesUnmeasured} never measured` : ""),
    `${countText(collected.keyColumns, "key column")}; ${statements.kept === null ? "no statements" : countText(statements.kept, "statement")}` +
      (pruned.days + pruned.statementDays > 0
        ? `; forgot ${countText(pruned.days, "day")} and the statements of ${countText(pruned.statementDays, "day")}`
        : ""),
    ...collected.notes.map((note) => `Note: ${line(note)}`),
  ];
}

/** One forecast as one line. */
export function describeForecast(forecast: Forecast): string {
  const subject = line(forecast.subject);
  const notes = forecast.notes.map((note) => `; ${line(note)}`).join("");
  if (forecast.verdict === "not-assessable") {
    return `${subject}: not assessable: ${forecast.reason ?? ""}${notes}`;
  }
  const amount = (value: number) =>
    forecast.kind === "storage" ? bytesText(value) : Math.round(value).toLocaleString("en");
  const now =
    forecast.used === null || forecast.limit === null
      ? ""
      : ` (${amount(forecast.used)} of ${amount(forecast.limit)}: ${line(forecast.limitBasis)})`;
  const { trend } = forecast;
  const rate =
    trend === undefined
      ? ""
      : `; ${amount(trend.perDay)} a day (${amount(trend.perDayLow)} to ${amount(trend.perDayHigh)}), ` +
        `${trend.samples} samples over ${trend.spanDays} days, confidence ${forecast.confidence ?? "low"}`;
  if (forecast.verdict === "no-end")
    return `${subject}: no end in sight: ${forecast.reason ?? ""}${now}${rate}${notes}`;
  const range =
    forecast.earliestDays === undefined || trend === undefined
      ? ""
      : ` (${forecast.earliestDays} to ${forecast.latestDays ?? "never"})`;
  return `${subject}: ends in ${forecast.days} days${range}${now}${rate}${notes}`;
}

/** Keys shown to people; `--json` has all that are followed. */
const shownKeys = 20;

export function describeForecasts({ day, forecasts, keyColumns }: Forecasts): string[] {
  if (day === null) return ["There is no history yet: collect-history has not run here."];
  const keys = forecasts.filter(({ kind }) => kind === "key");
  const shown = new Set(keys.slice(0, shownKeys));
  const hidden = keys.length - shown.size;
  return [
    `By what was seen until ${day}:`,
    ...together(forecasts.filter((one) => one.kind !== "key" || shown.has(one))),
    ...(hidden > 0 ? [`and ${hidden} more keys`] : []),
    `${countText(keyColumns, "key column")} altogether`,
  ];
}

/** One line each; but what cannot be assessed for the same reason is one line together. */
function together(forecasts: readonly Forecast[]): string[] {
  const lines: string[] = [];
  const unknown = new Map<string, string[]>();
  for (const forecast of forecasts) {
    const { verdict, reason, notes, subject } = forecast;
    if (verdict !== "not-assessable" || reason === undefined || notes.length > 0) {
      lines.push(describeForecast(forecast));
    } else unknown.set(reason, [...(unknown.get(reason) ?? []), line(subject)]);
  }
  return [
    ...lines,
    ...[...unknown].map(([reason, subjects]) => `${subjects.join(", ")}: not assessable: ${reason}`),
  ];
}

/** A name with a line break cannot pretend to be a line of ours. */
export function line(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));
}
