import type { IndexEntry, IndexKey } from "./catalogue.ts";

const bothDirections = 3;

function sameKey(a: IndexKey, b: IndexKey, turned: boolean): boolean {
  return (
    a.column === b.column &&
    a.expression === b.expression &&
    a.operatorClass === b.operatorClass &&
    a.collation === b.collation &&
    (turned ? (a.options ^ bothDirections) === b.options : a.options === b.options)
  );
}

/** What two indexes have in common when they are the same index twice, as text. */
export function fingerprintOf(index: IndexEntry): string {
  const { tableOid, method, isUnique, nullsNotDistinct, keys, included, predicate } = index;
  const including = [...included].sort((a, b) => a - b);
  return JSON.stringify([tableOid, method, isUnique, nullsNotDistinct, keys, including, predicate]);
}

/**
 * Whether `wide` answers whatever `narrow` answers, and enforces whatever it enforces: a B-tree of the same rows
 * whose first key columns are those of `narrow`, in the same or in exactly the opposite order (B-trees are read
 * in both), and which holds the columns that `narrow` includes.
 */
export function serves(wide: IndexEntry, narrow: IndexEntry): boolean {
  if (wide.oid === narrow.oid || wide.tableOid !== narrow.tableOid) return false;
  if (wide.method !== "btree" || narrow.method !== "btree") return false;
  if (wide.predicate !== narrow.predicate || wide.keys.length < narrow.keys.length) return false;
  if (narrow.isUnique) {
    const sameRule =
      wide.isUnique &&
      wide.nullsNotDistinct === narrow.nullsNotDistinct &&
      wide.keys.length === narrow.keys.length;
    if (!sameRule) return false;
  }
  const isPrefix = [false, true].some((turned) =>
    narrow.keys.every((key, at) => {
      const other = wide.keys[at];
      return other !== undefined && sameKey(key, other, turned);
    }),
  );
  if (!isPrefix) return false;
  const held = new Set([...wide.included, ...wide.keys.map((key) => key.column)]);
  return narrow.included.every((column) => held.has(column));
}
