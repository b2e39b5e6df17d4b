import { describe, expect, it } from "vitest";
import { parseReindexArguments } from "../../lib/reindex/arguments.ts";
import { type BtreeColumn, type BtreeFacts, estimateBloat, measuredBloat } from "../../lib/reindex/bloat.ts";
import { readIndexes } from "../../lib/reindex/index-facts.ts";
import { isNameOf } from "../../lib/reindex/leftovers.ts";
import { estimateAll } from "../../lib/reindex/statistics.ts";
import { useServer } from "../helpers/postgres.ts";

const column = (more: Partial<BtreeColumn> = {}): BtreeColumn => ({
  isKey: true,
  length: 4,
  alignment: 4,
  statistics: { averageWidth: 4, nullFraction: 0, distinct: -1 },
  ...more,
});
const facts = (more: Partial<BtreeFacts> = {}): BtreeFacts => ({
  pages: 2745,
  blockBytes: 8192,
  fillFactor: 90,
  rows: { least: 1_000_000, most: 1_000_000 },
  deduplicates: false,
  columns: [column()],
  ...more,
});

describe("the estimate of bloat", () => {
  it("finds none in a new index of a million integers, which has 2,745 pages", () => {
    expect(estimateBloat(facts()).mostPercent).toBeLessThan(2);
  });

  it("knows nothing where nobody has counted the rows, and does not suspect the smallest", () => {
    expect(estimateBloat(facts({ rows: null }))).toEqual({ leastPercent: 0, mostPercent: 100 });
    expect(estimateBloat(facts({ rows: null, pages: 2 }))).toEqual({ leastPercent: 0, mostPercent: 0 });
  });

  it("is certain of nothing about a text without statistics", () => {
    const range = estimateBloat(facts({ columns: [column({ length: -1, statistics: null })] }));
    expect(range.leastPercent).toBe(0);
  });

  it("takes an index whose rows are gone for bloated", () => {
    const { leastPercent, mostPercent } = estimateBloat(facts({ rows: { least: 1000, most: 1000 } }));
    expect(leastPercent).toBeGreaterThan(99);
    expect(mostPercent).toBeLessThanOrEqual(100);
  });
});

describe("the measurement", () => {
  it("is what a rebuild at the fill factor would free", () => {
    const measured = {
      indexBytes: 1001 * 8192,
      treeLevel: 1,
      innerPages: 10,
      leafPages: 990,
      leafDensity: 45,
    };
    expect(measuredBloat(measured, 90, 8192).percent).toBeCloseTo(50, 0);
    expect(measuredBloat({ ...measured, leafDensity: 90 }, 90, 8192).wastedBytes).toBe(0);
    expect(measuredBloat({ ...measured, leafDensity: null }, 90, 8192).percent).toBeGreaterThan(99);
  });
});

describe("the estimate against real indexes that were just built", () => {
  const server = useServer(undefined, { settings: { autovacuum: "off" } });

  it("has the truth, no bloat, between its limits", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query(
      "create table public.t (id int, big bigint, small smallint, code text, few text, maybe int, at timestamptz)",
    );
    await session.query(`insert into public.t select i, i, i % 100, md5(i::text), 'value ' || i % 20,
      case when i % 2 = 0 then i end, now() + i * interval '1 second' from generate_series(1, 50000) i`);
    const definitions = [
      "(id)",
      "(big, id)",
      "(small)",
      "(code)",
      "(few)",
      "(maybe)",
      "(few, code)",
      "(small, big)",
      "(at, small)",
      "(lower(code))",
      "(code) where small < 50",
      "(id) include (code)",
      "(few) with (fillfactor = 50)",
      "(few) with (deduplicate_items = off)",
    ];
    for (const [n, definition] of definitions.entries())
      await session.query(`create index i${n} on public.t ${definition}`);
    await session.query("create unique index u on public.t (code)");
    await session.query("vacuum (analyze) public.t");
    const indexes = await readIndexes(session, { minimumBytes: 0, interrupted: new Set() });
    const estimates = await estimateAll(session, indexes, 8192);
    expect(indexes).toHaveLength(definitions.length + 2);
    const shown = indexes
      .filter((index) => index.toastOf === null)
      .map(
        (index) =>
          [definitions[Number(index.index.slice(1))] ?? index.index, estimates.get(index.oid)] as const,
      );
    expect(shown).toHaveLength(definitions.length + 1);
    for (const [definition, range] of shown) {
      expect(range?.leastPercent, definition).toBeLessThan(8);
      expect(range?.mostPercent, definition).toBeLessThan(30);
    }
    await session.close();
  });
});

describe("names that the server makes", () => {
  it.each([
    ["orders_idx", "orders_idx_ccnew", "new", true],
    ["orders_idx", "orders_idx_ccnew3", "new", true],
    ["orders_idx", "orders_idx_ccold", "new", false],
    ["orders_idx", "orders_ccnew", "new", false],
    ["orders", "orders_idx_ccnew", "new", false],
    ["orders_idx", "orders_idx_ccold12", "old", true],
    ["x".repeat(63), `${"x".repeat(57)}_ccnew`, "new", true],
    ["x".repeat(63), `${"x".repeat(40)}_ccnew`, "new", false],
    ["ü".repeat(31), `${"ü".repeat(28)}_ccnew`, "new", true],
  ] as const)("%s → %s (%s): %s", (base, name, kind, expected) => {
    expect(isNameOf(base, name, kind)).toBe(expected);
  });
});

describe("arguments", () => {
  it("are read as SQL reads names", () => {
    expect(
      parseReindexArguments({
        indexes: ['Public."Order Idx"', { schema: "s", index: "i" }],
        tables: ["a.b"],
      }),
    ).toEqual({
      indexes: [
        { schema: "public", index: "Order Idx" },
        { schema: "s", index: "i" },
      ],
      tables: [{ schema: "a", table: "b" }],
    });
  });

  it.each([{ index: "x" }, { indexes: [] }, { indexes: ["x"] }, { budgetSeconds: 0 }])(
    "refuse %j",
    (given) => {
      expect(() => parseReindexArguments(given)).toThrow();
    },
  );
});
