import { Command, CommanderError } from "commander";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Cli, ExitCode } from "./cli.ts";
import { commands } from "./index.ts";
import { addGlobalOptions } from "./options.ts";
import { createCli, type Terminal } from "./terminal.ts";

/** Builds the command line; `cli` may be absent where only the help is wanted. */
export function buildProgram(version: string, cli: Cli): Command {
  const program = new Command("pgkeep")
    .description("Keeps PostgreSQL healthy: the same jobs in a terminal, in a sandbox and on AWS.")
    .version(version)
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText(
      "after",
      "\nExit codes: 0 fine; 1 findings at or above --fail-on; 2 wrong usage or configuration; 3 could not do or assess what was asked.",
    );
  addGlobalOptions(program);
  for (const register of commands) register(program, cli);
  inherit(program);
  return program;
}

/** Commander copies settings only to commands that are made after them; ours are made by many files. */
function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
}

/** Runs one command line to its end. @returns the exit code; everything that went wrong has been printed */
export async function runCommandLine(
  args: readonly string[],
  version: string,
  terminal: Terminal,
): Promise<ExitCode> {
  const cli = createCli(terminal);
  const program = buildProgram(version, cli);
  const write = (stream: Terminal["stdout"]) => (text: string) => void stream.write(text);
  for (const command of everyCommand(program)) {
    command.configureOutput({ writeOut: write(terminal.stdout), writeErr: write(terminal.stderr) });
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return cli.exitCode;
  } catch (error) {
    return reportError(error, args.includes("--json"), cli);
  }
}

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

function reportError(error: unknown, asJson: boolean, cli: Cli): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const known =
    error instanceof PgkeepError
      ? error
      : new PgkeepError("internal", error instanceof Error ? (error.stack ?? error.message) : String(error), {
          remedy: "this is a fault of pgkeep: please report it with this text",
        });
  if (asJson) {
    cli.json({
      error: {
        code: known.code,
        message: known.message,
        ...(known.remedy === undefined ? {} : { remedy: known.remedy }),
      },
    });
  }
  cli.note(`pgkeep: ${known.message}`);
  if (known.remedy !== undefined) cli.note(`What to do: ${known.remedy}`);
  return known instanceof UsageError ? 2 : 3;
}
