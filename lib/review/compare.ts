import type { Severity } from "../checks/check.ts";
import { severities } from "../checks/health.ts";
import { UsageError } from "../errors.ts";
import { documentVersion, type ReviewReport } from "./run.ts";

/** What a comparison says of a finding. */
export interface KnownFinding {
  check: string;
  key: string;
  severity: Severity;
  title: string;
}

/** What is left of an earlier review: enough to compare with. */
export interface EarlierReview {
  database: string;
  startedAt: string;
  /** How each check ended then: `seen` when it saw all it asked for. */
  checks: { check: string; seen: boolean; findings: KnownFinding[] }[];
}

export interface Comparison {
  /** When the earlier review began, ISO 8601. */
  since: string;
  /** Were not there then, although somebody looked. The worst first, as in all of these. */
  new: KnownFinding[];
  /** Found now by a check that could not see everything then: perhaps as old as the database. */
  newlySeen: KnownFinding[];
  fixed: KnownFinding[];
  still: KnownFinding[];
  /** Were there then, and now nobody could look. */
  unknown: (KnownFinding & { reason: string })[];
}

type Reviewed = Pick<ReviewReport, "database" | "startedAt" | "results">;

/** What a later review compares with. */
export function remembered({ database, startedAt, results }: Reviewed): EarlierReview {
  return {
    database,
    startedAt,
    checks: results.map(({ check, reason, findings }) => ({
      check,
      seen: reason === undefined,
      findings: findings.map(({ check, key, severity, title }) => ({ check, key, severity, title })),
    })),
  };
}

/**
 * What became of each finding. A finding is fixed only when its check looked again and saw everything: what could
 * not be assessed now is unknown.
 */
export function compare(earlier: EarlierReview, report: Reviewed): Comparison {
  const comparison: Comparison = {
    since: earlier.startedAt,
    new: [],
    newlySeen: [],
    fixed: [],
    still: [],
    unknown: [],
  };
  const before = new Map(earlier.checks.map((one) => [one.check, one]));
  const keysBefore = new Set(earlier.checks.flatMap(({ findings }) => findings.map(({ key }) => key)));
  const now = remembered(report);
  const keysNow = new Set(now.checks.flatMap(({ findings }) => findings.map(({ key }) => key)));
  for (const { check, findings } of now.checks) {
    for (const finding of findings) {
      if (keysBefore.has(finding.key)) comparison.still.push(finding);
      else if (before.get(check)?.seen === true) comparison.new.push(finding);
      else comparison.newlySeen.push(finding);
    }
  }
  const asked = new Map(report.results.map((result) => [result.check, result]));
  for (const finding of earlier.checks.flatMap(({ findings }) => findings)) {
    if (keysNow.has(finding.key)) continue;
    const result = asked.get(finding.check);
    const reason = result === undefined ? "the check was not asked this time" : result.reason;
    if (reason === undefined) comparison.fixed.push(finding);
    else comparison.unknown.push({ ...finding, reason });
  }
  for (const findings of [
    comparison.new,
    comparison.newlySeen,
    comparison.fixed,
    comparison.still,
    comparison.unknown,
  ]) {
    findings.sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity));
  }
  return comparison;
}

/**
 * Reads the JSON of an earlier review of the same database.
 * @param where for messages: the file's name
 * @throws UsageError
 */
export function parseEarlier(text: string, where: string, database: string): EarlierReview {
  const earlier = earlierOf(text);
  if (typeof earlier === "string") {
    throw new UsageError(`${where} cannot be compared with: ${earlier}`, {
      remedy: "give the file that `pgkeep review --json` has written",
    });
  }
  if (earlier.database !== database) {
    throw new UsageError(
      `${where} is a review of database ${JSON.stringify(earlier.database)}, not of ${JSON.stringify(database)}`,
      { remedy: "compare reviews of the same database" },
    );
  }
  return earlier;
}

function earlierOf(text: string): EarlierReview | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "it is no JSON";
  }
  if (!isRecord(value) || !Array.isArray(value.results)) return "it is not the JSON of a review";
  if (value.version !== documentVersion) {
    return `its document has version ${JSON.stringify(value.version)}, this pgkeep knows ${documentVersion}`;
  }
  const { database, startedAt } = value;
  if (typeof database !== "string" || typeof startedAt !== "string" || Number.isNaN(Date.parse(startedAt))) {
    return "it does not say of what and when it is";
  }
  const checks: EarlierReview["checks"] = [];
  for (const result of value.results as unknown[]) {
    if (!isRecord(result) || typeof result.check !== "string" || !Array.isArray(result.findings)) {
      return "one of its results is not that of a check";
    }
    const findings = result.findings.map(knownFinding);
    if (!findings.every((finding) => finding !== undefined)) return "one of its findings has no key";
    checks.push({ check: result.check, seen: result.reason === undefined, findings });
  }
  return { database, startedAt, checks };
}

function knownFinding(value: unknown): KnownFinding | undefined {
  if (!isRecord(value)) return undefined;
  const { check, key, title } = value;
  const severity = severities.find((one) => one === value.severity);
  return typeof check === "string" && typeof key === "string" && typeof title === "string" && severity
    ? { check, key, severity, title }
    : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
