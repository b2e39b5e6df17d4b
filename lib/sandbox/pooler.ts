import { chmod, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseConfig } from "../config/schema.ts";
import { PgkeepError } from "../errors.ts";
import { type PgbouncerLogin, pgbouncerIni, pgbouncerUserlist } from "../pooling/pgbouncer-config.ts";
import { answersLogin } from "../postgres/probe.ts";
import { freePort } from "./free-port.ts";
import { exists, giveTo, type Owner, runAs, spawnAs } from "./owner.ts";
import { isAlive, sendSignal, waitUntil } from "./processes.ts";
import type { PoolerState } from "./state.ts";

/** PgBouncer as this machine has it. */
export interface Pgbouncer {
  program: string;
  /** E.g. `1.18.0`. */
  version: string;
}

const places = [
  "/usr/local/sbin",
  "/usr/local/bin",
  "/usr/sbin",
  "/usr/bin",
  "/sbin",
  "/bin",
  "/opt/homebrew/bin",
  "/opt/homebrew/sbin",
];

/** What to tell people when `findPgbouncer` found nothing. */
export const noPgbouncer =
  "no pgbouncer on this machine: applications connect to the servers themselves (apt-get install pgbouncer, brew install pgbouncer)";

/** Looks in the usual places, then in those of `searchPath` (as in PATH). Null when the machine has none that runs. */
export async function findPgbouncer(searchPath = ""): Promise<Pgbouncer | null> {
  const directories = [...searchPath.split(":").filter((place) => place.startsWith("/")), ...places];
  for (const directory of directories) {
    const program = join(directory, "pgbouncer");
    if (!(await exists(program))) continue;
    const output = await runAs(null, program, ["--version"], "/").catch(() => "");
    const version = /PgBouncer (\d+(?:\.\d+)+)/i.exec(output)?.[1];
    if (version !== undefined) return { program, version };
  }
  return null;
}

export interface PoolerOptions {
  pgbouncer: Pgbouncer;
  owner: Owner | null;
  /** The pooler gets a directory of its own below this one. */
  directory: string;
  /** The server behind it; the pooler has the same name. */
  server: { name: string; port: number };
  database: string;
  pooling: DatabaseConfig["pooling"];
  /** Who may log in through it. */
  logins: readonly PgbouncerLogin[];
  adminUser?: string;
  /** May read PgBouncer's console. */
  statsLogin?: PgbouncerLogin;
  /** Without it a free one is chosen. */
  port?: number;
}

/**
 * Writes the configuration of one PgBouncer and starts it on 127.0.0.1; resolves when it answers.
 * @throws PgkeepError `start-failed` with the last lines of its log; `refused` when it runs already;
 *   `configuration` for names it cannot hold
 */
export async function startPooler(options: PoolerOptions): Promise<PoolerState> {
  const directory = join(options.directory, options.server.name);
  for (const path of [options.directory, directory]) {
    const created = await mkdir(path, { recursive: true, mode: 0o700 });
    if (created !== undefined) await giveTo(options.owner, path);
  }
  await requireStopped(options.server.name, directory);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    await configure(options, directory, port);
    const outcome = await tryStart(options, directory, port);
    if ("pid" in outcome) {
      const { statsLogin } = options;
      const pooler = { name: options.server.name, port, pid: outcome.pid, directory };
      return statsLogin === undefined ? pooler : { ...pooler, statsLogin };
    }
    if (collided(outcome.log) && options.port === undefined && attempt < 5) continue;
    throw notStarted(options.server.name, port, outcome);
  }
}

/**
 * Starts a pooler that has ended, with the configuration, passwords and port that it had.
 * @throws PgkeepError `start-failed`, `refused`
 */
export async function restartPooler(
  pooler: PoolerState,
  { pgbouncer, owner }: Pick<PoolerOptions, "pgbouncer" | "owner">,
): Promise<PoolerState> {
  await requireStopped(pooler.name, pooler.directory);
  const outcome = await tryStart({ pgbouncer, owner }, pooler.directory, pooler.port);
  if ("pid" in outcome) return { ...pooler, pid: outcome.pid };
  throw notStarted(pooler.name, pooler.port, outcome);
}

/** One pooler in front of each server, all or none: when one does not start, those that did are stopped. */
export async function startPoolers(
  servers: readonly { name: string; port: number }[],
  options: Omit<PoolerOptions, "server" | "port">,
): Promise<PoolerState[]> {
  const outcomes = await Promise.allSettled(servers.map((server) => startPooler({ ...options, server })));
  const started = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  const failure = outcomes.find((outcome) => outcome.status === "rejected");
  if (failure === undefined) return started;
  await Promise.all(started.map(stopPooler));
  throw failure.reason;
}

/** Ends the pooler and its clients' connections; fine when it does not run. */
export async function stopPooler(pooler: PoolerState): Promise<void> {
  if (!(await isPoolerRunning(pooler))) return;
  // SIGTERM is PgBouncer's immediate shutdown; SIGINT would wait for clients.
  sendSignal(pooler.pid, "SIGTERM");
  if (await waitUntil(async () => !(await isPoolerRunning(pooler)), 3_000)) return;
  await crashPooler(pooler);
}

/** Kills the pooler with SIGKILL. */
export async function crashPooler(pooler: PoolerState): Promise<void> {
  if (!(await isPoolerRunning(pooler))) return;
  sendSignal(pooler.pid, "SIGKILL");
  if (!(await waitUntil(async () => !(await isPoolerRunning(pooler)), 5_000))) {
    throw new PgkeepError("internal", `PgBouncer ${pooler.pid} survived SIGKILL`);
  }
}

/** Whether this very pooler runs: a stranger that got its process id does not count. */
export async function isPoolerRunning(pooler: Pick<PoolerState, "pid" | "directory">): Promise<boolean> {
  if (!isAlive(pooler.pid)) return false;
  const command = await readFile(`/proc/${pooler.pid}/cmdline`, "utf8").catch(() => undefined);
  // Elsewhere than on Linux there is no /proc: the pid has to do. A zombie's command line is empty.
  if (command === undefined) return !(await exists("/proc/self"));
  return command.includes(join(pooler.directory, "pgbouncer.ini"));
}

function collided(log: string): boolean {
  return /address already in use|cannot listen/i.test(log);
}

function notStarted(name: string, port: number, outcome: { reason: string; log: string }): PgkeepError {
  return new PgkeepError(
    "start-failed",
    `PgBouncer for ${name} did not start on port ${port}: ${outcome.reason}\n${outcome.log}`,
    {
      remedy: collided(outcome.log)
        ? `free port ${port} on 127.0.0.1`
        : "read its last lines above, or set `pooling.enabled: false`",
    },
  );
}

async function requireStopped(name: string, directory: string): Promise<void> {
  const pid = await ownPid(directory);
  if (pid !== undefined && (await isPoolerRunning({ pid, directory }))) {
    throw new PgkeepError("refused", `PgBouncer for ${name} runs already (process ${pid})`);
  }
  // What a killed one left: PgBouncer refuses to start when a stranger has that process id now.
  await rm(pidFileOf(directory), { force: true });
}

async function configure(options: PoolerOptions, directory: string, port: number): Promise<void> {
  const authFile = join(directory, "userlist.txt");
  const ini = pgbouncerIni({
    database: options.database,
    server: { host: "127.0.0.1", port: options.server.port },
    listen: { host: "127.0.0.1", port },
    pooling: options.pooling,
    authFile,
    pidFile: pidFileOf(directory),
    version: options.pgbouncer.version,
    ...(options.adminUser === undefined ? {} : { adminUser: options.adminUser }),
    ...(options.statsLogin === undefined ? {} : { statsUser: options.statsLogin.user }),
  });
  const logins = options.statsLogin === undefined ? options.logins : [...options.logins, options.statsLogin];
  await writePrivate(options.owner, authFile, pgbouncerUserlist(logins));
  await writePrivate(options.owner, join(directory, "pgbouncer.ini"), ini);
}

async function writePrivate(owner: Owner | null, file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  // The mode above counts for a new file only.
  await chmod(file, 0o600);
  await giveTo(owner, file);
}

function pidFileOf(directory: string): string {
  return join(directory, "pgbouncer.pid");
}

function logFileOf(directory: string): string {
  return join(directory, "pgbouncer.log");
}

async function tryStart(
  options: Pick<PoolerOptions, "pgbouncer" | "owner">,
  directory: string,
  port: number,
): Promise<{ pid: number } | { reason: string; log: string }> {
  const log = await open(logFileOf(directory), "a", 0o600);
  let logStart = 0;
  let ended: string | undefined;
  let pid: number | undefined;
  try {
    logStart = (await log.stat()).size;
    const child = spawnAs(options.owner, options.pgbouncer.program, [join(directory, "pgbouncer.ini")], {
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
      cwd: directory,
    });
    child.once("error", (error) => {
      ended = error.message;
    });
    child.once("exit", (code, signal) => {
      ended = `it ended with ${signal ?? `exit code ${code}`}`;
    });
    child.unref();
    pid = child.pid;
  } finally {
    await log.close();
  }
  const deadline = Date.now() + 10_000;
  while (ended === undefined && pid !== undefined) {
    if (await answersLogin({ host: "127.0.0.1", port }, 500)) {
      // Something else may answer on that port while ours is just finding it taken.
      await delay(20);
      if (ended === undefined && (await ownPid(directory)) === pid) return { pid };
    }
    if (Date.now() > deadline) {
      sendSignal(pid, "SIGKILL");
      ended = "it did not answer in time";
    }
    await delay(15);
  }
  const text = (await readFile(logFileOf(directory))).subarray(logStart).toString("utf8");
  return { reason: ended ?? "it could not be started", log: text.trimEnd().split("\n").slice(-8).join("\n") };
}

async function ownPid(directory: string): Promise<number | undefined> {
  const text = await readFile(pidFileOf(directory), "utf8").catch(() => "");
  return text.trim() === "" ? undefined : Number(text);
}
