import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { ConfigError, type ConfigProblem, formatPath } from "./problems.ts";
import { defaultInstanceClass } from "./rules/engine.ts";
import { rules } from "./rules/index.ts";
import type { RuleFinding } from "./rules/rule.ts";
import {
  type Config,
  type DatabaseConfig,
  databaseConfigSchema,
  databaseKeySchema,
  perDatabaseSections,
  sharedConfigSchema,
  sharedSections,
} from "./schema.ts";
import { emptyMap, findEntry, isPlainMap, type PlainMap, readSource, type SourceNode } from "./source.ts";
import { withSuppressions } from "./suppressions.ts";
import { mergeDeep, type Path, type ValidatedFile, validateFile } from "./validate.ts";

export { ConfigError, type ConfigProblem, formatProblem } from "./problems.ts";

/** The file that is read when none is named. */
export const defaultConfigFile = "pgkeep.yaml";

export interface CheckOptions {
  /** Against which the end of an engine version's support is held; default: the machine's time. */
  now?: Date;
}

export interface CheckedConfig {
  /** Undefined when there is an error. */
  config: Config | undefined;
  /** Errors and warnings, in the order of the file. */
  problems: ConfigProblem[];
}

/** Everything that can be said about the text of a configuration file. Never throws for what is in the text. */
export function checkConfig(text: string, options: CheckOptions = {}): CheckedConfig {
  const source = readSource(text);
  const unreadable = source.root === undefined && source.problems.length > 0;
  if (unreadable) return { config: undefined, problems: source.problems };
  const file = validateFile(source.root);
  const config = assemble(file);
  const context = { config, now: options.now ?? new Date() };
  const found = rules.flatMap((rule) =>
    rule
      .check(context)
      .filter((finding) => !touchesRemoved(finding, file))
      .map((finding, _, all) => ({
        ...locate(finding, file, source.root, whose(finding, all, config)),
        rule: rule.name,
      })),
  );
  const problems = inFileOrder(withoutRepeats([...source.problems, ...file.problems, ...found]));
  const failed = problems.some((problem) => problem.severity === "error");
  return { config: failed ? undefined : config, problems };
}

/**
 * The configuration in a text, with every default filled in.
 * @throws ConfigError (`configuration`) that lists every problem
 */
export function parseConfig(text: string, fileName: string, options: CheckOptions = {}): Config {
  const { config, problems } = checkConfig(text, options);
  if (config === undefined) throw new ConfigError(fileName, problems);
  return config;
}

/**
 * The configuration in a file, with what the files have that it names; the defaults when none is named and `directory`
 * has no `pgkeep.yaml`.
 * @throws ConfigError; UsageError (`configuration`) when the file cannot be read
 */
export async function loadConfig(file: string | undefined, directory = "."): Promise<Config> {
  const { text, fileName } = await readConfigFile(file, directory);
  const { config, problems } = await withSuppressions(parseConfig(text, fileName), {
    text,
    fileName,
    directory,
  });
  if (problems.length > 0) throw new ConfigError(fileName, problems);
  return config;
}

/** What stands when nothing is configured. */
export function defaultConfig(): Config {
  return parseConfig("", defaultConfigFile);
}

/**
 * The text of a configuration file, as `loadConfig` finds it.
 * @throws UsageError (`configuration`) when it does not exist (and was named), cannot be read or is not UTF-8
 */
export async function readConfigFile(
  file: string | undefined,
  directory = ".",
): Promise<{ text: string; fileName: string; exists: boolean }> {
  const fileName = file ?? defaultConfigFile;
  const unreadable = (what: string, remedy: string, cause?: unknown) =>
    new UsageError(
      `the configuration file ${fileName} ${what}`,
      cause === undefined ? { remedy } : { remedy, cause },
      "configuration",
    );
  if (fileName === "" || fileName.includes("\0")) {
    throw unreadable("has no valid name", "give the path of a file with --config");
  }
  let bytes: Buffer;
  try {
    bytes = await readFile(resolve(directory, fileName));
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT" && file === undefined) return { text: "", fileName, exists: false };
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw unreadable(
        "does not exist",
        "name an existing file with --config, or leave it out for the defaults",
      );
    }
    if (code === "EISDIR") throw unreadable("is a directory", "name a file with --config");
    throw unreadable(`cannot be read (${String(code ?? cause)})`, "check its permissions", cause);
  }
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), fileName, exists: true };
  } catch {
    throw unreadable("is not UTF-8 text", "save it as UTF-8");
  }
}

/** The configuration that valid values make; invalid ones have been taken out before. */
function assemble(file: ValidatedFile): Config {
  const defaults = pick(file.top, Object.keys(perDatabaseSections));
  const shared = sharedConfigSchema.parse(pick(file.top, Object.keys(sharedSections)));
  const databases =
    file.databases === undefined
      ? [oneDatabase(undefined, defaults)]
      : [...file.databases].map(([key, overrides]) => oneDatabase(key, mergeDeep(defaults, overrides)));
  return { databases, ...shared };
}

function oneDatabase(key: string | undefined, sections: PlainMap): DatabaseConfig {
  const given = isPlainMap(sections.database) ? sections.database : emptyMap();
  const instanceClass = defaultInstanceClass(given.topology);
  const database = {
    ...(instanceClass === undefined ? {} : { instanceClass }),
    ...(key === undefined ? {} : { name: key }),
    ...given,
  };
  const parsed = databaseConfigSchema.parse({ ...sections, database });
  return { key: key ?? databaseKey(parsed.database.name), ...parsed };
}

/** A database's name as a key: `Shop_EU` becomes `shop-eu`. */
export function databaseKey(name: string): string {
  const words = name
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  const key = (/^[a-z]/.test(words) ? words : `db-${words}`).slice(0, 40).replaceAll(/-+$/g, "");
  return databaseKeySchema.safeParse(key).success ? key : "db";
}

function pick(map: PlainMap, keys: readonly string[]): PlainMap {
  const picked = emptyMap();
  for (const key of keys) if (Object.hasOwn(map, key)) picked[key] = map[key];
  return picked;
}

/** Where a setting may stand in the file: the database's own section first, then the defaults. */
function candidates(finding: RuleFinding, setting: string, file: ValidatedFile): Path[] {
  const path = setting.split(".");
  return finding.database === undefined || file.databases === undefined
    ? [path]
    : [["databases", finding.database, ...path], path];
}

function touchesRemoved(finding: RuleFinding, file: ValidatedFile): boolean {
  const settings = [finding.path, ...(finding.others ?? [])].flatMap((setting) =>
    candidates(finding, setting, file).map(formatPath),
  );
  return file.removed.some((removed) => {
    const place = formatPath(removed);
    return settings.some((setting) => setting === place || setting.startsWith(`${place}.`));
  });
}

/** The databases that a shared setting is wrong for, where it is right for others; empty when for all. */
function whose(finding: RuleFinding, all: readonly RuleFinding[], config: Config): string {
  const same = all.filter(({ path, message }) => path === finding.path && message === finding.message);
  if (finding.database === undefined || same.length === config.databases.length) return "";
  const keys = same.flatMap(({ database }) => database ?? []);
  return ` (in ${[...keys.slice(0, 8), ...(keys.length > 8 ? [`${keys.length - 8} more`] : [])].join(", ")})`;
}

function locate(
  finding: RuleFinding,
  file: ValidatedFile,
  root: SourceNode | undefined,
  whom: string,
): Omit<ConfigProblem, "rule"> {
  const places = candidates(finding, finding.path, file);
  const written = places.find((place) => findEntry(root, place) !== undefined);
  const entry = findFirst(root, written === undefined ? causes(finding, file) : [written]);
  return {
    severity: finding.severity,
    path: formatPath(written ?? places[0] ?? []),
    ...(entry === undefined ? {} : { line: entry.line, column: entry.column }),
    message: written?.[0] === "databases" ? finding.message : `${finding.message}${whom}`,
  };
}

/** Where to look when the setting itself is not in the file: at those that do not agree with its default. */
function causes(finding: RuleFinding, file: ValidatedFile): Path[] {
  return (finding.others ?? []).flatMap((setting) => candidates(finding, setting, file));
}

function findFirst(root: SourceNode | undefined, places: readonly Path[]) {
  return places.map((place) => findEntry(root, place)).find((entry) => entry !== undefined);
}

function withoutRepeats(problems: readonly ConfigProblem[]): ConfigProblem[] {
  return [...new Map(problems.map((problem) => [`${problem.path}\n${problem.message}`, problem])).values()];
}

function inFileOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const last = Number.MAX_SAFE_INTEGER;
  return problems.toSorted(
    (a, b) => (a.line ?? last) - (b.line ?? last) || (a.column ?? last) - (b.column ?? last),
  );
}
