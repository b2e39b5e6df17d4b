import { UsageError } from "../errors.ts";
import type { ReviewReport } from "./run.ts";

/** One line of the committed file: what is accepted, why, and until when. */
export interface Suppression {
  /** A finding's key; `*` stands for anything after the check's name. */
  key: string;
  reason: string;
  /** The last day on which it counts, `YYYY-MM-DD` (UTC). */
  expires?: string;
}

/** What became of the file; plain JSON. */
export interface SuppressionsReport {
  /** Those that match something, and how many findings. */
  used: (Suppression & { findings: number })[];
  /** Over: what they match counts again. */
  expired: (Suppression & { findings: number })[];
  /** Match nothing although their check saw everything: to be deleted. */
  stale: Suppression[];
  /** Would hold for ever: to be given an end. */
  endless: Suppression[];
}

/**
 * Reads the content of a file of suppressions: `suppressions:` with a list of key, reason and expires.
 * @param value what YAML or JSON gave
 * @throws UsageError with every problem at once
 */
export function parseSuppressions(value: unknown, where: string): Suppression[] {
  const problems: string[] = [];
  const found: Suppression[] = [];
  const list = isRecord(value) && Object.keys(value).length === 1 ? value.suppressions : undefined;
  if (!Array.isArray(list)) problems.push("it has not just `suppressions:` with a list");
  for (const [index, entry] of Array.isArray(list) ? list.entries() : []) {
    const before = problems.length;
    const problem = (text: string) => problems.push(`number ${index + 1}: ${text}`);
    const { key, reason, expires, ...others }: Record<string, unknown> = isRecord(entry) ? entry : {};
    for (const name of Object.keys(others)) problem(`${JSON.stringify(name)} is no part of a suppression`);
    if (typeof key !== "string" || !/^[a-z0-9-]+\/./s.test(key)) {
      problem("key is not that of a finding: CHECK/OBJECT, where OBJECT may have *");
    } else if (found.some((one) => one.key === key)) {
      problem(`the key ${JSON.stringify(key)} stands twice`);
    }
    if (typeof reason !== "string" || reason.trim() === "") problem("reason is missing: why is it accepted?");
    if (expires !== undefined && !isDay(expires)) problem("expires is not a day such as 2027-01-31");
    if (problems.length === before) {
      const end = expires === undefined ? {} : { expires: expires as string };
      found.push({ key: key as string, reason: (reason as string).trim(), ...end });
    }
  }
  if (problems.length > 0) {
    throw new UsageError(`${where} is no file of suppressions:\n  ${problems.join("\n  ")}`, {
      remedy: "write suppressions: [{ key: CHECK/OBJECT, reason: WHY, expires: YYYY-MM-DD }]",
    });
  }
  return found;
}

/** Marks the findings that are accepted, and says what became of each suppression. The report is changed. */
export function suppress(report: ReviewReport, suppressions: readonly Suppression[]): void {
  const today = report.startedAt.slice(0, 10);
  const findings = report.results.flatMap((result) => result.findings);
  const said: SuppressionsReport = { used: [], expired: [], stale: [], endless: [] };
  for (const suppression of suppressions) {
    const { key, reason, expires } = suppression;
    const matching = findings.filter((finding) => matches(key, finding.key));
    const counted = { ...suppression, findings: matching.length };
    if (matching.length === 0 && sawEverything(report, key)) said.stale.push(suppression);
    if (expires !== undefined && expires < today) {
      if (matching.length > 0) said.expired.push(counted);
      continue;
    }
    if (matching.length > 0) said.used.push(counted);
    if (expires === undefined) said.endless.push(suppression);
    for (const finding of matching) {
      finding.suppressed ??= { reason, ...(expires === undefined ? {} : { expires }) };
    }
  }
  report.suppressions = said;
}

/** Each part of the pattern in its order, the first at the beginning and the last at the end. */
function matches(pattern: string, key: string): boolean {
  if (pattern === key) return true;
  const [first = "", ...others] = pattern.split("*");
  const last = others.pop();
  if (last === undefined || !key.startsWith(first)) return false;
  let at = first.length;
  for (const part of others) {
    const found = key.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return key.length - last.length >= at && key.endsWith(last);
}

/** Whether the check could have found it this time; one that does not exist any more finds nothing. */
function sawEverything({ results, incomplete }: ReviewReport, key: string): boolean {
  const result = results.find(({ check }) => key.startsWith(`${check}/`));
  return result === undefined ? incomplete === undefined : result.reason === undefined;
}

function isDay(value: unknown): value is string {
  if (typeof value !== "string" || !/^\d{4}-\d{2}-\d{2}$/.test(value)) return false;
  const day = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
