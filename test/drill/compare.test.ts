import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tableKey } from "../../lib/drill/catalog.ts";
import { compareTables, type PrimaryNow, type RestoredTable } from "../../lib/drill/compare.ts";
import type { Manifest, ManifestTable } from "../../lib/drill/manifest.ts";

const table: ManifestTable = {
  oid: 16400,
  schema: "public",
  name: "orders",
  filenode: 16400,
  columns: "c",
  estimatedRows: 100,
  rows: 100,
  hash: "100:1",
  inserted: 120,
  updated: 5,
  deleted: 20,
};

function manifestOf(...tables: ManifestTable[]): Manifest {
  return {
    formatVersion: 1,
    backupId: "b",
    takenAt: "2026-01-01T00:00:00Z",
    database: "shop",
    serverVersionNumber: 170_000,
    systemIdentifier: "1",
    snapshot: "1:1:",
    transactionsCommitted: 1000,
    tables,
    indexes: 0,
    constraints: 0,
    sequences: 0,
    unread: [],
    seconds: 0,
  };
}

const mapOf = <T extends { schema: string; name: string }>(...tables: T[]) =>
  new Map(tables.map((entry) => [tableKey(entry), entry]));
const restoredAs = (rows: number, hash: string): RestoredTable => ({
  schema: "public",
  name: "orders",
  columns: "c",
  rows,
  hash,
});
const primaryWith = (change: Partial<ManifestTable> = {}, transactionsCommitted = 2000): PrimaryNow => ({
  transactionsCommitted,
  tables: mapOf({ ...table, ...change }),
});

function verdict(
  restored: RestoredTable | undefined,
  primary: PrimaryNow | undefined,
  expected: ManifestTable = table,
) {
  const found: Map<string, RestoredTable> = restored === undefined ? new Map() : mapOf(restored);
  return compareTables(manifestOf(expected), found, primary)[0]?.verdict;
}

describe("a table that nothing changed since the manifest", () => {
  it("must have the same contents", () => {
    expect(verdict(restoredAs(100, "100:1"), primaryWith())).toEqual({ kind: "identical", by: "contents" });
    expect(verdict(restoredAs(100, "100:2"), primaryWith())).toEqual({
      kind: "suspect",
      reason: "its contents differ, although nothing changed it since the backup",
    });
    expect(verdict(restoredAs(99, "99:1"), primaryWith())).toMatchObject({
      kind: "suspect",
      reason: "it has 99 rows, and had 100, although nothing changed it since the backup",
    });
  });

  it("without a hash must have as many rows", () => {
    const { hash: _, ...counted } = table;
    expect(verdict({ ...restoredAs(100, ""), hash: "x" }, primaryWith(), counted)).toEqual({
      kind: "identical",
      by: "rows",
    });
    expect(verdict(restoredAs(101, ""), primaryWith(), counted)).toMatchObject({ kind: "suspect" });
  });
});

describe("a table that was changed since", () => {
  it("may have lost what was deleted and won what was inserted, no more", () => {
    const primary = primaryWith({ inserted: 130, deleted: 24, updated: 7 });
    for (const rows of [96, 100, 110]) {
      expect(verdict(restoredAs(rows, "x"), primary)).toEqual({
        kind: "within-bounds",
        least: 96,
        most: 110,
      });
    }
    for (const rows of [95, 111]) {
      expect(verdict(restoredAs(rows, "x"), primary)).toMatchObject({
        kind: "suspect",
        bounds: { least: 96, most: 110 },
      });
    }
  });

  it("is never called wrong for a history that really happened", () => {
    const operation = fc.record({
      kind: fc.constantFrom("insert", "update", "delete"),
      rows: fc.integer({ min: 1, max: 50 }),
      rolledBack: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(operation), fc.array(operation), (before, after) => {
        let rows = table.rows as number;
        const counters = { inserted: table.inserted, updated: table.updated, deleted: table.deleted };
        const play = (operations: typeof before) => {
          for (const { kind, rows: wanted, rolledBack } of operations) {
            const touched = kind === "insert" ? wanted : Math.min(wanted, rows);
            if (kind === "insert") counters.inserted += touched;
            else if (kind === "update") counters.updated += touched;
            else counters.deleted += touched;
            if (rolledBack) continue;
            if (kind === "insert") rows += touched;
            if (kind === "delete") rows -= touched;
          }
        };
        play(before);
        const restored = restoredAs(rows, "changed");
        play(after);
        const quiet = before.length === 0;
        const answer = verdict(quiet ? restoredAs(rows, "100:1") : restored, primaryWith(counters));
        expect(answer?.kind).toBe(quiet ? "identical" : "within-bounds");
      }),
    );
  });
});

describe("what cannot be compared is said, not passed", () => {
  const changed = restoredAs(3, "3:9");
  it.each([
    ["the table was truncated", changed, primaryWith({ filenode: 16500 }), /truncated or rewritten/],
    ["the columns were changed", changed, primaryWith({ columns: "d" }), /columns were changed/],
    ["the statistics were reset", changed, primaryWith({ inserted: 3 }), /statistics were reset/],
    ["a crash reset them all", changed, primaryWith({}, 10), /statistics were reset/],
    ["the primary is gone", changed, undefined, /primary cannot say/],
    ["it could not be read", { ...changed, rows: undefined, unread: "no right" }, primaryWith(), /no right/],
    ["it was dropped and made again", changed, primaryWith({ oid: 16999 }), /dropped since/],
    ["it is between being dropped and made again", undefined, primaryWith({ oid: 16999 }), /dropped/],
    ["it was dropped before", undefined, { transactionsCommitted: 2000, tables: new Map() }, /dropped/],
  ] as [string, RestoredTable | undefined, PrimaryNow | undefined, RegExp][])(
    "%s",
    (_, restored, primary, reason) => {
      expect(verdict(restored, primary)).toEqual({
        kind: "not-assessable",
        reason: expect.stringMatching(reason),
      });
    },
  );

  it("a table that exists on the primary and not in the restored database is lost", () => {
    expect(verdict(undefined, primaryWith())).toEqual({ kind: "failed", reason: "it is missing" });
    expect(verdict(undefined, undefined)).toEqual({ kind: "failed", reason: "it is missing" });
  });

  it("equal contents need no counters", () => {
    expect(verdict(restoredAs(100, "100:1"), undefined)).toEqual({ kind: "identical", by: "contents" });
    expect(verdict(restoredAs(100, "100:1"), primaryWith({}, 10))).toEqual({
      kind: "identical",
      by: "contents",
    });
  });
});
