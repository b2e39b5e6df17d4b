import type { Pace } from "../maintenance/pace.ts";
import type { Item } from "./items.ts";
import type { Look, Looks } from "./looks.ts";

/** An item that was cut off is tried again only with this much more time than it had. */
export const growth = 1.2;

/** What is known to be wrong is looked at again first where that takes at most this share of the budget. */
const quickShare = 0.25;

/**
 * The order of the run: what is known to be wrong and quickly seen again, then what was looked at longest ago, the
 * smallest of equals first. So everything is covered over some runs, however short each is, and whatever comes or goes.
 */
export function order(items: readonly Item[], looks: Looks, pace: Pace, budgetSeconds: number): Item[] {
  const rank = (item: Item): [number, string, number] => {
    const look = looks.get(item.key);
    const known = look?.problems !== null && look?.problems !== undefined && look.problems.length > 0;
    const quick = known && pace.predictSeconds(item.pages) <= budgetSeconds * quickShare;
    return [quick ? 0 : 1, quick ? "" : lastLook(look), item.pages];
  };
  return items
    .map((item) => ({ item, rank: rank(item) }))
    .sort((a, b) => a.rank[0] - b.rank[0] || compare(a.rank[1], b.rank[1]) || a.rank[2] - b.rank[2])
    .map(({ item }) => item);
}

/** One that was tried and cut off goes to the end of the line, or the others would never come. */
function lastLook(look: Look | undefined): string {
  if (look === undefined) return "";
  if (look.tooLongSeconds !== null) return look.attemptedAt;
  return look.checkedAt ?? "";
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
