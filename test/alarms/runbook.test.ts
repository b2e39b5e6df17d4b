import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../lib/alarms/catalogue.ts";
import { buildProgram } from "../../lib/cli/program.ts";
import { createCli } from "../../lib/cli/terminal.ts";
import { jobs } from "../../lib/jobs/index.ts";

describe("docs/runbook.md", () => {
  const text = readFileSync(new URL("../../docs/runbook.md", import.meta.url), "utf8");
  const sections = [...text.matchAll(/^### (.+)$/gm)].map((match) => match[1]);

  it("has one section for each entry, and no other", () => {
    expect(sections.toSorted()).toEqual(catalogue.map(({ name }) => name).toSorted());
  });

  it("says in each section what it means, how to see it, stop it, fix it, prevent it, and when it lies", () => {
    const bodies = text.split(/^### /m).slice(1);
    for (const body of bodies) {
      const name = body.slice(0, body.indexOf("\n"));
      const labels = ["Means", "See it now", "Stop the bleeding", "Fix", "Prevent", "When it lies"];
      expect(
        labels.filter((label) => !body.includes(`**${label}.**`)),
        name,
      ).toEqual([]);
    }
  });

  it("stands under the question that the dashboard asks", () => {
    const headings = {
      up: "Is it up?",
      full: "Is it full?",
      slow: "Is it slow?",
      protected: "Is it protected?",
    };
    const placed = text
      .split(/^## /m)
      .slice(1)
      .flatMap((chapter) =>
        [...chapter.matchAll(/^### (.+)$/gm)].map((match) => [match[1], chapter.split("\n")[0]]),
      );
    expect(Object.fromEntries(placed)).toEqual(
      Object.fromEntries(catalogue.map(({ name, question }) => [name, headings[question]])),
    );
  });

  it("links to headings that exist when a section points to another", () => {
    const names = new Set(catalogue.map(({ name }) => name));
    const pointers = [...text.matchAll(/As for ([a-z]+(?:-[a-z]+)+)/g)].map((match) => match[1] ?? "");
    expect(pointers.length).toBeGreaterThan(10);
    expect(pointers.filter((name) => !names.has(name))).toEqual([]);
  });

  it("names commands and options that pgkeep has", () => {
    const program = buildProgram("0", createCli({ stdout: process.stdout, stderr: process.stderr } as never));
    const lines = [...text.replaceAll(/\n {2}/g, " ").matchAll(/npx pgkeep ([^`\n]+)/g)].map(
      (match) => match[1] ?? "",
    );
    expect(lines.length).toBeGreaterThan(catalogue.length);
    expect(lines.flatMap((line) => problemsOf(line, program))).toEqual([]);
  });
});

/** What commander would not take of a command line. */
function problemsOf(line: string, program: Command): string[] {
  const tokens = line.match(/'[^']*'|"[^"]*"|\S+/g) ?? [];
  let command = program;
  let positional = 0;
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index] ?? "";
    if (token.startsWith("--")) {
      const option = [...command.options, ...program.options].find(({ long }) => long === token);
      if (option === undefined) return [`${line}: ${token}`];
      if (option.required) index += 1;
      continue;
    }
    const child = command.commands.find((one) => one.name() === token);
    if (child !== undefined) command = child;
    else if (positional++ >= command.registeredArguments.length) return [`${line}: ${token}`];
    else if (command.name() === "run" && token !== "JOB" && !jobs.some(({ name }) => name === token)) {
      return [`${line}: there is no job ${token}`];
    }
  }
  return command.commands.length > 0 ? [`${line}: a command is missing`] : [];
}
