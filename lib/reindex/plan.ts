import { qualified } from "../postgres/identifiers.ts";
import type { BloatRange } from "./bloat.ts";
import type { IndexFacts } from "./index-facts.ts";
import type { MeasuredBloat } from "./measure.ts";

/** Why an index is rebuilt. */
export type Reason =
  | { kind: "interrupted" }
  | { kind: "invalid" }
  | { kind: "asked for" }
  | { kind: "bloat"; percent: number; wastedBytes: number; leafDensity: number | null }
  /** By the estimate alone: at least so much. */
  | { kind: "estimated bloat"; leastPercent: number };

/** One index to rebuild. */
export interface Work {
  facts: IndexFacts;
  reason: Reason;
  sql: string;
}

export interface Unconfirmed {
  facts: IndexFacts;
  estimate: BloatRange;
  why: string;
}

export interface Plan {
  /** In this order: what a killed run began, invalid ones, those asked for, those that waste most. */
  work: Work[];
  notPermitted: { facts: IndexFacts; reason: Reason; remedy: string }[];
  /** Cannot be rebuilt without keeping writers out. */
  notConcurrently: { facts: IndexFacts; why: string; sql: string }[];
  unconfirmed: Unconfirmed[];
  /** Invalid, and not worth a rebuild or not ours to touch. */
  invalid: { facts: IndexFacts; why: string; sql: string }[];
}

export interface Judged {
  interrupted: ReadonlySet<number>;
  estimates: ReadonlyMap<number, BloatRange>;
  measured: ReadonlyMap<number, MeasuredBloat>;
  unmeasured: ReadonlyMap<number, string>;
  minimumPercent: number;
  /** Act on estimates that leave no doubt. */
  unconfirmed: boolean;
}

/** Valid B-trees that may have so much bloat, those that may waste most first. */
export function worthMeasuring(
  indexes: readonly IndexFacts[],
  estimates: ReadonlyMap<number, BloatRange>,
  minimumPercent: number,
): IndexFacts[] {
  const possible = (index: IndexFacts) => (estimates.get(index.oid)?.mostPercent ?? 0) * index.pages;
  return indexes
    .filter(
      (index) =>
        index.isValid &&
        !index.isRequested &&
        !index.isSystem &&
        (estimates.get(index.oid)?.mostPercent ?? 0) >= minimumPercent,
    )
    .sort((a, b) => possible(b) - possible(a) || a.oid - b.oid);
}

/** Decides what to do about each index. Pure. */
export function plan(indexes: readonly IndexFacts[], judged: Judged): Plan {
  const result: Plan = { work: [], notPermitted: [], notConcurrently: [], unconfirmed: [], invalid: [] };
  for (const facts of indexes) {
    // Somebody is at it; whether it stays invalid is not known yet.
    if (!facts.isValid && facts.isBeingBuilt && !judged.interrupted.has(facts.oid)) continue;
    if (!facts.isValid && setAside(facts, result)) continue;
    const reason = reasonFor(facts, judged, result);
    if (reason === undefined) continue;
    if (facts.isExclusion) {
      result.notConcurrently.push({
        facts,
        why: "it enforces an exclusion constraint, which PostgreSQL cannot rebuild while others write",
        sql: `REINDEX INDEX ${qualified(facts.schema, facts.index)}`,
      });
    } else if (!facts.isPermitted) {
      result.notPermitted.push({ facts, reason, remedy: facts.obstacle ?? "" });
    } else {
      result.work.push({
        facts,
        reason,
        sql: `REINDEX INDEX CONCURRENTLY ${qualified(facts.schema, facts.index)}`,
      });
    }
  }
  result.work.sort(compareUrgency);
  result.unconfirmed.sort(
    (a, b) => b.estimate.mostPercent * b.facts.pages - a.estimate.mostPercent * a.facts.pages,
  );
  return result;
}

/** Notes an invalid index that a rebuild would be wrong for. */
function setAside(facts: IndexFacts, result: Plan): boolean {
  const sql = `DROP INDEX CONCURRENTLY ${qualified(facts.schema, facts.index)}`;
  if (!facts.isLive) {
    result.invalid.push({ facts, why: "somebody began to drop it: finish that", sql });
    return true;
  }
  if (facts.twin !== null) {
    const why = `${facts.twin} indexes the same and is valid: what a failed REINDEX CONCURRENTLY or CREATE INDEX CONCURRENTLY of somebody else has left`;
    result.invalid.push({ facts, why, sql });
    return true;
  }
  return false;
}

function reasonFor(facts: IndexFacts, judged: Judged, result: Plan): Reason | undefined {
  if (judged.interrupted.has(facts.oid)) return { kind: "interrupted" };
  if (!facts.isValid) return { kind: "invalid" };
  if (facts.isRequested) return { kind: "asked for" };
  const measured = judged.measured.get(facts.oid);
  if (measured !== undefined) {
    return measured.percent >= judged.minimumPercent ? { kind: "bloat", ...measured } : undefined;
  }
  const why = judged.unmeasured.get(facts.oid);
  const estimate = judged.estimates.get(facts.oid);
  if (why === undefined || estimate === undefined) return undefined;
  if (judged.unconfirmed && estimate.leastPercent >= judged.minimumPercent) {
    return { kind: "estimated bloat", leastPercent: estimate.leastPercent };
  }
  result.unconfirmed.push({ facts, estimate, why });
  return undefined;
}

const ranks: Record<Reason["kind"], number> = {
  interrupted: 0,
  invalid: 1,
  "asked for": 2,
  bloat: 3,
  "estimated bloat": 3,
};

function compareUrgency(a: Work, b: Work): number {
  return ranks[a.reason.kind] - ranks[b.reason.kind] || wasted(b) - wasted(a) || a.facts.oid - b.facts.oid;
}

function wasted({ reason, facts }: Work): number {
  if (reason.kind === "bloat") return reason.wastedBytes;
  return reason.kind === "estimated bloat" ? (reason.leastPercent / 100) * facts.pages * 8192 : 0;
}

/** Pages read and written: the table twice, the index once to write, sort and check each. */
export function pagesToProcess(facts: IndexFacts): number {
  return 2 * facts.tablePages + 2 * facts.pages;
}
