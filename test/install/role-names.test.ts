import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { roleNames } from "../../lib/install/role-names.ts";
import { configFor } from "../helpers/config.ts";

const namesFor = (database: string, prefix?: string) =>
  roleNames(configFor(database, prefix === undefined ? {} : { roles: { prefix } }));

describe("names of roles", () => {
  it("begin with the database's name", () => {
    expect(namesFor("shop")).toEqual({
      owner: "shop_owner",
      writer: "shop_writer",
      reader: "shop_reader",
      app: "shop_app",
      reporting: "shop_reporting",
      migrations: "shop_migrations",
      monitoring: "pgkeep_monitoring",
      maintenance: "pgkeep_maintenance",
      drill: "pgkeep_drill",
    });
  });

  it("begin with the prefix of the configuration, when there is one", () => {
    expect(namesFor("shop", "team").owner).toBe("team_owner");
  });

  it("are never those that PostgreSQL keeps for itself", () => {
    expect(() => namesFor("pg_shop")).toThrow(/reserves names that begin with pg_/);
    expect(namesFor("pg_shop", "shop").app).toBe("shop_app");
  });

  it("fit into 63 bytes and stay apart, whatever the database is called", () => {
    const databaseName = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 63 })
      .filter((name) => Buffer.byteLength(name) <= 63 && !name.includes("\0") && !name.startsWith("pg_"));
    fc.assert(
      fc.property(databaseName, databaseName, (one, other) => {
        const names = Object.values(namesFor(one));
        for (const name of names) {
          expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
        }
        expect(new Set(names).size).toBe(names.length);
        if (one !== other) expect(namesFor(one).owner).not.toBe(namesFor(other).owner);
      }),
    );
  });

  it("cut long names without breaking a character", () => {
    const { migrations } = namesFor("é".repeat(31));
    expect(Buffer.byteLength(migrations)).toBeLessThanOrEqual(63);
    expect(migrations).toMatch(/^é+_[0-9a-f]{8}_migrations$/);
  });
});
