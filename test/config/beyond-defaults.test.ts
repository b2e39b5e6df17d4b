import { describe, expect, it } from "vitest";
import { beyondDefaults, withDefaults } from "../../lib/config/beyond-defaults.ts";
import { defaultConfig, parseConfig } from "../../lib/config/load.ts";

describe("the configuration of a function", () => {
  it("says only what differs from the defaults", () => {
    const config = parseConfig("databases: {shop: {replicas: {count: 1}}}", "pgkeep.yaml").databases[0];
    expect(config && JSON.parse(beyondDefaults(config))).toEqual({
      key: "shop",
      database: { name: "shop" },
      replicas: { count: 1 },
    });
  });

  it.each([
    "",
    "databases: {shop: {database: {topology: aurora}, backups: {copyToRegions: [eu-west-1]}}}",
    "databases: {shop: {replicas: {count: 0}, schedules: {vacuum: off, timeZone: Europe/Berlin}}}",
  ])("comes back whole: %s", (text) => {
    for (const config of parseConfig(text, "pgkeep.yaml").databases) {
      expect(withDefaults(beyondDefaults(config))).toEqual(config);
    }
  });

  it.each(["", "{}", '{"key":"shop","replicas":{"count":"two"}}', '{"key":"shop","unknown":1}'])(
    "is refused when it is not one: %s",
    (text) => {
      expect(() => withDefaults(text)).toThrow("is not one of this pgkeep");
    },
  );

  it("is short", () => {
    for (const config of defaultConfig().databases) expect(beyondDefaults(config).length).toBeLessThan(100);
  });
});
