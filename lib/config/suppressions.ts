import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { errorMessage, UsageError } from "../errors.ts";
import { type ConfigProblem, formatPath, formatProblem } from "./problems.ts";
import type { Config, DatabaseConfig } from "./schema.ts";
import { findEntry, readSource, type SourceNode, toPlain } from "./source.ts";

/** One line of the committed file: what is accepted, why, and until when. */
export interface Suppression {
  /** A finding's key; `*` stands for anything after the check's name. */
  key: string;
  reason: string;
  /** The last day on which it counts, `YYYY-MM-DD` (UTC). */
  expires?: string;
}

/**
 * Reads the content of a file of suppressions: `suppressions:` with a list of key, reason and expires.
 * @param value what YAML or JSON gave
 * @param lineOf the line on which the entry with this index begins, where somebody knows it
 * @throws UsageError with every problem at once
 */
export function parseSuppressions(
  value: unknown,
  where: string,
  lineOf: (index: number) => number | undefined = () => undefined,
): Suppression[] {
  const problems: string[] = [];
  const found: Suppression[] = [];
  const list = isRecord(value) && Object.keys(value).length === 1 ? value.suppressions : undefined;
  if (!Array.isArray(list)) problems.push("it has not just `suppressions:` with a list");
  for (const [index, entry] of Array.isArray(list) ? list.entries() : []) {
    const before = problems.length;
    const line = lineOf(index);
    const place = `number ${index + 1}${line === undefined ? "" : ` (line ${line})`}`;
    const problem = (text: string) => problems.push(`${place}: ${text}`);
    const { key, reason, expires, ...others }: Record<string, unknown> = isRecord(entry) ? entry : {};
    for (const name of Object.keys(others)) problem(`${JSON.stringify(name)} is no part of a suppression`);
    if (typeof key !== "string" || !/^[a-z0-9-]+\/./s.test(key)) {
      problem("key is not that of a finding: CHECK/OBJECT, where OBJECT may have *");
    } else if (found.some((one) => one.key === key)) {
      problem(`the key ${JSON.stringify(key)} stands twice`);
    }
    if (typeof reason !== "string" || reason.trim() === "") problem("reason is missing: why is it accepted?");
    if (expires !== undefined && !isDay(expires)) problem("expires is not a day such as 2027-01-31");
    if (problems.length === before) {
      const end = expires === undefined ? {} : { expires: expires as string };
      found.push({ key: key as string, reason: (reason as string).trim(), ...end });
    }
  }
  if (problems.length > 0) {
    throw new UsageError(`${where} is no file of suppressions:\n  ${problems.join("\n  ")}`, {
      remedy: "write suppressions: [{ key: CHECK/OBJECT, reason: WHY, expires: YYYY-MM-DD }]",
    });
  }
  return found;
}

/**
 * Reads a file of suppressions. Its problems are told with their lines.
 * @param where the option or setting that names the file
 * @throws UsageError when it cannot be read, or is no file of suppressions
 */
export async function readSuppressions(file: string, where: string): Promise<Suppression[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError(`the file of ${where} cannot be read: ${errorMessage(error)}`, {
      remedy: `give a file that exists with ${where}`,
      cause: error,
    });
  }
  const { root, problems } = readSource(text);
  if (problems.length > 0) {
    throw new UsageError(`${file} is no YAML:\n  ${problems.map(formatProblem).join("\n  ")}`);
  }
  return parseSuppressions(
    root === undefined ? undefined : toPlain(root),
    file,
    (index) => findEntry(root, ["suppressions", index])?.line,
  );
}

/** The text of a configuration, and from where its relative names count. */
export interface ConfigFile {
  text: string;
  fileName: string;
  /** Against which the configuration's own name counts. */
  directory: string;
}

/**
 * Gives each database what the file of its `review.suppressions` has; a relative name counts from the directory of
 * the configuration's file. Each file is read once. What is wrong with one is a problem of the setting that names it.
 */
export async function withSuppressions(
  config: Config,
  { text, fileName, directory }: ConfigFile,
): Promise<{ config: Config; problems: ConfigProblem[] }> {
  const base = dirname(resolve(directory, fileName));
  const read = new Map<string, Promise<Suppression[]>>();
  const problems = new Map<string, ConfigProblem>();
  const databases: DatabaseConfig[] = [];
  for (const database of config.databases) {
    const name = database.review.suppressions;
    if (name === undefined) {
      databases.push(database);
      continue;
    }
    const file = resolve(base, name);
    const reading = read.get(file) ?? readSuppressions(file, "review.suppressions");
    read.set(file, reading);
    try {
      databases.push({ ...database, suppressions: await reading });
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      const problem = problemOf(error, database.key, readSource(text).root);
      problems.set(`${problem.path}\n${problem.message}`, problem);
    }
  }
  return { config: { ...config, databases }, problems: [...problems.values()] };
}

function problemOf(error: UsageError, key: string, root: SourceNode | undefined): ConfigProblem {
  const shared = ["review", "suppressions"];
  const own = ["databases", key, ...shared];
  const path = findEntry(root, own) === undefined ? shared : own;
  const entry = findEntry(root, path);
  return {
    severity: "error",
    rule: "suppressions",
    path: formatPath(path),
    ...(entry === undefined ? {} : { line: entry.line, column: entry.column }),
    message: error.message.replaceAll("\n", "\n  "),
  };
}

function isDay(value: unknown): value is string {
  if (typeof value !== "string" || !/^\d{4}-\d{2}-\d{2}$/.test(value)) return false;
  const day = new Date(`${value}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
