import { stringify } from "yaml";
import { configJsonSchema, type JsonSchema } from "../config/json-schema.ts";
import {
  type ConfigProblem,
  checkConfig,
  formatProblem,
  parseConfig,
  readConfigFile,
} from "../config/load.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import { withSuppressions } from "../config/suppressions.ts";
import { UsageError } from "../errors.ts";
import type { GlobalOptions, Register } from "./cli.ts";

export interface ConfigCheck {
  file: string;
  /** False when there is no `pgkeep.yaml` and none was named: the defaults stand. */
  exists: boolean;
  /** True when there is no error; there may be warnings. */
  ok: boolean;
  /** Keys of the databases; empty when the file has an error. */
  databases: string[];
  problems: ConfigProblem[];
}

/**
 * Everything that is wrong or doubtful in the configuration file, and in the files that it names.
 * @throws UsageError when the file cannot be read
 */
export async function checkConfigFile(
  file: string | undefined,
  directory: string,
  now: Date = new Date(),
): Promise<ConfigCheck> {
  const { text, fileName, exists } = await readConfigFile(file, directory);
  const checked = checkConfig(text, { now });
  const named =
    checked.config === undefined
      ? []
      : (await withSuppressions(checked.config, { text, fileName, directory })).problems;
  const config = named.length === 0 ? checked.config : undefined;
  const problems = [...checked.problems, ...named];
  return {
    file: fileName,
    exists,
    ok: config !== undefined,
    databases: config?.databases.map((database) => database.key) ?? [],
    problems,
  };
}

/** The result of a check for people. */
export function configCheckText({ file, exists, ok, databases, problems }: ConfigCheck): string {
  const lines = problems.map(
    (problem) => `${problem.severity === "error" ? "error  " : "warning"}  ${formatProblem(problem)}`,
  );
  const errors = problems.filter((problem) => problem.severity === "error").length;
  const warnings = problems.length - errors;
  const counts = [
    errors > 0 ? counted(errors, "error") : "",
    warnings > 0 ? counted(warnings, "warning") : "",
  ]
    .filter((text) => text !== "")
    .join(", ");
  const name = exists ? file : `no ${file}, so the defaults`;
  return [
    ...lines,
    ok
      ? `${name}: ok, ${counted(databases.length, "database")}${counts === "" ? "" : `, ${counts}`}`
      : `${name}: ${counts}`,
  ].join("\n");
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** The effective configuration in the form of the file: loading it gives the same configuration again. */
export type ShownConfig = { databases: Record<string, Omit<DatabaseConfig, "key">> } & Omit<
  Config,
  "databases"
>;

/** @throws UsageError when `database` is given and the configuration has none of that name */
export function showConfig(config: Config, database?: string): ShownConfig {
  const { databases, ...shared } = config;
  const chosen = databases.filter(
    ({ key, database: { name } }) => database === undefined || key === database || name === database,
  );
  if (chosen.length === 0) {
    throw new UsageError(`the configuration has no database ${JSON.stringify(database)}`, {
      remedy: `choose one of: ${databases.map(({ key }) => key).join(", ")}`,
    });
  }
  return {
    databases: Object.fromEntries(chosen.map(({ key, ...sections }) => [key, sections])),
    ...shared,
  };
}

export const registerConfig: Register = (program, cli) => {
  const config = program
    .command("config")
    .description("The configuration file: what is wrong, what is in effect");
  config
    .command("check")
    .description("list every problem of the configuration file; exit code 2 when there is an error")
    .action(async (_options, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const result = await checkConfigFile(options.config, cli.workingDirectory);
      if (options.json === true) cli.json(result);
      else cli.out(configCheckText(result));
      if (!result.ok) cli.setExitCode(2);
    });
  config
    .command("show")
    .description("print the configuration in effect, with every default; --database narrows it")
    .action(async (_options, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const { text, fileName } = await readConfigFile(options.config, cli.workingDirectory);
      const shown = showConfig(parseConfig(text, fileName), options.database);
      if (options.json === true) cli.json(shown);
      else cli.out(stringify(shown).trimEnd());
    });
  config
    .command("schema")
    .description("print the JSON Schema of the configuration file, for editors")
    .action(() => {
      const schema: JsonSchema = configJsonSchema();
      cli.json(schema);
    });
};
