import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { showConfig } from "../../lib/cli/config.ts";
import { ConfigError, checkConfig, databaseKey, formatProblem, parseConfig } from "../../lib/config/load.ts";
import { databaseKeySchema } from "../../lib/config/schema.ts";

const now = new Date("2026-06-01T00:00:00Z");

/** Words that lead deep into the file, and words that lead astray. */
const keys = fc.oneof(
  fc.constantFrom(
    "database",
    "replicas",
    "pooling",
    "backups",
    "maintenance",
    "health",
    "roles",
    "alarms",
    "schedules",
    "databases",
    "network",
    "notifications",
    "account",
    "name",
    "count",
    "drill",
    "manifest",
    "vacuum",
    "window",
    "copyToRegions",
    "page",
    "cidr",
    "shop",
    "application",
    "engineVersion",
    "topology",
    "__proto__",
    "constructor",
    "toString",
    "",
    "<<",
    "0",
    "length",
    "then",
    "toJSON",
  ),
  fc.string({ unit: "binary", maxLength: 8 }),
);

const leaf = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom(
    "off",
    "* * * * *",
    "03:00-03:30",
    "sun:23:00-mon:01:00",
    "aurora",
    "17",
    "a@b.example",
    "eu-west-1",
  ),
);

const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "medium", withCrossShrink: true },
    leaf,
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(keys, tie("tree"), { maxKeys: 6, noNullPrototype: false }),
  ),
}));

/** Either a configuration or an error that says where: nothing else may come out. */
function behaves(text: string): void {
  const { config, problems } = checkConfig(text, { now });
  expect(config === undefined).toBe(problems.some(({ severity }) => severity === "error"));
  for (const problem of problems) {
    expect(formatProblem(problem)).not.toMatch(/[\p{Cc}]/u);
    if (problem.line !== undefined) {
      expect(problem.line).toBeGreaterThan(0);
      expect(problem.line).toBeLessThanOrEqual(text.split("\n").length);
    }
  }
  try {
    expect(parseConfig(text, "x.yaml", { now })).toEqual(config);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems).toEqual(problems);
  }
}

describe("whatever the file contains", () => {
  it("as JSON, the loader gives a configuration or a list of problems", () => {
    fc.assert(
      fc.property(tree, (value) => behaves(JSON.stringify(value))),
      { numRuns: 1000 },
    );
  });

  it("as YAML, the loader gives a configuration or a list of problems", () => {
    fc.assert(
      fc.property(fc.dictionary(keys, tree, { maxKeys: 8 }), (value) => behaves(stringify(value))),
      { numRuns: 500 },
    );
  });

  it("is wrong where a text should be and has a length that is no number", () => {
    for (const value of [{ length: {} }, { length: { toString: 1 } }, { length: [] }]) {
      behaves(JSON.stringify({ maintenance: { window: value }, alarms: { length: value } }));
    }
    const { problems } = checkConfig("maintenance: { window: { length: {} } }", { now });
    expect(problems.map(({ path }) => path)).toEqual(["maintenance.window"]);
  });

  it("as any text, the loader gives a configuration or a list of problems", () => {
    const fragments = fc.constantFrom(
      "a",
      ":",
      " ",
      "\n",
      "  ",
      "\t",
      "- ",
      "? ",
      "&a ",
      "*a",
      "!t ",
      "{",
      "}",
      "[",
      "]",
      ",",
      "|\n",
      ">\n",
      "'",
      '"',
      "#",
      "%YAML 1.1\n",
      "---\n",
      "...\n",
      "\r\n",
      "\uFEFF",
      "\0",
      "<<: ",
      "replicas:",
      "count:",
      "\u2028",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary", maxLength: 200 }),
          fc.array(fragments, { maxLength: 30 }).map((parts) => parts.join("")),
        ),
        behaves,
      ),
      { numRuns: 2000 },
    );
  });
});

describe("a valid configuration", () => {
  const count = fc.integer({ min: 0, max: 15 });
  const database = fc.record(
    {
      replicas: fc.record(
        { count, maxLagSeconds: fc.integer({ min: 120, max: 3600 }) },
        { requiredKeys: [] },
      ),
      backups: fc.record(
        { keepDaily: fc.integer({ min: 1, max: 5 }), copyToRegions: fc.subarray(["eu-west-1", "us-east-1"]) },
        { requiredKeys: [] },
      ),
      roles: fc.record({ prefix: fc.stringMatching(/^[a-o][a-z]{0,9}$/) }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  );
  const file = fc.record(
    {
      replicas: fc.record({ count }),
      databases: fc.dictionary(fc.stringMatching(/^[a-o][a-z0-9]{0,9}$/), database, {
        minKeys: 1,
        maxKeys: 4,
      }),
    },
    { requiredKeys: [] },
  );

  it("is the same again when what `config show` prints is loaded", () => {
    fc.assert(
      fc.property(file, (value) => {
        const config = parseConfig(stringify(value), "x.yaml", { now });
        const shown = showConfig(config);
        expect(parseConfig(stringify(shown), "y.yaml", { now })).toEqual(config);
        expect(parseConfig(JSON.stringify(shown), "y.json", { now })).toEqual(config);
      }),
      { numRuns: 200 },
    );
  });
});

it("makes a valid key of every name", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (name) => {
      expect(databaseKeySchema.safeParse(databaseKey(name)).success).toBe(true);
    }),
  );
});
