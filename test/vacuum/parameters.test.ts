import { describe, expect, it } from "vitest";
import { alterStatements, raisedParameters, restoringParameters } from "../../lib/vacuum/parameters.ts";
import { rank } from "../../lib/vacuum/rank.ts";
import type { Relation } from "../../lib/vacuum/relation.ts";
import { defaults, relation } from "./samples.ts";

const raised = (one: Partial<Relation>) => {
  const some = relation(one);
  return raisedParameters(some, rank([some], defaults, 0.8)[0]?.reasons ?? []);
};
const counters = relation();

describe("the parameters that make autovacuum take up a table", () => {
  it("only take its rests away where it would come by itself", () => {
    expect(raised({ deadTuples: 60, insertsSinceVacuum: 900, changesSinceAnalyze: 1e6 })).toEqual({
      autovacuum_vacuum_cost_delay: { set: "0", earlier: null },
    });
  });

  it("lower the trigger of what is due for pgkeep and not yet for autovacuum", () => {
    expect(raised({ deadTuples: 45, options: ["autovacuum_vacuum_scale_factor=0.0"] })).toEqual({
      autovacuum_vacuum_cost_delay: { set: "0", earlier: null },
      autovacuum_vacuum_threshold: { set: "40", earlier: null },
      autovacuum_vacuum_scale_factor: { set: "0", earlier: "0.0" },
    });
    expect(raised({ transactionIdAge: 180_000_000 })).toMatchObject({
      autovacuum_freeze_max_age: { set: "162000000", earlier: null },
    });
    expect(raised({ insertsSinceVacuum: 900 })).toMatchObject({
      autovacuum_vacuum_insert_threshold: { set: "810" },
      autovacuum_vacuum_insert_scale_factor: { set: "0" },
    });
  });

  it("switch autovacuum on where it is off, and say nothing of what is right already", () => {
    expect(
      raised({
        deadTuples: 60,
        options: ["autovacuum_enabled=off", "autovacuum_vacuum_cost_delay=0", "fillfactor=90"],
      }),
    ).toEqual({ autovacuum_enabled: { set: "true", earlier: "off" } });
  });

  it("are those of the TOAST table when that is due, with the triggers it had from its table", () => {
    const toast = { ...counters, deadTuples: 100, options: null };
    expect(raised({ toast })).toEqual({ "toast.autovacuum_vacuum_cost_delay": { set: "0", earlier: null } });
    expect(raised({ toast, options: ["autovacuum_vacuum_threshold=90"] })).toEqual({
      "toast.autovacuum_vacuum_cost_delay": { set: "0", earlier: null },
      "toast.autovacuum_vacuum_threshold": { set: "90", earlier: null },
      "toast.autovacuum_vacuum_scale_factor": { set: "0", earlier: null },
    });
  });
});

describe("putting back", () => {
  const parameters = {
    autovacuum_vacuum_cost_delay: { set: "0", earlier: null },
    autovacuum_vacuum_threshold: { set: "40", earlier: "50" },
    "toast.autovacuum_vacuum_cost_delay": { set: "0", earlier: "2.5" },
  };

  it("restores what was there, and leaves what somebody has changed since", () => {
    expect(
      restoringParameters(parameters, {
        options: ["autovacuum_vacuum_cost_delay=0", "autovacuum_vacuum_threshold=40"],
        toastOptions: ["autovacuum_vacuum_cost_delay=0"],
      }),
    ).toEqual({
      autovacuum_vacuum_cost_delay: null,
      autovacuum_vacuum_threshold: "50",
      "toast.autovacuum_vacuum_cost_delay": "2.5",
    });
    expect(
      restoringParameters(parameters, {
        options: ["autovacuum_vacuum_threshold=1000"],
        toastOptions: null,
      }),
    ).toEqual({});
  });

  it("is SQL that the server takes, whatever the value", () => {
    expect(alterStatements('"a"."b"', { x: "1.5", y: null, z: "it's", b: "true" })).toEqual([
      `ALTER TABLE "a"."b" SET (x = 1.5, z = 'it''s', b = true)`,
      'ALTER TABLE "a"."b" RESET (y)',
    ]);
    expect(alterStatements('"a"."b"', {})).toEqual([]);
  });
});
