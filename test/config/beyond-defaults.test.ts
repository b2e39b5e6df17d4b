import { describe, expect, it } from "vitest";
import { beyondDefaults, beyondDefaultsForAccess, configDefaults } from "../../lib/config/beyond-defaults.ts";
import { deployedConfig } from "../../lib/config/deployed.ts";
import { defaultConfig, parseConfig } from "../../lib/config/load.ts";
import { sectionsWithoutJobs } from "../../lib/config/schema.ts";

const withoutJobs: readonly string[] = sectionsWithoutJobs;

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
      const told = Object.entries(config).filter(([name]) => !withoutJobs.includes(name));
      expect(deployedConfig(beyondDefaults(config), configDefaults())).toEqual(Object.fromEntries(told));
    }
  });

  it("says nothing of the limits of alarms, and to roles nothing of those of the health check", () => {
    const text = "{alarms: {cpuPercent: 50}, health: {blockedSeconds: 7}}";
    const [config] = parseConfig(text, "pgkeep.yaml").databases;
    expect(config && JSON.parse(beyondDefaults(config))).toMatchObject({ health: { blockedSeconds: 7 } });
    expect(config && beyondDefaults(config)).not.toContain("alarms");
    expect(config && Object.keys(JSON.parse(beyondDefaultsForAccess(config)))).toEqual(["key"]);
  });

  it.each(["", "{}", "[]", "null", '{"key":1}'])("is refused when it is not one: %s", (text) => {
    expect(() => deployedConfig(text, configDefaults())).toThrow("cannot be read");
  });

  it("is short", () => {
    for (const config of defaultConfig().databases) expect(beyondDefaults(config).length).toBeLessThan(100);
  });
});
