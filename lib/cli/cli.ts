import type { Command } from "commander";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";

/** 0 fine; 1 findings at or above --fail-on; 2 wrong usage or configuration; 3 could not do or assess it. */
export type ExitCode = 0 | 1 | 2 | 3;

/** Options that every command has. */
export interface GlobalOptions {
  config?: string;
  database?: string;
  url?: string;
  replica?: string[];
  json?: boolean;
  /** Of commands that can work with what is deployed: there, with the caller's own AWS credentials. */
  on?: "aws";
}

/** What the edge gives to a command. A command computes data, then prints with these. */
export interface Cli {
  /** A line on standard output. */
  out(text: string): void;
  /** A line on standard error: progress, warnings. */
  note(text: string): void;
  /** The one document of `--json`. */
  json(document: unknown): void;
  /** A table without frames, columns aligned. */
  table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string;
  readonly isTerminal: boolean;
  /** Against which relative file names count. */
  readonly workingDirectory: string;
  /** Where pointers to running sandboxes are kept. */
  readonly homeDirectory: string;
  /** PATH, PGPASSWORD and the like, for PostgreSQL's own programs. */
  readonly clientEnvironment: Record<string, string | undefined>;
  /** Aborted by Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  /** Highest code that was set wins; default 0. */
  setExitCode(code: ExitCode): void;
  /** The whole file, or the defaults when `pgkeep.yaml` does not exist and --config was not given. */
  loadConfig(options: GlobalOptions): Promise<Config>;
  /** The database chosen with --database; the only one when there is one. */
  loadDatabaseConfig(options: GlobalOptions): Promise<DatabaseConfig>;
  /** `--on aws`, --url or DATABASE_URL, else the running sandbox. */
  open(options: GlobalOptions): Promise<Environment>;
}

/** Each file in lib/cli exports one: it adds its command to the program. */
export type Register = (program: Command, cli: Cli) => void;
