import { spawn } from "node:child_process";
import { homedir } from "node:os";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PgkeepError } from "../errors.ts";
import type { ClientLogin } from "../ports/databases.ts";

/**
 * Ends the program when we end, however that happens: the guard waits for the end of its standard input, which
 * only we hold open. Without it a killed run would leave a pg_dump that writes into a directory of nobody.
 */
const guard = `
exec 3<&0
"$@" <&4 3<&- 4<&- &
child=$!
exec 4<&-
( read -r _ <&3; kill -TERM $child ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait $child
status=$?
kill $watcher 2>/dev/null
exit $status
`;

export interface ClientRun {
  program: string;
  args: readonly string[];
  login?: ClientLogin | undefined;
  /** PATH, PG* and the like of whoever runs us; only what `passedOn` names goes through. */
  environment?: Record<string, string | undefined> | undefined;
  /** Given to the program's standard input. */
  input?: Readable;
  /** The program may end well without having read all of `input`, as `pg_restore --list` does. */
  readsBeginningOnly?: boolean;
  /** Called with the program's standard output; resolves when it has been read to its end. */
  output?: (stdout: Readable) => Promise<void>;
  signal?: AbortSignal | undefined;
  /** Each line that the program writes to standard error. */
  onLine?: (line: string) => void;
}

/** What may reach a program from our own surroundings: its password file and certificates, nothing that redirects it. */
const passedOn = [
  "PATH",
  "PGPASSWORD",
  "PGPASSFILE",
  "PGSSLMODE",
  "PGSSLROOTCERT",
  "PGSSLCERT",
  "PGSSLKEY",
  "PGSSLCRL",
  "PGCHANNELBINDING",
  "KRB5CCNAME",
  "TMPDIR",
];

/** A program that did not do what it was asked; `stderr` holds its own words. */
export class ClientError extends Error {
  readonly stderr: string;
  readonly exitCode: number | null;
  constructor(message: string, stderr: string, exitCode: number | null) {
    super(message);
    this.name = "ClientError";
    this.stderr = stderr;
    this.exitCode = exitCode;
  }
}

/**
 * Runs one of PostgreSQL's programs to its end, with the login in its environment, never on its command line.
 * @throws ClientError when it fails, or whatever `input` or `output` failed with
 */
export async function runClient(run: ClientRun): Promise<void> {
  run.signal?.throwIfAborted();
  const child = spawn("/bin/sh", ["-c", guard, "pgkeep-client", run.program, ...run.args], {
    stdio: ["pipe", run.output === undefined ? "ignore" : "pipe", "pipe", "ignore", "pipe"],
    env: clientEnvironment(run),
    cwd: "/",
  });
  const [leash, stdout, stderr, , stdin] = child.stdio as unknown as [
    Writable,
    Readable | null,
    Readable,
    null,
    Writable,
  ];
  leash.on("error", () => {});
  const lines = collectLines(stderr, run.onLine);
  const letGo = () => void leash.end();
  run.signal?.addEventListener("abort", letGo, { once: true });
  try {
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    // When our side fails (a full disk), the program is stopped instead of being left writing to nobody. A pipe
    // that broke because the program ended is not the reason for its end.
    const failures: unknown[] = [];
    const fail = (error: unknown) => {
      failures.push(error);
      stdout?.destroy();
      leash.end();
    };
    const reading = (
      run.output === undefined || stdout === null ? Promise.resolve() : run.output(stdout)
    ).catch(fail);
    let unread: unknown;
    const feeding = feed(run.input, stdin).catch((error: unknown) => {
      if (isBrokenPipe(error)) unread = error;
      else fail(error);
    });
    const exitCode = await ended;
    run.signal?.throwIfAborted();
    await Promise.all([reading, feeding]);
    if (unread !== undefined && exitCode === 0 && run.readsBeginningOnly !== true) failures.push(unread);
    const [failure] = failures;
    if (failure !== undefined && !(isBrokenPipe(failure) && exitCode !== 0)) throw failure;
    if (exitCode !== 0) {
      const text = lines.join("\n").trim();
      throw new ClientError(firstError(text) ?? `ended with code ${exitCode}`, text, exitCode);
    }
  } finally {
    run.signal?.removeEventListener("abort", letGo);
    leash.destroy();
    stdin.destroy();
  }
}

function isBrokenPipe(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return ["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"].includes(code ?? "");
}

async function feed(input: Readable | undefined, stdin: Writable): Promise<void> {
  stdin.on("error", () => {});
  if (input === undefined) {
    stdin.end();
    return;
  }
  await pipeline(input, stdin);
}

/** The last thousand lines: a program that complains about each row must not fill our memory. */
function collectLines(stderr: Readable, onLine?: (line: string) => void): string[] {
  const lines: string[] = [];
  let rest = "";
  const take = (line: string) => {
    lines.push(line);
    if (lines.length > 1_000) lines.splice(100, 1);
    onLine?.(line);
  };
  stderr.setEncoding("utf8");
  stderr.on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\n");
    rest = (parts.pop() ?? "").slice(-10_000);
    for (const part of parts) take(part);
  });
  stderr.on("end", () => {
    if (rest !== "") take(rest);
  });
  stderr.on("error", () => {});
  return lines;
}

function firstError(text: string): string | undefined {
  const match = /(?:error|fatal):\s*(.+)/i.exec(text);
  return match?.[1]?.trim();
}

function clientEnvironment({ login, environment = {} }: ClientRun): NodeJS.ProcessEnv {
  const result: NodeJS.ProcessEnv = {
    PATH: "/usr/local/bin:/usr/bin:/bin",
    HOME: homedir(),
    LC_ALL: "C",
  };
  for (const name of passedOn) {
    if (environment[name] !== undefined) result[name] = environment[name];
  }
  if (login === undefined) return result;
  Object.assign(result, {
    PGHOST: login.host,
    PGPORT: String(login.port),
    PGUSER: login.user,
    PGAPPNAME: "pgkeep",
    PGCONNECT_TIMEOUT: "10",
    PGCLIENTENCODING: "UTF8",
    ...(login.password === undefined ? {} : { PGPASSWORD: login.password }),
  });
  for (const [name, value] of Object.entries(login.tls)) {
    result[`PG${name.replaceAll("_", "").toUpperCase()}`] = value;
  }
  return result;
}

/**
 * A script for psql in one transaction, whose commit is sent only when the script has come to its good end.
 * psql's own --single-transaction commits at the end of its input, also when that input was cut off.
 */
export function committedAtEnd(script: AsyncIterable<Buffer | string>): Readable {
  return Readable.from(
    (async function* () {
      yield "begin;\n";
      yield* script;
      yield "\ncommit;\n";
    })(),
    { objectMode: false },
  );
}

/** The option that names the database, quoted so that no name is read as a connection string of its own. */
export function databaseOption(name: string): string {
  return `--dbname=dbname='${name.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** Turns what a program said into one of our errors. `doing` is e.g. `dumping shop`. */
export function clientFailure(error: unknown, program: string, doing: string): unknown {
  if (!(error instanceof ClientError)) return error;
  const said = error.stderr
    .split("\n")
    .filter((line) => /error|fatal|detail|hint/i.test(line))
    .slice(0, 6)
    .map((line) => line.trim())
    .join("; ");
  const message = `${doing} failed: ${program} says: ${said === "" ? error.message : said}`;
  const denied = /permission denied for (.+)/i.exec(error.stderr)?.[1];
  if (denied !== undefined) {
    return new PgkeepError("insufficient-privilege", message, {
      remedy: `grant the role SELECT on ${denied.split(/[\n;]/)[0]} (or membership in pg_read_all_data), or leave it out with --exclude-table`,
      cause: error,
    });
  }
  const extension = /permission denied to create extension "([^"]+)"/i.exec(error.stderr)?.[1];
  if (extension !== undefined) {
    return new PgkeepError("insufficient-privilege", message, {
      remedy: `restore as a role that may create the extension ${extension} (a superuser, or rds_superuser on RDS), or take a dump without it: of the application's schemas, with --schema`,
      cause: error,
    });
  }
  if (
    /connection to server|server closed the connection|terminating connection|could not connect|no connection to the server/i.test(
      error.stderr,
    )
  ) {
    return new PgkeepError("unreachable", message, {
      remedy: "see whether the server is running and reachable, then run it again",
      cause: error,
    });
  }
  if (/no space left|could not write|disk full/i.test(error.stderr)) {
    return new PgkeepError("statement-failed", message, {
      remedy: "make room where the dump is written, then run it again",
      cause: error,
    });
  }
  // pg_dump limits its wait for a lock with a statement timeout.
  if (/lock timeout|could not obtain lock|statement timeout[\s\S]*LOCK TABLE/i.test(error.stderr)) {
    return new PgkeepError(
      "timeout",
      `${doing} failed: a table stayed locked by another session; ${program} says: ${said}`,
      {
        remedy: "wait until the other session has released its lock, or raise --lock-wait",
        cause: error,
      },
    );
  }
  return new PgkeepError("statement-failed", message, { cause: error });
}
