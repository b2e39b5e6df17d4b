import type { ForeignKey } from "../constraints/foreign-keys.ts";
import type { IndexCatalogue, IndexEntry } from "./catalogue.ts";
import { requiredNotNull } from "./node-tree.ts";

/**
 * Whether a search for one value of the key finds its rows through this index: its leading columns are those of the
 * key in any order, by the columns' own collations, and it holds every row that has a value.
 */
export function covers(index: IndexEntry, key: ForeignKey): boolean {
  if (!index.isUsable || !holdsAllValues(index, key)) return false;
  const wanted = key.hasPeriod ? key.numbers.slice(0, -1) : key.numbers;
  const searchable =
    index.method === "btree" ||
    (index.method === "hash" && wanted.length === 1) ||
    (index.method === "gist" && key.hasPeriod);
  if (!searchable) return false;
  const leading = index.keys.slice(0, wanted.length);
  return (
    leading.length === wanted.length &&
    wanted.every((column, at) =>
      leading.some((one) => one.column === column && one.collation === (key.collations[at] ?? 0)),
    )
  );
}

/** Whether it narrows the search at least by some of the key's columns. */
export function narrows(index: IndexEntry, key: ForeignKey): boolean {
  const first = index.keys[0]?.column;
  return (
    index.isUsable &&
    index.method === "btree" &&
    first !== undefined &&
    key.numbers.includes(first) &&
    holdsAllValues(index, key)
  );
}

function holdsAllValues(index: IndexEntry, key: ForeignKey): boolean {
  if (index.predicate === null) return true;
  return requiredNotNull(index.predicate)?.every((column) => key.numbers.includes(column)) === true;
}

/** Keys that no index serves; of a partitioned table when neither it nor each of its partitions has one. */
export class KeyCover {
  private readonly children = new Map<number, ForeignKey[]>();
  private readonly catalogue: IndexCatalogue;

  constructor(keys: readonly ForeignKey[], catalogue: IndexCatalogue) {
    this.catalogue = catalogue;
    for (const key of keys) {
      if (key.parent === null) continue;
      const known = this.children.get(key.parent);
      if (known === undefined) this.children.set(key.parent, [key]);
      else known.push(key);
    }
  }

  isCovered(key: ForeignKey): boolean {
    if (this.indexesOf(key).some((index) => covers(index, key))) return true;
    // A key that refers to a partitioned table has children too, of the same table: they are no partitions of it.
    const parts = (this.children.get(key.oid) ?? []).filter((part) => part.tableOid !== key.tableOid);
    return parts.length > 0 && parts.every((part) => this.isCovered(part));
  }

  narrowing(key: ForeignKey): IndexEntry | undefined {
    return this.indexesOf(key).find((index) => narrows(index, key));
  }

  private indexesOf(key: ForeignKey): readonly IndexEntry[] {
    return this.catalogue.byTable.get(key.tableOid) ?? [];
  }
}

/** Indexes that serve some foreign key. */
export function supporting(keys: readonly ForeignKey[], catalogue: IndexCatalogue): Set<number> {
  const found = new Set<number>();
  for (const key of keys) {
    for (const index of catalogue.byTable.get(key.tableOid) ?? []) {
      if (covers(index, key)) found.add(index.oid);
    }
  }
  return found;
}
