import { describe, expect, it } from "vitest";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import { onlyLooks, readRunbook, wordsOf } from "../runbook-text.ts";
import { entryOf } from "./document.ts";
import { waves } from "./drills.ts";
import { alwaysShown, mayFail, shownElsewhere, shows } from "./runbook-expected.ts";
import { checkOf } from "./runbook-section.ts";

const entries = new Set(catalogue.map(({ name }) => name));
const drilled = new Set(waves.flatMap(({ drills }) => drills.map(({ alarm }) => entryOf(alarm).name)));

describe("what the commands of a section have to show", () => {
  it("is said for every entry that is drilled, and for no other", () => {
    const silent = [...drilled].filter(
      (entry) =>
        shows[entry] === undefined && shownElsewhere[entry] === undefined && checkOf(entry) === undefined,
    );
    expect(silent).toEqual([]);
    expect(Object.keys(shows).filter((entry) => !drilled.has(entry))).toEqual([]);
  });

  it("has exceptions for entries that there are", () => {
    const named = [...mayFail, ...Object.keys(shownElsewhere), ...Object.keys(alwaysShown)];
    expect(named.filter((entry) => !entries.has(entry))).toEqual([]);
  });
});

describe("a section of the runbook", () => {
  const section = (lines: string) =>
    readRunbook(
      `# Runbook\n\n### one\n\n**See it now.**\n\n\`\`\`sh\n${lines}\n\`\`\`\n\n- **Fix.** Do \`SELECT\n  1\`.\n`,
    );

  it("gives its commands as a shell reads them", () => {
    const commands = section(
      "npx pgkeep health --json\npsql \"$URL\" -c \"SELECT 'a', '\\$.b'\"\naws rds x \\\n  --y",
    ).get("one");
    expect(commands?.commands).toEqual([
      { kind: "pgkeep", line: "npx pgkeep health --json", args: ["health", "--json"] },
      { kind: "sql", line: "psql \"$URL\" -c \"SELECT 'a', '\\$.b'\"", sql: "SELECT 'a', '$.b'" },
      { kind: "elsewhere", line: "aws rds x --y", because: "AWS alone has what it asks for" },
    ]);
    expect(commands?.parts.Fix).toBe("Do `SELECT 1`.");
  });

  it("takes no command that nobody runs, and no two in one line", () => {
    expect(() => section("curl https://localhost")).toThrow(/nobody here runs/);
    expect(() => section("npx pgkeep health && npx pgkeep run vacuum")).toThrow(/one command a line/);
    expect(() => section("psql -c 'SELECT 1'")).toThrow(/write psql "\$URL" -c/);
  });

  it("does not take what changes something for a look", () => {
    expect(onlyLooks(["run", "vacuum"])).toBe(false);
    expect(onlyLooks(["run", "vacuum", "--dry-run"])).toBe(true);
    expect(onlyLooks(["backup", "create"])).toBe(false);
    expect(onlyLooks(["backup", "list"])).toBe(true);
    expect(wordsOf("a 'b c' \"d e\"f")).toEqual(["a", "b c", "d ef"]);
  });
});
