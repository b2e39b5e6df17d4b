import type { ReviewContext } from "./review-check.ts";

/** What a check's proofs may take of what is left of the budget, and at most. */
const share = 0.1;
const mostMilliseconds = 5_000;
/** So much is left for the checks that need no proof. */
const reserveMilliseconds = 1_000;

/**
 * Whether there is time for another proof (EXPLAIN, counting rows), from now on for one check. One that is begun ends
 * by the statement timeout.
 */
export function proofTime({ budget }: Pick<ReviewContext, "budget">): () => boolean {
  const atFirst = budget.left();
  const until = atFirst - Math.min(mostMilliseconds, atFirst * share);
  return () => budget.left() > Math.max(until, reserveMilliseconds);
}
