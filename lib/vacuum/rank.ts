import type { Relation, ServerSettings } from "./relation.ts";
import { isBeyondFailsafe, type Reason, reasonsOf } from "./triggers.ts";

/** A relation with what speaks for working on it. */
export interface Candidate {
  relation: Relation;
  /** Those that reached the threshold, the largest ratio first. */
  reasons: Reason[];
  beyondFailsafe: boolean;
}

/**
 * The relations for which a counter has reached `threshold` (a share of its own trigger), most urgent first:
 * those beyond the failsafe, then by the largest ratio, then by name. A total order, so that two runs on the
 * same state do the same.
 */
export function rank(
  relations: readonly Relation[],
  settings: ServerSettings,
  threshold: number,
): Candidate[] {
  const due: Candidate[] = [];
  for (const relation of relations) {
    const reasons = reasonsOf(relation, settings).filter(
      (reason) =>
        reason.counter === "asked for" || reason.counter === "unknown contents" || reason.ratio >= threshold,
    );
    if (reasons.length > 0) {
      due.push({ relation, reasons, beyondFailsafe: isBeyondFailsafe(relation, settings) });
    }
  }
  return due.sort(compareUrgency);
}

export function compareUrgency(a: Candidate, b: Candidate): number {
  if (a.beyondFailsafe !== b.beyondFailsafe) return a.beyondFailsafe ? -1 : 1;
  const byRatio = urgency(b) - urgency(a);
  if (byRatio !== 0) return byRatio;
  return (
    compareText(a.relation.schema, b.relation.schema) ||
    compareText(a.relation.table, b.relation.table) ||
    a.relation.oid - b.relation.oid
  );
}

function urgency(candidate: Candidate): number {
  return candidate.reasons[0]?.ratio ?? 0;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
