import { describe, expect, it } from "vitest";
import { adviceFor } from "../../lib/vacuum/advice.ts";
import type { AutovacuumState } from "../../lib/vacuum/autovacuum.ts";
import { triggersOf } from "../../lib/vacuum/triggers.ts";
import { defaults, holder } from "./samples.ts";

const now = Date.parse("2026-06-01T12:00:00Z");

/** A table that autovacuum looks after with the default settings, with these differences. */
function state(some: Partial<AutovacuumState> = {}): AutovacuumState {
  const rows = some.rows ?? 1_000;
  const options = some.parameters ?? [];
  const triggers = triggersOf({ relTuples: rows, relPages: 0, allFrozenPages: 0, options }, defaults);
  return {
    schema: "public",
    table: "orders",
    rows,
    bytes: rows * 100,
    deadRows: 0,
    insertedSinceVacuum: 0,
    changedSinceAnalyze: 0,
    lastVacuum: null,
    lastAutovacuum: "2026-06-01T11:00:00Z",
    lastAnalyze: null,
    lastAutoanalyze: null,
    vacuums: 0,
    autovacuums: 1,
    analyzes: 0,
    autoanalyzes: 0,
    inserts: 0,
    updates: 0,
    deletes: 0,
    perDay: { dead: null, inserted: null, changed: null, autovacuums: null },
    triggers: { dead: triggers.dead, inserted: triggers.inserted, changed: triggers.changed },
    autovacuumIsOn: true,
    parameters: [],
    ...some,
    share: { dead: (some.deadRows ?? 0) / triggers.dead, inserted: 0, changed: 0, age: 0, ...some.share },
  };
}

const perDay = (some: Partial<AutovacuumState["perDay"]>) => ({
  dead: null,
  inserted: null,
  changed: null,
  autovacuums: null,
  ...some,
});
const advice = (some: Partial<AutovacuumState>) => adviceFor([state(some)], [], now);
const sql = (some: Partial<AutovacuumState>) => advice(some).flatMap((one) => one.sql);

describe("advice", () => {
  it("is none for a table that does well with the defaults", () => {
    expect(advice({ rows: 500_000, deadRows: 10_000, perDay: perDay({ dead: 1e6, changed: 1e6 }) })).toEqual(
      [],
    );
  });

  it("lets a large table not wait for a fifth of its rows to die, and says how long that takes", () => {
    const [one] = advice({ rows: 100_000_000, deadRows: 5_000_000, perDay: perDay({ dead: 1_000_000 }) });
    expect(one).toMatchObject({
      sql: ['ALTER TABLE "public"."orders" SET (autovacuum_vacuum_scale_factor = 0.01)'],
      rollback: ['ALTER TABLE "public"."orders" RESET (autovacuum_vacuum_scale_factor)'],
      lock: expect.stringContaining("SHARE UPDATE EXCLUSIVE"),
    });
    expect(one?.why).toEqual([
      "autovacuum waits for 20,000,050 dead rows, which takes about 20 d 0 h at 1,000,000 a day: " +
        "at 1,000,000 each vacuum is short and the table does not bloat",
    ]);
  });

  it("does not have a table vacuumed all the time that changes all the time", () => {
    // 960 million dead rows a day are 10 million in a quarter of an hour.
    expect(sql({ rows: 100_000_000, perDay: perDay({ dead: 960_000_000 }) })).toEqual([
      'ALTER TABLE "public"."orders" SET (autovacuum_vacuum_scale_factor = 0.1)',
    ]);
    expect(sql({ rows: 100_000_000, perDay: perDay({ dead: 9_600_000_000 }) })).toEqual([]);
  });

  it("leaves a large table alone that is set already, or in which nothing dies", () => {
    expect(
      sql({
        rows: 100_000_000,
        perDay: perDay({ dead: 1e6 }),
        parameters: ["autovacuum_vacuum_scale_factor=0.01"],
      }),
    ).toEqual([]);
    expect(sql({ rows: 100_000_000 })).toEqual([]);
  });

  it("has rows that are only inserted frozen in smaller portions", () => {
    expect(sql({ rows: 100_000_000, perDay: perDay({ inserted: 200_000, changed: 200_000 }) })).toEqual([
      'ALTER TABLE "public"."orders" SET (autovacuum_vacuum_insert_scale_factor = 0.007, autovacuum_analyze_scale_factor = 0.02)',
    ]);
    expect(sql({ rows: 100_000_000, perDay: perDay({ inserted: 20_000_000 }) })).toEqual([]);
  });

  it("speeds up autovacuum where it is behind, and then takes away its rests", () => {
    const behind = { rows: 500_000, deadRows: 400_000 };
    expect(sql(behind)).toEqual(['ALTER TABLE "public"."orders" SET (autovacuum_vacuum_cost_limit = 2000)']);
    expect(sql({ ...behind, parameters: ["autovacuum_vacuum_cost_limit=2000"] })).toEqual([
      'ALTER TABLE "public"."orders" SET (autovacuum_vacuum_cost_delay = 0)',
    ]);
    expect(sql({ ...behind, lastAutovacuum: "2026-06-01T11:55:00Z" })).toEqual([]);
  });

  it("blames no parameter for what an old transaction holds back", () => {
    const behind = state({ rows: 500_000, deadRows: 400_000 });
    expect(adviceFor([behind], [holder({ ageSeconds: 3_600 })], now)).toEqual([]);
    expect(adviceFor([behind], [holder({ ageSeconds: 3_600, holds: "catalogs" })], now)).toHaveLength(1);
  });

  it("switches autovacuum on again, and goes back to what was there", () => {
    const [one] = advice({ autovacuumIsOn: false, parameters: ["autovacuum_enabled=false"] });
    expect(one?.sql).toEqual(['ALTER TABLE "public"."orders" RESET (autovacuum_enabled)']);
    expect(one?.rollback).toEqual(['ALTER TABLE "public"."orders" SET (autovacuum_enabled = false)']);
  });

  it("lets autovacuum come less often to a small table that it never leaves", () => {
    expect(sql({ rows: 100, perDay: perDay({ dead: 8_640_000, autovacuums: 1_400 }) })).toEqual([
      'ALTER TABLE "public"."orders" SET (autovacuum_vacuum_threshold = 30000)',
    ]);
    expect(sql({ rows: 100, perDay: perDay({ dead: 8_640_000, autovacuums: 100 }) })).toEqual([]);
  });

  it("is for the TOAST table by its own parameters, and reminds of partitions to come", () => {
    const [one] = advice({
      toast: true,
      partition: true,
      rows: 50_000_000,
      perDay: perDay({ dead: 500_000, changed: 500_000 }),
    });
    expect(one?.sql).toEqual([
      'ALTER TABLE "public"."orders" SET (toast.autovacuum_vacuum_scale_factor = 0.01)',
    ]);
    expect(one?.why.at(-1)).toContain("new ones need the same");
  });
});
