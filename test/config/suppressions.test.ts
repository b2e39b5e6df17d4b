import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { checkConfigFile } from "../../lib/cli/config.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { loadConfig } from "../../lib/config/load.ts";

const scratch = mkdtempSync(join(tmpdir(), "pgkeep-accepted-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A directory with these files. */
function directoryOf(files: Record<string, string>): string {
  const directory = mkdtempSync(join(scratch, "d-"));
  mkdirSync(join(directory, "config"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

const accepted = "suppressions:\n  - { key: a/x, reason: known, expires: 2027-01-31 }\n";
const read = [{ key: "a/x", reason: "known", expires: "2027-01-31" }];

describe("the file of review.suppressions", () => {
  it("is read with the configuration, from whose directory a relative name counts", async () => {
    const directory = directoryOf({
      "config/pgkeep.yaml": "review: { suppressions: ../accepted.yaml }",
      "accepted.yaml": accepted,
    });
    for (const [file, from] of [
      ["config/pgkeep.yaml", directory],
      ["pgkeep.yaml", join(directory, "config")],
      [undefined, join(directory, "config")],
      [join(directory, "config", "pgkeep.yaml"), "/"],
    ] as const) {
      expect((await loadConfig(file, from)).databases[0]?.suppressions).toEqual(read);
    }
  });

  it("is that of each database, and absent where none is named", async () => {
    const directory = directoryOf({
      "pgkeep.yaml":
        "databases:\n  shop: { review: { suppressions: accepted.yaml } }\n  crm: { review: { suppressions: none.yaml } }\n  log: {}\n",
      "accepted.yaml": accepted,
      "none.yaml": "suppressions: []\n",
    });
    const { databases } = await loadConfig(undefined, directory);
    expect(databases.map(({ suppressions }) => suppressions)).toEqual([read, [], undefined]);
    // A function's environment holds 4 KB: the name goes there, the content does not.
    for (const database of databases) expect(beyondDefaults(database)).not.toContain("known");
  });

  it("that is missing is a problem of the setting, with its line", async () => {
    const directory = directoryOf({
      "pgkeep.yaml": "databases:\n  shop:\n    review:\n      suppressions: nowhere.yaml\n",
    });
    await expect(loadConfig(undefined, directory)).rejects.toThrow(
      expect.objectContaining({
        code: "configuration",
        message: expect.stringMatching(
          /^pgkeep\.yaml has a problem:\n {2}databases\.shop\.review\.suppressions \(line 4\): .*cannot be read: ENOENT.*nowhere\.yaml/,
        ),
      }),
    );
  });

  it.each([
    [
      "suppressions:\n\n  - key: a/x\n    reason: fine\n  - key: nonsense\n    reason: why\n    until: 1\n",
      /number 2 \(line 5\): "until" is no part .*\n.*number 2 \(line 5\): key is not that of a finding/,
    ],
    ["suppressions:\n  - a/x\n  - {", /is no YAML:\n.*line 3, column 6: indented differently/],
    [
      "suppressions:\n  - { key: a/x, key: a/y, reason: r }\n",
      /suppressions\[0\]\.key \(line 2\): given twice/,
    ],
    ["", /it has not just `suppressions:` with a list/],
  ])("that is wrong is named with its lines, by `config check` too: %j", async (text, message) => {
    const directory = directoryOf({
      "pgkeep.yaml": "replicas: { count: 1 }\nreview: { suppressions: bad.yaml }\n",
      "bad.yaml": text,
    });
    const error = await loadConfig(undefined, directory).catch((thrown: Error) => thrown.message);
    expect(error).toMatch(message);
    expect(error).toContain(`review.suppressions (line 2): ${join(directory, "bad.yaml")}`);
    const check = await checkConfigFile(undefined, directory);
    expect(check).toMatchObject({ ok: false, databases: [] });
    expect(check.problems.map((problem) => problem.message).join()).toMatch(message);
  });

  it("that several databases share is one problem", async () => {
    const directory = directoryOf({
      "pgkeep.yaml": "review: { suppressions: nowhere.yaml }\ndatabases: { shop: {}, crm: {} }\n",
    });
    expect((await checkConfigFile(undefined, directory)).problems).toMatchObject([
      { severity: "error", rule: "suppressions", path: "review.suppressions", line: 1 },
    ]);
  });
});
