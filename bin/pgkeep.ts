#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { runCommandLine } from "../lib/cli/program.ts";
import { PgkeepError } from "../lib/errors.ts";
import { packageRoot } from "../lib/package-root.ts";

const interruption = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => interruption.abort(new PgkeepError("deadline", `stopped by ${name}`)));
}
// A reader that goes away (`pgkeep … | head`) is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
  version: string;
};

process.exitCode = await runCommandLine(process.argv.slice(2), version, {
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interruption.signal,
  homeDirectory: homedir(),
  workingDirectory: process.cwd(),
  clientEnvironment: process.env,
  databaseUrl: process.env.DATABASE_URL || undefined,
});
