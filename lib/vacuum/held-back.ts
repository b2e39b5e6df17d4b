import type { Holder } from "../maintenance/horizon.ts";
import type { Candidate } from "./rank.ts";
import type { Relation } from "./relation.ts";
import type { Reason } from "./triggers.ts";

/** What the horizon leaves of a candidate. */
export interface Verdict {
  /** Reasons on which work helps now. */
  workable: Reason[];
  /** Reasons on which VACUUM would achieve next to nothing until the holders are gone. */
  held: Reason[];
  holders: Holder[];
}

/** Part of a table's age that a vacuum has to win to be worth its reading. */
const worthwhileAgeGain = 0.1;

/**
 * Sorts a candidate's reasons by whether something holds them back. Dead rows: only what died before the
 * holder began can be removed, and when that was is not recorded, so they are taken to have come evenly since
 * the last vacuum; if what can go is itself not due, the rest waits. Inserted rows: the same, for a page with
 * rows newer than the horizon does not become all-visible, and a vacuum now would set the counter to zero
 * without having done the work. Ages: worked on unless the horizon is nearly as old as the table.
 * What a person asked for by name is done.
 */
export function judge(candidate: Candidate, holders: readonly Holder[], threshold: number): Verdict {
  const { relation } = candidate;
  const concerned = holders.filter(
    (holder) => holder.ageTransactions > 0 && (holder.holds === "everything" || countsAsCatalog(relation)),
  );
  const asked = candidate.reasons.some((reason) => reason.counter === "asked for");
  if (concerned.length === 0 || asked) return { workable: candidate.reasons, held: [], holders: [] };
  const verdict: Verdict = { workable: [], held: [], holders: [] };
  const culprits = new Set<Holder>();
  for (const reason of candidate.reasons) {
    const against = concerned.filter((holder) => holdsBack(holder, reason, relation, threshold));
    (against.length === 0 ? verdict.workable : verdict.held).push(reason);
    for (const holder of against) culprits.add(holder);
  }
  verdict.holders = concerned.filter((holder) => culprits.has(holder));
  return verdict;
}

function holdsBack(holder: Holder, reason: Reason, relation: Relation, threshold: number): boolean {
  switch (reason.counter) {
    case "dead rows":
    case "inserted rows":
      return reason.ratio * shareBefore(holder, relation, reason.toast === true) < threshold;
    case "transaction id age":
      return holder.ageTransactions > reason.value * (1 - worthwhileAgeGain);
    default:
      return false;
  }
}

/**
 * Share of the time since the last vacuum that had passed when the holder began: 1 when it is new, 0 when it
 * is older than the last vacuum. Counted in transactions since the table began where times are not known;
 * a slot that nothing reads and that does not say since when is taken to be old.
 */
export function shareBefore(holder: Holder, relation: Relation, toast: boolean): number {
  if (holder.ageTransactions <= 0) return 1;
  if (holder.ageSeconds !== null && relation.secondsSinceVacuum !== null) {
    return share(holder.ageSeconds, relation.secondsSinceVacuum);
  }
  if (holder.abandoned && holder.ageSeconds === null) return 0;
  const window = (toast ? relation.toast : relation)?.transactionIdAge ?? relation.transactionIdAge;
  return share(holder.ageTransactions, window);
}

function share(age: number, window: number): number {
  return window <= 0 ? 1 : Math.min(1, Math.max(0, (window - age) / window));
}

/** Rows of catalogs, and of tables that logical decoding reads as such, stay for a slot's catalog_xmin. */
function countsAsCatalog(relation: Relation): boolean {
  return (
    relation.schema === "pg_catalog" ||
    (relation.options ?? []).some((option) => /^user_catalog_table=(?:t|on|1|y)/i.test(option))
  );
}
