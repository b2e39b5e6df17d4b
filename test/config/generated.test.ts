import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { descriptionOf, shapeOf } from "../../lib/config/describe.ts";
import { configJsonSchema, renderJsonSchema } from "../../lib/config/json-schema.ts";
import { checkConfig } from "../../lib/config/load.ts";
import { generateCommand, renderConfigurationReference } from "../../lib/config/reference.ts";
import { perDatabaseSections, sharedSections } from "../../lib/config/schema.ts";

const committed = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const example = committed("pgkeep.yaml");
const now = new Date("2026-06-01T00:00:00Z");

describe("generated files", () => {
  it.each([
    ["docs/configuration.md", renderConfigurationReference],
    ["docs/pgkeep.schema.json", renderJsonSchema],
  ])("%s is up to date", (path, render) => {
    expect(committed(path) === render(), `${path} is stale: run ${generateCommand}`).toBe(true);
  });
});

describe("the reference", () => {
  it("has each setting once, with a meaning", () => {
    const rows = renderConfigurationReference()
      .split("\n")
      .filter((line) => /^\| `\w+\.[^`]+` /.test(line))
      .map((line) => line.split(" | ").map((cell) => cell.replaceAll(/^\| | \|$/g, "").trim()));
    const paths = rows.map(([path]) => path?.replaceAll("`", ""));
    expect(new Set(paths).size).toBe(paths.length);
    expect(paths).toEqual(leaves({ ...perDatabaseSections, ...sharedSections }).map(({ path }) => path));
    for (const [path, allowed, , meaning] of rows) {
      expect(allowed, `${path} says what is allowed`).not.toBe("");
      expect(meaning, `${path} has a description`).not.toBe("");
    }
  });
});

describe("the example in the repository", () => {
  it("has no problems", () => {
    expect(checkConfig(example, { now }).problems).toEqual([]);
  });

  it("has no problems with its optional parts uncommented", () => {
    const whole = example
      .replace("  name: shop\n", "")
      .replaceAll(/^# (?=(?:notifications|databases):| {2})/gm, "");
    const { config, problems } = checkConfig(whole, { now });
    expect(problems).toEqual([]);
    expect(config?.databases.map(({ key }) => key)).toEqual(["shop", "reports"]);
    expect(config?.notifications.page).toEqual(["on-call@example.com"]);
  });
});

describe("the JSON Schema", () => {
  const schema = z.fromJSONSchema(configJsonSchema() as Parameters<typeof z.fromJSONSchema>[0]);
  const accepts = (text: string) => schema.safeParse(parse(text)).success;

  it.each([
    ["the example", example],
    ["a version as a number", "database: {engineVersion: 17}"],
    ["a version as a text", 'database: {engineVersion: "17"}'],
    ["several databases", "databases: {shop: {replicas: {count: 1}}, crm: {}}"],
    ["schedules", 'schedules: {vacuum: off, back-up: "0 2 * * *"}'],
    ["nothing", "{}"],
  ])("accepts what the loader accepts: %s", (_, text) => {
    expect(checkConfig(text, { now }).problems.filter(({ severity }) => severity === "error")).toEqual([]);
    expect(accepts(text)).toBe(true);
  });

  it.each([
    "replica: {}",
    "replicas: {count: 16}",
    "replicas: {count: 1.5}",
    "database: {engineVersion: 13}",
    "databases: {shop: {network: {}}}",
    "databases: {Shop: {}}",
    "backups: {window: 3-4}",
    "backups: {copyToRegions: [Ireland]}",
    "pooling: 5",
  ])("refuses what the loader refuses: %s", (text) => {
    expect(checkConfig(text, { now }).config).toBeUndefined();
    expect(accepts(text)).toBe(false);
  });

  it("describes every setting for editors", () => {
    const { $defs } = configJsonSchema();
    for (const { path, section, keys, description } of leaves({
      ...perDatabaseSections,
      ...sharedSections,
    })) {
      const found = keys.reduce<z.core.JSONSchema.JSONSchema | undefined>(
        (node, key) => node?.properties?.[key] as z.core.JSONSchema.JSONSchema | undefined,
        $defs?.[section],
      );
      expect(found?.description, path).toContain(description);
    }
  });
});

interface Leaf {
  path: string;
  section: string;
  keys: string[];
  description: string;
}

function leaves(sections: Record<string, z.core.$ZodType>): Leaf[] {
  const below = (schema: z.core.$ZodType, section: string, keys: string[]): Leaf[] => {
    const shape = shapeOf(schema);
    return shape === undefined
      ? [{ path: [section, ...keys].join("."), section, keys, description: descriptionOf(schema) }]
      : Object.entries(shape).flatMap(([key, inner]) => below(inner, section, [...keys, key]));
  };
  return Object.entries(sections).flatMap(([name, schema]) => below(schema, name, []));
}
