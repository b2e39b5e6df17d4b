import type { MetricName } from "../alarms/metrics.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import type { CheckOutcome, Counters, Finding } from "./check.ts";

/** What a check has gathered, before its verdict. */
export interface Gathered {
  findings?: Finding[];
  facts?: { [key: string]: Json };
  metrics?: CheckOutcome["metrics"];
  counters?: Counters;
  /** Why something stayed unseen, and what would change that. */
  obstacle?: string | undefined;
}

/**
 * The verdict: what was found counts even when not everything could be seen; without a finding, an
 * obstacle makes it `not-assessable`, because silence is never a pass.
 */
export function conclude(gathered: Gathered): CheckOutcome {
  const findings = gathered.findings ?? [];
  const { obstacle } = gathered;
  return {
    verdict: findings.length > 0 ? "findings" : obstacle === undefined ? "pass" : "not-assessable",
    ...(obstacle === undefined ? {} : { reason: obstacle }),
    findings,
    facts: gathered.facts ?? {},
    metrics: gathered.metrics ?? [],
    ...(gathered.counters === undefined ? {} : { counters: gathered.counters }),
  };
}

export function metric(
  name: MetricName,
  value: number,
  dimensions: Record<string, string> = {},
): CheckOutcome["metrics"][number] {
  return { name, value, dimensions };
}

/**
 * Why this role cannot see what other roles' sessions do, with the statement that changes it; undefined
 * when it can. Without the right, PostgreSQL shows the rows with their contents left out, not an error.
 */
export async function whySessionsAreHidden(session: Session): Promise<string | undefined> {
  const rows = await session.query<{ visible: boolean }>(
    "select pg_has_role('pg_read_all_stats', 'usage') as visible",
  );
  if (rows[0]?.visible === true) return undefined;
  return `the role ${session.user} does not see other roles' sessions; as a superuser or the master user: ${grantMonitor(session)}`;
}

export function grantMonitor(session: Session): string {
  return `GRANT pg_monitor TO ${identifier(session.user)};`;
}

/** A position between two limits is not worth a page of digits. */
export function round(value: number, digits = 1): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}
