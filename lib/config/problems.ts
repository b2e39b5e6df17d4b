import { UsageError } from "../errors.ts";

/** One thing that is wrong, or doubtful, in a configuration file. */
export interface ConfigProblem {
  /** Warnings are shown by `pgkeep config check` and stop nothing. */
  severity: "error" | "warning";
  /** A stable word: `file`, `syntax`, `duplicate-key`, `unknown-key`, `value`, or the name of a rule. */
  rule: string;
  /** Where, as people write it: `databases.shop.backups.keepDaily`; empty for the file as a whole. */
  path: string;
  /** Counted from 1; absent when the file does not say it (a default, or the file as a whole). */
  line?: number;
  column?: number;
  /** The value given, shortened and without anything secret; absent where no single value is at fault. */
  given?: string;
  /** What is wrong and what is allowed, without the path. */
  message: string;
}

/** How many problems a message names; all of them are in `problems`. */
const shownProblems = 50;

/** A configuration that cannot be used. Its message lists every error; `problems` has the warnings too. */
export class ConfigError extends UsageError {
  readonly problems: readonly ConfigProblem[];
  readonly fileName: string;

  constructor(fileName: string, problems: readonly ConfigProblem[]) {
    super(
      problemList(fileName, problems),
      { remedy: "correct the file, then look again with `pgkeep config check`" },
      "configuration",
    );
    this.name = "ConfigError";
    this.problems = problems;
    this.fileName = fileName;
  }
}

function problemList(fileName: string, problems: readonly ConfigProblem[]): string {
  const errors = problems.filter((problem) => problem.severity === "error");
  const shown = errors.slice(0, shownProblems).map((problem) => `  ${formatProblem(problem)}`);
  if (errors.length > shownProblems) shown.push(`  … and ${errors.length - shownProblems} more`);
  return [
    `${fileName} has ${errors.length === 1 ? "a problem" : `${errors.length} problems`}:`,
    ...shown,
  ].join("\n");
}

/** `backups.keepDaily (line 12): 900 is not allowed; a whole number from 1 to 100`. */
export function formatProblem(problem: ConfigProblem): string {
  const position =
    problem.line === undefined
      ? ""
      : `line ${problem.line}${problem.path === "" && problem.column !== undefined ? `, column ${problem.column}` : ""}`;
  if (problem.path === "") return position === "" ? problem.message : `${position}: ${problem.message}`;
  return `${problem.path}${position === "" ? "" : ` (${position})`}: ${problem.message}`;
}

/** Joins path segments as people write them: `a.b[0]`, quoted where a key is no plain word. */
export function formatPath(segments: readonly (string | number)[]): string {
  let path = "";
  for (const segment of segments) {
    if (typeof segment === "number") path += `[${segment}]`;
    else if (/^[\p{L}_][\p{L}\p{N}_-]*$/u.test(segment) && segment.length <= 64) {
      path += path === "" ? segment : `.${segment}`;
    } else path += `[${quote(segment)}]`;
  }
  return path;
}

const secretWords = /pass(?:wor[dt]|phrase|wd)?|secret|token|credential|private|api[_-]?key|access[_-]?key/i;

/** Whether a key, or a line of text, looks as if a secret stood beside it. */
export function looksSecret(text: string): boolean {
  return secretWords.test(text);
}

/** A value for a message: shortened, on one line, without passwords. */
export function formatGiven(value: unknown, path: readonly (string | number)[]): string {
  if (path.some((segment) => typeof segment === "string" && looksSecret(segment))) return "the value given";
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "object") return "a mapping";
  if (typeof value !== "string") return String(value);
  return looksSecret(value) ? "the value given" : shown(value);
}

/** A text in quotes, shortened, on one line, without the password of a URL. */
export function shown(text: string): string {
  return quote(text.replace(/\/\/.*@/s, "//…@"));
}

function quote(text: string): string {
  const characters = Array.from(text.slice(0, 400));
  const short = characters.length > 60 ? `${characters.slice(0, 59).join("")}…` : text;
  // Control and direction characters must not reach a terminal.
  return JSON.stringify(short).replaceAll(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** `a, b or c`. */
export function either(words: readonly string[]): string {
  return words.length < 2
    ? words.join("")
    : `${words.slice(0, -1).join(", ")} or ${words[words.length - 1] ?? ""}`;
}
