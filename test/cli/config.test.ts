import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { Cli, ExitCode } from "../../lib/cli/cli.ts";
import { checkConfigFile, configCheckText, registerConfig, showConfig } from "../../lib/cli/config.ts";
import { addGlobalOptions } from "../../lib/cli/options.ts";
import { configJsonSchema } from "../../lib/config/json-schema.ts";
import { ConfigError, defaultConfig, parseConfig } from "../../lib/config/load.ts";
import { UsageError } from "../../lib/errors.ts";

const now = new Date("2026-06-01T00:00:00Z");
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgkeep-config-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

const write = (text: string, name = "pgkeep.yaml") => writeFile(join(directory, name), text);

/** Runs `pgkeep config …` in the directory. */
async function run(...args: string[]): Promise<{ out: string; documents: unknown[]; exitCode: ExitCode }> {
  const lines: string[] = [];
  const documents: unknown[] = [];
  let exitCode: ExitCode = 0;
  const cli: Pick<Cli, "out" | "json" | "setExitCode" | "workingDirectory"> = {
    out: (text) => void lines.push(text),
    json: (document) => void documents.push(document),
    setExitCode: (code) => {
      exitCode = code;
    },
    workingDirectory: directory,
  };
  const program = addGlobalOptions(new Command("pgkeep"));
  registerConfig(program, cli as Cli);
  await program.parseAsync(["config", ...args], { from: "user" });
  return { out: lines.join("\n"), documents, exitCode };
}

describe("config check", () => {
  it("says ok, and for how many databases", async () => {
    await write("databases: {shop: {}, crm: {}}");
    expect(await run("check")).toEqual({ out: "pgkeep.yaml: ok, 2 databases", documents: [], exitCode: 0 });
  });

  it("says that the defaults stand when there is no file", async () => {
    expect((await run("check")).out).toBe("no pgkeep.yaml, so the defaults: ok, 1 database");
  });

  it("lists errors and warnings, and ends with 2 for an error", async () => {
    await write("schedules: {back-up: off}\nreplica: 1\nreplicas: {count: 99}\n");
    const { out, exitCode } = await run("check");
    expect(out).toMatchInlineSnapshot(`
      "warning  schedules.back-up (line 1): off, so no backup is taken
      error    replica (line 2): unknown key; did you mean replicas?
      error    replicas.count (line 3): 99 is not allowed; a whole number from 0 to 15
      pgkeep.yaml: 2 errors, 1 warning"
    `);
    expect(exitCode).toBe(2);
  });

  it("ends with 0 for a warning", async () => {
    await write("schedules: {back-up: off}");
    const { out, exitCode } = await run("check");
    expect(out).toMatchInlineSnapshot(`
      "warning  schedules.back-up (line 1): off, so no backup is taken
      pgkeep.yaml: ok, 1 database, 1 warning"
    `);
    expect(exitCode).toBe(0);
  });

  it("prints one document with --json, for a good file and for a bad one", async () => {
    await write("replica: 1", "bad.yaml");
    expect(await run("check", "--json", "--config", "bad.yaml")).toEqual({
      out: "",
      documents: [
        {
          file: "bad.yaml",
          exists: true,
          ok: false,
          databases: [],
          problems: [
            {
              severity: "error",
              rule: "unknown-key",
              path: "replica",
              line: 1,
              column: 1,
              message: "unknown key; did you mean replicas?",
            },
          ],
        },
      ],
      exitCode: 2,
    });
    expect((await run("check", "--json")).documents).toEqual([
      { file: "pgkeep.yaml", exists: false, ok: true, databases: ["app"], problems: [] },
    ]);
  });

  it("holds the end of support against the time it is given", async () => {
    await write("database: {engineVersion: 14}");
    expect((await checkConfigFile(undefined, directory, now)).problems).toEqual([]);
    const later = await checkConfigFile(undefined, directory, new Date("2027-06-01T00:00:00Z"));
    expect(later.ok).toBe(true);
    expect(configCheckText(later)).toMatch(
      /^warning {2}database\.engineVersion \(line 1\): .* ended on 2027-02-28/,
    );
  });

  it("fails for a file that was named and does not exist", async () => {
    await expect(run("check", "--config", "other.yaml")).rejects.toThrow(
      "the configuration file other.yaml does not exist",
    );
    await expect(run("check", "--config", "other.yaml")).rejects.toBeInstanceOf(UsageError);
  });
});

describe("config show", () => {
  it("prints YAML that is the same configuration, with every default", async () => {
    await write("replicas: {count: 1}\ndatabases: {shop: {}, crm: {replicas: {count: 3}}}");
    const { out } = await run("show");
    const expected = parseConfig(
      "replicas: {count: 1}\ndatabases: {shop: {}, crm: {replicas: {count: 3}}}",
      "x",
    );
    expect(parseConfig(out, "shown.yaml")).toEqual(expected);
    expect(out).toContain("maxLagSeconds: 120");
    expect(out).toContain("cidr: 10.20.0.0/16");
  });

  it("prints the same as JSON", async () => {
    const { documents } = await run("show", "--json");
    expect(documents).toEqual([showConfig(defaultConfig())]);
    expect(parse((await run("show")).out)).toEqual(documents[0]);
  });

  it.each(["crm", "customers"])("narrows to one database by its key or its name: %s", async (name) => {
    await write("databases: {shop: {}, crm: {database: {name: customers}}}");
    const [document] = (await run("show", "--json", "--database", name)).documents;
    expect(Object.keys((document as { databases: object }).databases)).toEqual(["crm"]);
  });

  it("names the databases there are when it knows none of that name", async () => {
    await write("databases: {shop: {}, crm: {}}");
    await expect(run("show", "--database", "hr")).rejects.toThrow(
      expect.objectContaining({
        message: 'the configuration has no database "hr"',
        remedy: "choose one of: shop, crm",
      }),
    );
  });

  it("fails for a file with an error, listing every problem", async () => {
    await write("replica: 1\nbackups: {keepDaily: 0}");
    await expect(run("show")).rejects.toThrow(ConfigError);
    await expect(run("show")).rejects.toThrow(/replica .*\n.*backups\.keepDaily/);
  });
});

describe("config schema", () => {
  it("prints the JSON Schema, with descriptions and the map of databases", async () => {
    const { documents } = await run("schema");
    expect(documents).toEqual([configJsonSchema()]);
    expect(configJsonSchema()).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      additionalProperties: false,
      properties: {
        databases: { type: "object", description: expect.stringContaining("Several databases") },
      },
    });
  });
});
