import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import { lookedAtChecks, shortLooks } from "../../../lib/alarms/page/look.ts";
import { healthChecks } from "../../../lib/checks/index.ts";
import { jobs } from "../../../lib/jobs/index.ts";

const runbook = readFileSync(new URL("../../../docs/runbook.md", import.meta.url), "utf8");

/** What SQL and pgkeep know nothing of: the cache, and the log that RDS exports. */
const elsewhere = new Set([
  "failed-logins",
  ...catalogue.map(({ name }) => name).filter((name) => name.startsWith("cache-") && name !== "cache-hit"),
]);

/** The first command of a section, continued lines as one. */
function firstCommand(entry: string): string | undefined {
  const section = runbook.split(/^### /m).find((one) => one.startsWith(`${entry}\n`)) ?? "";
  const block = /\*\*See it now\.\*\*[\s\S]*?```sh\n([\s\S]*?)```/.exec(section)?.[1] ?? "";
  return block.replace(/\\\n\s*/g, "").split("\n")[0];
}

describe("the command of an entry", () => {
  it.each(catalogue.map(({ name, command }) => [name, command]))(
    "is the first that the runbook's section shows: %s",
    (name, command) => {
      const first = firstCommand(name) ?? "";
      const job = /^npx pgkeep run (\S+)/.exec(first)?.[1] ?? "no job";
      if (command.includes("{subject}")) expect(jobs.map((one) => one.name)).toContain(job);
      expect(command.replaceAll("{key}", "KEY").replaceAll("{subject}", job)).toBe(first);
    },
  );

  it("is one of pgkeep, where pgkeep can see anything of it", () => {
    for (const { name, command } of catalogue) {
      expect(command.startsWith("npx pgkeep "), name).toBe(!elsewhere.has(name));
      expect(command, name).not.toMatch(/\n/);
    }
  });
});

describe("what an entry looks at", () => {
  it("are health checks that exist, and short looks, each used by some entry", () => {
    expect(lookedAtChecks.filter((name) => !healthChecks.some((check) => check.name === name))).toEqual([]);
    const used = new Set(catalogue.flatMap(({ look }) => look));
    expect([...lookedAtChecks, ...shortLooks].filter((name) => !used.has(name))).toEqual([]);
  });

  it("is nothing only where SQL knows nothing", () => {
    const blind = catalogue.filter(({ look }) => look.length === 0).map(({ name }) => name);
    expect(blind.filter((name) => !elsewhere.has(name))).toEqual([
      "snapshot-quota",
      "cluster-snapshot-quota",
    ]);
  });
});

describe("whom an entry hurts", () => {
  it("is said in words, with no place-holder that nobody fills", () => {
    for (const { name, hurts, command, per } of catalogue) {
      expect(hurts.length, name).toBeGreaterThan(15);
      const used = [...`${hurts} ${command}`.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const known = ["key", "app", "reporting", ...(per === undefined ? [] : ["subject"])];
      expect(
        used.filter((one) => !known.includes(one ?? "")),
        name,
      ).toEqual([]);
    }
  });
});
