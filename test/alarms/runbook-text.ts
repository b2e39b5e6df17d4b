import { readFileSync } from "node:fs";

export const labels = ["Means", "See it now", "Stop the bleeding", "Fix", "Prevent", "When it lies"] as const;
export type Label = (typeof labels)[number];

export type RunbookCommand =
  /** Of pgkeep: what follows `npx pgkeep`. */
  | { kind: "pgkeep"; line: string; args: readonly string[] }
  /** One statement, as the role of `$URL`: of a `psql "$URL" -c '…'`, or of a block of SQL. */
  | { kind: "sql"; line: string; sql: string }
  /** What the sandbox does not have, with why. */
  | { kind: "elsewhere"; line: string; because: string };

export interface RunbookSection {
  entry: string;
  text: string;
  /** What stands behind each label, on one line where it was broken by the width of the page. */
  parts: Readonly<Record<Label, string>>;
  /** Of its blocks, in order. */
  commands: readonly RunbookCommand[];
}

const file = new URL("../../docs/runbook.md", import.meta.url);

/** docs/runbook.md: its sections by the entries of the catalogue that they are for. */
export function readRunbook(text: string = readFileSync(file, "utf8")): Map<string, RunbookSection> {
  const bodies = text.split(/^### /m).slice(1);
  return new Map(
    bodies.map((body) => {
      const section = sectionOf(body.replace(/^## [\s\S]*/m, ""));
      return [section.entry, section];
    }),
  );
}

function sectionOf(body: string): RunbookSection {
  const end = body.indexOf("\n");
  const entry = body.slice(0, end);
  const text = body.slice(end + 1);
  const commands = [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(
    ([, language = "", content = ""]) => commandsOf(language, content, entry),
  );
  return { entry, text, parts: partsOf(text), commands };
}

function partsOf(text: string): Record<Label, string> {
  const prose = text.replace(/^```\w*\n[\s\S]*?^```$/gm, "");
  return Object.fromEntries(
    labels.map((label) => {
      const after = prose.split(`**${label}.**`)[1] ?? "";
      const part = after.split(/^(?:- )?\*\*(?:[A-Z][a-z ]+)\.\*\*/m)[0] ?? "";
      return [label, part.replaceAll(/\s+/g, " ").trim()];
    }),
  ) as Record<Label, string>;
}

function commandsOf(language: string, content: string, entry: string): RunbookCommand[] {
  if (language === "sql") {
    return statementsOf(content).map((sql) => ({ kind: "sql", line: sql, sql }));
  }
  if (language !== "sh") throw new TypeError(`${entry} has a block of ${language || "no language"}`);
  return content
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => commandOf(line, entry));
}

function statementsOf(content: string): string[] {
  return content
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}

function commandOf(line: string, entry: string): RunbookCommand {
  const words = wordsOf(line);
  const [program, ...rest] = words;
  if (program === "npx" && rest[0] === "pgkeep") return { kind: "pgkeep", line, args: rest.slice(1) };
  if (program === "psql") {
    const [url, option, sql, ...more] = rest;
    if (url !== "$URL" || option !== "-c" || sql === undefined || more.length > 0) {
      throw new TypeError(`${entry}: write psql "$URL" -c '…' instead of ${line}`);
    }
    return { kind: "sql", line, sql };
  }
  if (program === "date") return { kind: "elsewhere", line, because: "the other clock of the two" };
  if (program === "aws") return { kind: "elsewhere", line, because: "AWS alone has what it asks for" };
  if (program === "redis-cli") return { kind: "elsewhere", line, because: "the sandbox has no cache" };
  throw new TypeError(`${entry} has a command that nobody here runs: ${line}`);
}

/** The words of a line as a shell takes them apart; variables stay as they are. @throws for more than one command */
export function wordsOf(line: string): string[] {
  const words = line.match(/(?:[^\s'"]|'[^']*'|"(?:[^"\\]|\\.)*")+/g) ?? [];
  if (words.some((word) => /^(?:&&?|\|\|?|;|>>?|<)$/.test(word))) {
    throw new TypeError(`one command a line: ${line}`);
  }
  return words.map((word) =>
    word.replaceAll(
      /'([^']*)'|"((?:[^"\\]|\\.)*)"/g,
      (_, single, double) => single ?? double.replaceAll(/\\([$"`\\])/g, "$1"),
    ),
  );
}

const verbs =
  /^(?:SELECT|WITH|SHOW|VACUUM|ANALYZE|REINDEX|DROP|ALTER|CREATE|COMMIT PREPARED|ROLLBACK PREPARED|INSERT|UPDATE|DELETE|GRANT|REVOKE|SET|RESET|TRUNCATE) \S/;

/** Texts in back-ticks that are statements of SQL. `REINDEX INDEX CONCURRENTLY` alone is the name of a command. */
export function inlineSql(text: string): string[] {
  const isNameOfCommand = (code: string) => /^[A-Z ]+$/.test(code) && !code.endsWith(" NAME");
  return inlineCode(text).filter((code) => verbs.test(code) && !isNameOfCommand(code) && !code.includes("…"));
}

/** Those with something left out, which no parser reads. */
export function unfinishedSql(text: string): string[] {
  return inlineCode(text).filter((code) => verbs.test(code) && code.includes("…"));
}

function inlineCode(text: string): string[] {
  const prose = text.replace(/^```\w*\n[\s\S]*?^```$/gm, "").replaceAll(/\s+/g, " ");
  return [...prose.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}

/** Commands that only look. `run` is one with `--dry-run`, and of the jobs that only look. */
const looks: readonly string[] = [
  "health",
  "metrics",
  "status",
  "forecast",
  "history",
  "pools",
  "routing show",
  "backup list",
  "queries top",
  "queries slow",
  "queries watch",
  "roles audit",
  "config check",
  "run check-recovery",
  "run check-integrity",
];

/** Whether a command of pgkeep leaves everything as it is. */
export function onlyLooks(args: readonly string[]): boolean {
  if (args[0] === "run" && args.includes("--dry-run")) return true;
  return looks.some((look) => look.split(" ").every((word, index) => args[index] === word));
}
