import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../lib/errors.ts";
import { parseTableName } from "../../lib/maintenance/table-name.ts";
import { qualified } from "../../lib/postgres/identifiers.ts";
import { parseVacuumArguments } from "../../lib/vacuum/arguments.ts";

describe("table names", () => {
  it("are read as SQL reads them", () => {
    expect(parseTableName("public.Orders")).toEqual({ schema: "public", table: "orders" });
    expect(parseTableName(' "Sales" . "Order ""Lines""" ')).toEqual({
      schema: "Sales",
      table: 'Order "Lines"',
    });
    expect(parseTableName('größe."a.b"')).toEqual({ schema: "größe", table: "a.b" });
  });

  it("are never anything else", () => {
    const wrong = ["", "orders", "a.b.c", "a.", ".b", 'a."b', 'a.""', "a.b; drop table x", "a.1b", 'a."b" c'];
    for (const text of wrong) expect(() => parseTableName(text), text).toThrow(UsageError);
  });

  it("come back from their quoted form, whatever they contain", () => {
    const name = fc.string({ minLength: 1, unit: "grapheme" }).filter((text) => !text.includes("\0"));
    fc.assert(
      fc.property(name, name, (schema, table) => {
        expect(parseTableName(qualified(schema, table))).toEqual({ schema, table });
      }),
    );
  });
});

describe("arguments of vacuum", () => {
  it("are none by default, and take text or parts for tables", () => {
    expect(parseVacuumArguments(undefined)).toEqual({});
    expect(parseVacuumArguments({})).toEqual({});
    expect(
      parseVacuumArguments({ tables: ["a.b", { schema: "C", table: "D" }], full: true, budgetSeconds: 5 }),
    ).toEqual({
      tables: [
        { schema: "a", table: "b" },
        { schema: "C", table: "D" },
      ],
      full: true,
      budgetSeconds: 5,
    });
  });

  it("are refused with every problem at once", () => {
    expect(() => parseVacuumArguments({ budgetSeconds: 0, fulll: true, wholeDatabase: "yes" })).toThrow(
      /budgetSeconds.*wholeDatabase.*fulll|fulll.*budgetSeconds.*wholeDatabase|wholeDatabase.*budgetSeconds.*fulll/s,
    );
    for (const wrong of [[], "x", 1, { tables: [] }, { tables: [""] }, { tables: [{ table: "x" }] }]) {
      expect(() => parseVacuumArguments(wrong), JSON.stringify(wrong)).toThrow(UsageError);
    }
  });

  it("allow FULL by name only", () => {
    expect(() => parseVacuumArguments({ full: true })).toThrow(/only to tables that are named/);
    expect(() => parseVacuumArguments({ full: true, wholeDatabase: true })).toThrow(UsageError);
    expect(() => parseVacuumArguments({ tables: ["a.b"], wholeDatabase: true })).toThrow(UsageError);
  });
});
