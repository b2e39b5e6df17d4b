import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareUrgency, rank } from "../../lib/vacuum/rank.ts";
import type { Counters, Relation, ServerSettings } from "../../lib/vacuum/relation.ts";
import { isBeyondFailsafe, reasonsOf, triggersOf } from "../../lib/vacuum/triggers.ts";
import { defaults, relation } from "./samples.ts";

describe("triggers", () => {
  it("are base plus scale times reltuples, as autovacuum.c has them", () => {
    expect(triggersOf(relation({ relTuples: 10_000 }), defaults)).toEqual({
      dead: 50 + 0.2 * 10_000,
      inserted: 1_000 + 0.2 * 10_000,
      changed: 50 + 0.1 * 10_000,
      transactionIdAge: 200_000_000,
      multixactAge: 400_000_000,
    });
  });

  it("take a table that nobody has looked at as empty", () => {
    expect(triggersOf(relation({ relTuples: -1 }), defaults)).toMatchObject({ dead: 50, changed: 50 });
  });

  it("are capped for dead rows by autovacuum_vacuum_max_threshold, which a table may lift", () => {
    const settings = { ...defaults, vacuumMaxThreshold: 100_000_000 };
    const big = { relTuples: 2_000_000_000 };
    expect(triggersOf(relation(big), settings).dead).toBe(100_000_000);
    expect(
      triggersOf(relation({ ...big, options: ["autovacuum_vacuum_max_threshold=-1"] }), settings).dead,
    ).toBeCloseTo(400_000_050, 0);
  });

  it("scale inserts by what is not frozen (18)", () => {
    const frozen = relation({ relTuples: 10_000, relPages: 100, allFrozenPages: 75 });
    expect(triggersOf(frozen, defaults).inserted).toBe(1_000 + 0.2 * 10_000 * 0.25);
    expect(triggersOf({ ...frozen, allFrozenPages: 500 }, defaults).inserted).toBe(1_000);
  });

  it("know no inserts where they are switched off", () => {
    const off = relation({ options: ["autovacuum_vacuum_insert_threshold=-1"], insertsSinceVacuum: 1e9 });
    expect(triggersOf(off, defaults).inserted).toBeNull();
    expect(reasonsOf(off, defaults)).toEqual([]);
  });

  it("let a table lower the ages, never raise them", () => {
    const ages = (value: number) =>
      triggersOf(
        relation({
          options: [`autovacuum_freeze_max_age=${value}`, `autovacuum_multixact_freeze_max_age=${value}`],
        }),
        defaults,
      );
    expect(ages(100_000)).toMatchObject({ transactionIdAge: 100_000, multixactAge: 100_000 });
    expect(ages(2_000_000_000)).toMatchObject({ transactionIdAge: 200_000_000, multixactAge: 400_000_000 });
  });

  it("ignore storage parameters that mean something else, and broken ones", () => {
    const odd = ["fillfactor=70", "autovacuum_enabled=false", "autovacuum_vacuum_threshold=", "x"];
    expect(triggersOf(relation({ options: odd }), defaults).dead).toBe(50 + 0);
  });

  it("use the owner's parameters for a TOAST table that has none of its own", () => {
    const toast = (options: string[] | null): Counters => ({ ...counters, deadTuples: 100, options });
    const owner = { options: ["autovacuum_vacuum_threshold=1000"] };
    expect(reasonsOf(relation({ ...owner, toast: toast(null) }), defaults)[0]).toMatchObject({
      counter: "dead rows",
      toast: true,
      trigger: 1000,
    });
    expect(
      reasonsOf(relation({ ...owner, toast: toast(["autovacuum_enabled=true"]) }), defaults)[0],
    ).toMatchObject({ trigger: 50 });
  });

  it("leave only the ages when the server does not count", () => {
    const busy = relation({ deadTuples: 1e6, changesSinceAnalyze: 1e6, transactionIdAge: 199_000_000 });
    expect(reasonsOf(busy, { ...defaults, countsTracked: false }).map((reason) => reason.counter)).toEqual([
      "transaction id age",
    ]);
  });

  it("never call for ANALYZE of pg_statistic, which refuses it", () => {
    const statistic = relation({ schema: "pg_catalog", table: "pg_statistic", changesSinceAnalyze: 1e6 });
    expect(reasonsOf(statistic, defaults)).toEqual([]);
  });
});

describe("the failsafe", () => {
  it("is at least 105 % of the age for autovacuum", () => {
    const settings: ServerSettings = { ...defaults, failsafeAge: 100, freezeMaxAge: 1_000 };
    expect(isBeyondFailsafe(relation({ transactionIdAge: 1_050 }), settings)).toBe(false);
    expect(isBeyondFailsafe(relation({ transactionIdAge: 1_051 }), settings)).toBe(true);
  });

  it("counts multixacts and TOAST tables too", () => {
    expect(isBeyondFailsafe(relation({ multixactAge: 1_600_000_001 }), defaults)).toBe(true);
    expect(
      isBeyondFailsafe(relation({ toast: { ...counters, transactionIdAge: 1_700_000_000 } }), defaults),
    ).toBe(true);
  });
});

describe("ranking", () => {
  it("puts the largest ratio first, whichever counter it is", () => {
    const ranked = rank(
      [
        relation({ oid: 1, table: "dead", deadTuples: 100 }),
        relation({ oid: 2, table: "old", transactionIdAge: 190_000_000 }),
        relation({ oid: 3, table: "inserted", insertsSinceVacuum: 5_000 }),
        relation({ oid: 4, table: "clean", deadTuples: 3 }),
      ],
      defaults,
      0.8,
    );
    expect(ranked.map((candidate) => candidate.relation.table)).toEqual(["inserted", "dead", "old"]);
  });

  it("puts what is beyond the failsafe before any ratio", () => {
    const ranked = rank(
      [
        relation({ oid: 1, table: "bloated", deadTuples: 1e9 }),
        relation({ oid: 2, table: "doomed", transactionIdAge: 1_700_000_000 }),
      ],
      defaults,
      0.8,
    );
    expect(ranked.map((candidate) => candidate.relation.table)).toEqual(["doomed", "bloated"]);
  });

  it("takes a table exactly at the threshold, and none below", () => {
    const at = (deadTuples: number) => rank([relation({ deadTuples })], defaults, 0.8).length;
    expect(at(40)).toBe(1);
    expect(at(39)).toBe(0);
  });

  it("takes what nobody has counted since the statistics began", () => {
    expect(rank([relation({ isUncounted: true })], defaults, 10)[0]?.reasons).toEqual([
      { counter: "unknown contents", value: 1, trigger: 1, ratio: 1 },
    ]);
  });

  it("is a total order with the failsafe first, whatever the tables are like", () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyRelation, { selector: (one) => one.oid, maxLength: 30 }), (relations) => {
        const ranked = rank(relations, defaults, 0.8);
        const first = ranked.findIndex((candidate) => !candidate.beyondFailsafe);
        if (first >= 0) expect(ranked.slice(first).some((candidate) => candidate.beyondFailsafe)).toBe(false);
        for (const [i, a] of ranked.entries()) {
          expect(a.reasons.length).toBeGreaterThan(0);
          for (const b of ranked.slice(i + 1)) {
            expect(compareUrgency(a, b)).toBeLessThan(0);
            expect(compareUrgency(b, a)).toBeGreaterThan(0);
          }
        }
        const shuffled = rank([...relations].reverse(), defaults, 0.8);
        expect(shuffled.map((one) => one.relation.oid)).toEqual(ranked.map((one) => one.relation.oid));
      }),
    );
  });

  it("never loses a table that autovacuum would work on", () => {
    fc.assert(
      fc.property(anyRelation, (one) => {
        const triggers = triggersOf(one, defaults);
        const wanted =
          one.deadTuples > triggers.dead ||
          one.changesSinceAnalyze > triggers.changed ||
          one.insertsSinceVacuum > (triggers.inserted ?? Number.POSITIVE_INFINITY) ||
          one.transactionIdAge > triggers.transactionIdAge ||
          one.multixactAge > triggers.multixactAge;
        if (wanted) expect(rank([one], defaults, 1)).toHaveLength(1);
      }),
    );
  });
});

const counters: Counters = {
  deadTuples: 0,
  insertsSinceVacuum: 0,
  changesSinceAnalyze: 0,
  relTuples: 0,
  relPages: 0,
  allVisiblePages: 0,
  allFrozenPages: 0,
  transactionIdAge: 0,
  multixactAge: 0,
  options: null,
};

const count = fc.nat({ max: 2_000_000_000 });
const anyRelation: fc.Arbitrary<Relation> = fc
  .record({
    oid: fc.nat(),
    table: fc.string({ minLength: 1, maxLength: 3 }),
    deadTuples: fc.oneof(count, fc.nat({ max: 100 })),
    insertsSinceVacuum: count,
    changesSinceAnalyze: fc.oneof(count, fc.nat({ max: 100 })),
    relTuples: fc.oneof(fc.constant(-1), count),
    transactionIdAge: count,
    multixactAge: count,
    isUncounted: fc.boolean(),
  })
  .map((some) => relation(some));
