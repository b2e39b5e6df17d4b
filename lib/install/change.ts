/** `create` and `grant` bring what is missing, `repair` and `revoke` undo what differs. */
export type ChangeKind = "create" | "repair" | "grant" | "revoke";

/** One difference between what should be and what is, with the statement that removes it. */
export interface Change {
  kind: ChangeKind;
  /** May hold several statements; runs in the transaction of the whole plan. */
  sql: string;
  /** What is not as it should be: "role shop_reader has INSERT on shop.orders". */
  reason: string;
  /** What was true and what became of it, for the report: "shop_reader had INSERT on shop.orders: revoked". */
  result: string;
  /** Whether pgkeep's work depends on it; one that cannot be made stops the installation. */
  required: boolean;
  /** When the installing user may not do it: who may. */
  needs?: string;
  /** Runs under a savepoint: the server may refuse it, and the rest goes on. */
  attempt?: boolean;
  /** Gives objects to another owner, for which each is locked exclusively. */
  moves?: boolean;
  /** Locks so much that it gets a transaction of its own, after the others. */
  apart?: boolean;
}

/** What cannot be changed by the installing user, with the statement for whoever can. */
export interface BlockedChange extends Change {
  needs: string;
}

export const isBlocked = (change: Change): change is BlockedChange => change.needs !== undefined;

/** "a, b, c and 7 more": names for a sentence. */
export function enumerate(names: readonly string[], shown = 5): string {
  if (names.length <= shown) return names.join(", ");
  return `${names.slice(0, shown - 1).join(", ")} and ${names.length - shown + 1} more`;
}

export function chunks<T>(items: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let start = 0; start < items.length; start += size) result.push(items.slice(start, start + size));
  return result;
}
