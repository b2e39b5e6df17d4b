import { tmpdir } from "node:os";
import { runCommandLine } from "../../lib/cli/program.ts";

export interface CliRun {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CliSurroundings {
  databaseUrl?: string;
  homeDirectory?: string;
  workingDirectory?: string;
  signal?: AbortSignal;
  clientEnvironment?: Record<string, string>;
  /** Called with each text that is printed, at once. */
  onOutput?: (text: string) => void;
}

/** Runs one command line as the process would, without a terminal, and gives what it printed. */
export async function runCli(args: readonly string[], surroundings: CliSurroundings = {}): Promise<CliRun> {
  const stdout: string[] = [];
  const stderr: string[] = [];
  const printing = (to: string[]) => (text: string) => {
    to.push(text);
    surroundings.onOutput?.(text);
  };
  const code = await runCommandLine(args, "0.0.0-test", {
    stdout: { write: printing(stdout) },
    stderr: { write: printing(stderr) },
    signal: surroundings.signal ?? new AbortController().signal,
    homeDirectory: surroundings.homeDirectory ?? "/nonexistent",
    workingDirectory: surroundings.workingDirectory ?? tmpdir(),
    clientEnvironment: surroundings.clientEnvironment ?? {},
    databaseUrl: surroundings.databaseUrl,
  });
  return { code, stdout: stdout.join(""), stderr: stderr.join("") };
}

/** The connection URL of a target, as a user would write it. */
export function urlOf(target: {
  host: string;
  port: number;
  database: string;
  user: string;
  password?: unknown;
}): string {
  const encoded = (text: unknown) => encodeURIComponent(String(text));
  return `postgres://${encoded(target.user)}:${encoded(target.password ?? "")}@${target.host}:${target.port}/${encoded(target.database)}`;
}
