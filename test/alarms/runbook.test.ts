import { readFileSync } from "node:fs";
import * as cloudwatch from "@aws-sdk/client-cloudwatch";
import * as rds from "@aws-sdk/client-rds";
import type { Command } from "commander";
import { parseSync } from "libpg-query";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../lib/alarms/catalogue.ts";
import { loadParser } from "../../lib/checks/workload/parse.ts";
import { buildProgram } from "../../lib/cli/program.ts";
import { createCli } from "../../lib/cli/terminal.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { inlineSql, onlyLooks, readRunbook, unfinishedSql, wordsOf } from "./runbook-text.ts";

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

  it("only looks in what stands under See it now", () => {
    const commands = [...readRunbook().values()].flatMap((section) => section.commands);
    const changing = commands.filter((command) => command.kind === "pgkeep" && !onlyLooks(command.args));
    expect(changing.map(({ line }) => line)).toEqual([]);
  });

  it("asks in each section at least one command", () => {
    const silent = [...readRunbook().values()].filter(({ commands }) => commands.length === 0);
    expect(silent.map(({ entry }) => entry)).toEqual([]);
  });

  it("has SQL that PostgreSQL's own parser reads, and that only looks where it says so", async () => {
    await loadParser();
    const blocks = [...readRunbook().values()].flatMap(({ commands }) =>
      commands.flatMap((command) => (command.kind === "sql" ? [command.sql] : [])),
    );
    const inline = inlineSql(text);
    expect(blocks.length).toBeGreaterThan(40);
    expect(inline.length).toBeGreaterThan(20);
    expect([...blocks, ...inline].filter((sql) => kindOf(sql) === undefined)).toEqual([]);
    expect(blocks.filter((sql) => kindOf(sql) !== "SelectStmt")).toEqual([]);
    expect(kindOf("SELECT FROM WHERE")).toBeUndefined();
  });

  it("leaves no statement of SQL half said", () => {
    expect(unfinishedSql(text)).toEqual(["INSERT … ON CONFLICT"]);
  });

  const elsewhere = [...readRunbook().values()].flatMap(({ entry, commands }) =>
    commands.flatMap((command) => (command.kind === "elsewhere" ? [{ entry, ...command }] : [])),
  );

  it.each(elsewhere)("$entry: not run here, as $because: $line", ({ line }) => {
    expect(isKnownElsewhere(line), line).toBe(true);
  });

  it("names services and operations of AWS that exist in the midst of a sentence, too", () => {
    const inline = [...text.replaceAll(/\n {2}/g, " ").matchAll(/`((?:aws|redis-cli) [^`\n]+)`/g)];
    expect(inline.length).toBeGreaterThan(2);
    expect(inline.flatMap(([, line = ""]) => (isKnownElsewhere(line) ? [] : [line]))).toEqual([]);
    expect(isKnownElsewhere("aws rds describe-db-instance")).toBe(false);
  });
});

/** What kind of statement PostgreSQL reads; undefined when it does not read one. */
function kindOf(sql: string): string | undefined {
  try {
    const { stmts = [] } = parseSync(sql);
    return stmts.length === 1 ? Object.keys(stmts[0]?.stmt ?? {})[0] : undefined;
  } catch {
    return undefined;
  }
}

/** Of services whose client is not among the dependencies, and of Valkey. */
const knownElsewhere: readonly RegExp[] = [
  /^aws logs (?:tail|filter-log-events) /,
  /^aws elasticache describe-events /,
  /^redis-cli INFO (?:clients|commandstats|memory|replication|stats)$/,
  /^redis-cli (?:--bigkeys|--scan --pattern '[^']+')$/,
  /^date -u$/,
];

function isKnownElsewhere(line: string): boolean {
  const [, service, operation = ""] = wordsOf(line);
  const client = service === "rds" ? rds : service === "cloudwatch" ? cloudwatch : undefined;
  if (client === undefined) return knownElsewhere.some((pattern) => pattern.test(line));
  const command = `${operation.replaceAll("-", "")}command`;
  return Object.keys(client).some((name) => name.toLowerCase() === command);
}

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
