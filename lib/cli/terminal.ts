import Table from "cli-table3";
import { loadConfig } from "../config/load.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import { sandboxEnvironment } from "../sandbox/environment.ts";
import { findSandbox } from "../sandbox/state-file.ts";
import { urlEnvironment } from "../url/environment.ts";
import { escapeActing } from "../words.ts";
import type { Cli, ExitCode, GlobalOptions } from "./cli.ts";
import { deployedDatabase, openDeployed } from "./deployed.ts";

/** What the process around the command line is like; bin/pgkeep.ts fills it in. */
export interface Terminal {
  stdout: { write(text: string): unknown; isTTY?: boolean };
  stderr: { write(text: string): unknown; isTTY?: boolean };
  signal: AbortSignal;
  homeDirectory: string;
  workingDirectory: string;
  /** PATH and PG*, for PostgreSQL's own programs; absent where none may be found by PATH. */
  clientEnvironment?: Record<string, string | undefined>;
  /** Value of DATABASE_URL. */
  databaseUrl: string | undefined;
}

export function createCli(terminal: Terminal): Cli & { readonly exitCode: ExitCode } {
  let exitCode: ExitCode = 0;
  const loadWholeConfig = (options: GlobalOptions): Promise<Config> =>
    loadConfig(options.config, terminal.workingDirectory);
  return {
    out: (text) => void terminal.stdout.write(`${harmless(text)}\n`),
    note: (text) => void terminal.stderr.write(`${harmless(text)}\n`),
    json: (document) => void terminal.stdout.write(`${harmless(JSON.stringify(document, null, 2))}\n`),
    table,
    isTerminal: terminal.stdout.isTTY === true,
    signal: terminal.signal,
    workingDirectory: terminal.workingDirectory,
    homeDirectory: terminal.homeDirectory,
    clientEnvironment: terminal.clientEnvironment ?? {},
    get exitCode() {
      return exitCode;
    },
    setExitCode: (code) => {
      if (code > exitCode) exitCode = code;
    },
    loadConfig: loadWholeConfig,
    loadDatabaseConfig: async (options) => chooseDatabase(await loadWholeConfig(options), options),
    open: (options) => open(options, terminal, loadWholeConfig),
  };
}

/** Names, statements and messages of others may contain what a terminal acts on; lines and columns stay. */
function harmless(text: string): string {
  return escapeActing(text, "\t\n");
}

function chooseDatabase(config: Config, options: GlobalOptions): DatabaseConfig {
  const names = config.databases.map((database) => database.key);
  if (options.database === undefined) {
    const only = config.databases[0];
    if (only !== undefined && config.databases.length === 1) return only;
    throw new UsageError(`the configuration has ${names.length} databases: ${names.join(", ")}`, {
      remedy: "choose one with --database NAME",
    });
  }
  const chosen = config.databases.find(
    (database) => database.key === options.database || database.database.name === options.database,
  );
  if (chosen === undefined) {
    throw new UsageError(`the configuration has no database ${JSON.stringify(options.database)}`, {
      remedy: `choose one of: ${names.join(", ")}`,
    });
  }
  return chosen;
}

async function open(
  options: GlobalOptions,
  terminal: Terminal,
  loadWholeConfig: (options: GlobalOptions) => Promise<Config>,
): Promise<Environment> {
  if (options.on === "aws") {
    const config = await loadWholeConfig(options);
    return openDeployed(options, deployedDatabase(config, chooseDatabase(config, options)));
  }
  const url = options.url ?? terminal.databaseUrl;
  if (url !== undefined) {
    return urlEnvironment(
      url,
      options.replica ?? [],
      chooseDatabase(await loadWholeConfig(options), options),
    );
  }
  if (options.replica !== undefined) throw new UsageError("--replica goes with --url");
  const state = await findSandbox(terminal.homeDirectory);
  if (state === undefined) {
    throw new PgkeepError("no-sandbox", "no database was given, and no sandbox is running", {
      remedy: "give --url postgres://… (or set DATABASE_URL), or start a sandbox with `pgkeep sandbox`",
    });
  }
  return sandboxEnvironment(
    state,
    chooseDatabase(
      await loadWholeConfig({ config: options.config ?? state.configFile ?? undefined } as GlobalOptions),
      {
        database: options.database ?? state.databaseKey,
      },
    ),
  );
}

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const plain = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 2 },
    chars: {
      top: "",
      "top-mid": "",
      "top-left": "",
      "top-right": "",
      bottom: "",
      "bottom-mid": "",
      "bottom-left": "",
      "bottom-right": "",
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "",
    },
  });
  for (const row of rows) plain.push([...row]);
  return plain.toString().replaceAll(/[ \t]+$/gm, "");
}
