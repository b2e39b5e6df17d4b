import { describe, expect, it } from "vitest";
import type { Holder } from "../../lib/maintenance/horizon.ts";
import { Pace } from "../../lib/maintenance/pace.ts";
import { judge, shareBefore } from "../../lib/vacuum/held-back.ts";
import { pagesToProcess } from "../../lib/vacuum/pace.ts";
import { actionFor, plan, statementFor } from "../../lib/vacuum/plan.ts";
import { rank } from "../../lib/vacuum/rank.ts";
import type { Relation, ServerSettings } from "../../lib/vacuum/relation.ts";
import { bounded, type VacuumReport } from "../../lib/vacuum/report.ts";
import { defaults, holder, relation } from "./samples.ts";

function judged(one: Relation, holders: Holder[]) {
  const candidate = rank([one], defaults, 0.8)[0];
  if (candidate === undefined) throw new Error("not due");
  const verdict = judge(candidate, holders, 0.8);
  return {
    workable: verdict.workable.map((reason) => reason.counter),
    held: verdict.held.map((reason) => reason.counter),
    holders: verdict.holders,
  };
}

describe("what is held back", () => {
  it("is nothing without a holder, and nothing by one since whom nobody has written", () => {
    const dead = relation({ deadTuples: 100 });
    expect(judged(dead, [])).toMatchObject({ workable: ["dead rows"], held: [] });
    expect(judged(dead, [holder({ ageTransactions: 0, ageSeconds: 9_999 })])).toMatchObject({ held: [] });
  });

  it("is dead and inserted rows when the holder is older than the last vacuum, never ANALYZE", () => {
    const busy = relation({ deadTuples: 1e6, insertsSinceVacuum: 1e6, changesSinceAnalyze: 1e6 });
    const old = holder({ ageSeconds: 5_000 });
    expect(judged(busy, [old])).toEqual({
      workable: ["changed rows"],
      held: ["dead rows", "inserted rows"],
      holders: [old],
    });
  });

  it("is nothing as long as what died before the holder is due by itself", () => {
    expect(judged(relation({ deadTuples: 1e6 }), [holder()])).toMatchObject({ held: [] });
    expect(judged(relation({ deadTuples: 60 }), [holder()])).toMatchObject({ held: ["dead rows"] });
  });

  it("is a table's age only when the horizon is nearly as old", () => {
    const old = relation({ transactionIdAge: 190_000_000 });
    expect(judged(old, [holder({ ageTransactions: 189_000_000 })])).toMatchObject({
      held: ["transaction id age"],
    });
    expect(judged(old, [holder({ ageTransactions: 100_000_000 })])).toMatchObject({ held: [] });
    expect(judged(relation({ multixactAge: 390_000_000 }), [holder()])).toMatchObject({ held: [] });
  });

  it("is only a catalog for a logical slot's catalog_xmin", () => {
    const slot = holder({ kind: "replication slot", holds: "catalogs", abandoned: true, ageSeconds: null });
    const dead = { deadTuples: 1e6 };
    expect(judged(relation(dead), [slot])).toMatchObject({ held: [] });
    expect(judged(relation({ ...dead, schema: "pg_catalog" }), [slot])).toMatchObject({
      held: ["dead rows"],
    });
    expect(judged(relation({ ...dead, options: ["user_catalog_table=true"] }), [slot])).toMatchObject({
      held: ["dead rows"],
    });
  });

  it("is never what a person asked for by name", () => {
    const asked = relation({ deadTuples: 1e6, isRequested: true });
    expect(judged(asked, [holder({ ageSeconds: 9_999 })])).toMatchObject({ held: [] });
  });

  it("counts in transactions where times are not known, and takes a silent slot for old", () => {
    const one = relation({ transactionIdAge: 1_000, secondsSinceVacuum: null });
    expect(shareBefore(holder({ ageTransactions: 250 }), one, false)).toBe(0.75);
    expect(shareBefore(holder({ ageTransactions: 5_000 }), one, false)).toBe(0);
    expect(shareBefore(holder({ abandoned: true, ageSeconds: null }), one, false)).toBe(0);
  });
});

const effort = { parallelWorkers: 3, bufferUsageMegabytes: 16 };

describe("the action", () => {
  const decide = (one: Partial<Relation>, settings: ServerSettings = defaults, full = false) => {
    const emergency = false;
    const some = relation(one);
    return actionFor(some, rank([some], settings, 0.4)[0]?.reasons ?? [], settings, { full, emergency });
  };

  it("is what the reasons call for", () => {
    expect(decide({ deadTuples: 100 })).toEqual({
      vacuum: "plain",
      analyze: false,
      toastOnly: false,
      emergency: false,
    });
    expect(decide({ changesSinceAnalyze: 100 })).toMatchObject({ vacuum: "none", analyze: true });
    expect(decide({ deadTuples: 100, changesSinceAnalyze: 100 })).toMatchObject({
      vacuum: "plain",
      analyze: true,
    });
    expect(decide({ isUncounted: true })).toMatchObject({ vacuum: "none", analyze: true });
  });

  it("is a plain VACUUM for an age at which that is aggressive by itself, else FREEZE", () => {
    expect(decide({ transactionIdAge: 160_000_000 })).toMatchObject({ vacuum: "plain" });
    expect(decide({ transactionIdAge: 150_000_000 })).toMatchObject({ vacuum: "freeze" });
    expect(decide({ transactionIdAge: 99_000, options: ["autovacuum_freeze_max_age=100000"] })).toMatchObject(
      { vacuum: "freeze" },
    );
    expect(decide({ multixactAge: 390_000_000 })).toMatchObject({ vacuum: "plain" });
  });

  it("is FULL only for a table that was asked for", () => {
    expect(decide({ deadTuples: 1e6 }, defaults, true)).toMatchObject({ vacuum: "plain" });
    expect(decide({ isRequested: true }, defaults, true)).toMatchObject({ vacuum: "full", analyze: true });
  });

  it("is one statement that does not wait, and leaves the TOAST table's owner alone from 16 on", () => {
    const toastOnly = { vacuum: "plain", analyze: false, toastOnly: true, emergency: false } as const;
    const odd = relation({ schema: 'a"b', table: "c d" });
    expect(statementFor(odd, toastOnly, 150_018, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PARALLEL 0) "a""b"."c d"',
    );
    expect(statementFor(odd, toastOnly, 160_000, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PROCESS_MAIN FALSE, PARALLEL 0, SKIP_DATABASE_STATS) "a""b"."c d"',
    );
    const parent = relation({ kind: "partitioned table" });
    const analyze = { vacuum: "none", analyze: true, toastOnly: false, emergency: false } as const;
    expect(statementFor(parent, analyze, 170_010, effort)).toBe('ANALYZE (SKIP_LOCKED) "public"."orders"');
    expect(statementFor(parent, analyze, 180_004, effort)).toBe(
      'ANALYZE (SKIP_LOCKED) ONLY "public"."orders"',
    );
  });

  it("is only what makes the age young beyond the failsafe: no index, no truncation, every buffer", () => {
    const old = relation({ transactionIdAge: 1_700_000_000, changesSinceAnalyze: 1e6, indexPages: 1e6 });
    const [candidate] = rank([old], defaults, 0.8);
    expect(candidate?.beyondFailsafe).toBe(true);
    const action = actionFor(old, candidate?.reasons ?? [], defaults, { full: false, emergency: true });
    expect(action).toEqual({ vacuum: "plain", analyze: false, toastOnly: false, emergency: true });
    expect(statementFor(old, action, 170_000, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PARALLEL 0, BUFFER_USAGE_LIMIT 0, INDEX_CLEANUP OFF, TRUNCATE FALSE, SKIP_DATABASE_STATS) "public"."orders"',
    );
    expect(statementFor(old, action, 140_000, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PARALLEL 0, INDEX_CLEANUP OFF, TRUNCATE FALSE) "public"."orders"',
    );
    expect(pagesToProcess({ ...old, relPages: 500 }, action, 30_000)).toBe(500);
  });

  it("takes workers and buffers for large tables only", () => {
    const plain = { vacuum: "plain", analyze: false, toastOnly: false, emergency: false } as const;
    const large = relation({ relPages: 100_000, indexPages: 50_000 });
    expect(statementFor(large, plain, 160_000, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PARALLEL 3, BUFFER_USAGE_LIMIT \'16 MB\', SKIP_DATABASE_STATS) "public"."orders"',
    );
    expect(statementFor(large, plain, 150_000, effort)).toBe(
      'VACUUM (SKIP_LOCKED, PARALLEL 3) "public"."orders"',
    );
    const full = { ...plain, vacuum: "full" } as const;
    expect(statementFor(large, full, 160_000, effort)).toBe(
      'VACUUM (FULL, SKIP_LOCKED, SKIP_DATABASE_STATS) "public"."orders"',
    );
  });

  it("is nothing for a table that may not be vacuumed", () => {
    const denied = relation({ deadTuples: 100, isPermitted: false, obstacle: "GRANT …" });
    const planned = plan(rank([denied], defaults, 0.8), [], {
      settings: defaults,
      threshold: 0.8,
      full: false,
      serverVersionNumber: 170_000,
      effort,
    });
    expect(planned.work).toEqual([]);
    expect(planned.notPermitted).toHaveLength(1);
  });
});

describe("the predicted time", () => {
  it("follows what the run measures, and not its small tables", () => {
    const pace = new Pace();
    const guess = pace.predictSeconds(10_000);
    pace.learn(10, 5);
    expect(pace.predictSeconds(10_000)).toBe(guess);
    pace.learn(1_000_000, 1_000);
    expect(pace.pagesPerSecond).toBeGreaterThan(900);
    expect(pace.pagesPerSecond).toBeLessThan(1_100);
  });

  it("counts what the visibility map lets VACUUM skip, and all of it for a freeze", () => {
    const big = relation({ relPages: 1_000, allVisiblePages: 900, indexPages: 50 });
    const action = { vacuum: "plain", analyze: false, toastOnly: false, emergency: false } as const;
    expect(pagesToProcess(big, action, 30_000)).toBe(150);
    expect(pagesToProcess(big, { ...action, vacuum: "freeze" }, 30_000)).toBe(1_050);
    expect(pagesToProcess(big, { ...action, vacuum: "none", analyze: true }, 300)).toBe(300);
  });
});

describe("the report", () => {
  it("fits into a step's result however many tables there are and whatever they are called", () => {
    const table = "\u0001".repeat(63);
    const reasons = Array.from({ length: 9 }, () => ({
      counter: "transaction id age" as const,
      toast: true as const,
      value: 199_999_999,
      trigger: 200_000_000,
      ratio: 1,
    }));
    const entry = { schema: table, table, action: "VACUUM (FREEZE, ANALYZE)", reasons };
    const list = <T>(one: T) => ({ total: 10_000, tables: Array.from({ length: 10_000 }, () => one) });
    const report: VacuumReport = {
      considered: 10_000,
      due: 10_000,
      vacuumed: list({ ...entry, seconds: 1, deadBefore: 1, deadAfter: 1, pagesBefore: 1, pages: 1 }),
      skippedLocked: list({ ...entry, heldBy: table }),
      heldBack: { ...list({ ...entry, holders: [table] }), holders: [] },
      notPermitted: { ...list({ ...entry, remedy: table }), systemCatalogs: 0 },
      failed: list({ ...entry, error: table }),
      left: list({ ...entry, predictedSeconds: 1, why: table }),
      handedOver: list({
        schema: table,
        table,
        to: "autovacuum",
        state: "waits for autovacuum",
        sinceSeconds: 1,
        predictedSeconds: 1,
        sql: [table],
        undo: [table],
      }),
      takenBack: list({ schema: table, table, to: "pg_cron", outcome: table, afterSeconds: 1, sql: [] }),
      advice: list({ schema: table, table, why: [table], sql: [table], rollback: [table], lock: table }),
      budgetSeconds: 1,
      secondsUsed: 1,
      interrupted: false,
      dryRun: false,
      notes: [],
    };
    const small = bounded(report);
    expect(Buffer.byteLength(JSON.stringify(small))).toBeLessThan(256 * 1024);
    expect(small.vacuumed.total).toBe(10_000);
    expect(small.vacuumed.tables.length).toBeGreaterThan(5);
  });
});
