import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { platform } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../errors.ts";
import type { PostgresMajor } from "../postgres/versions.ts";
import { freePort } from "./free-port.ts";
import { giveTo, type Owner, runAs, spawnAs } from "./owner.ts";
import {
  isAlive,
  readPostmasterFile,
  runningPostmaster,
  sendSignal,
  serverProcesses,
  waitUntil,
} from "./processes.ts";
import type { Login } from "./state.ts";

/** A server that exists on disk, running or not. */
export interface ServerFiles {
  dataDirectory: string;
  binDirectory: string;
  owner: Owner | null;
}

export type ServerSettings = Record<string, string | number | boolean>;

/** What every server of ours has: loopback only, no socket file, no memory segments outside its directory. */
const baseSettings: ServerSettings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  // Segments of the default kind stay in /dev/shm after a kill -9.
  dynamic_shared_memory_type: "mmap",
  shared_preload_libraries: "pg_stat_statements",
  password_encryption: "scram-sha-256",
  timezone: "UTC",
  log_timezone: "UTC",
  log_line_prefix: "%m [%p] %q%u@%d ",
  logging_collector: false,
};

const hostBasedAuthentication = `# Written by pgkeep: loopback only, always with a password.
host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`;

/** Server log: beside the data directory, so that copies of the cluster do not carry it along. */
export function logFile(dataDirectory: string): string {
  return `${dataDirectory}.log`;
}

/**
 * Creates an empty cluster: UTF-8, C locale, scram passwords, data checksums unless they are not wanted (which needs
 * the major version). @throws PgkeepError `start-failed`
 */
export async function initCluster(
  server: ServerFiles,
  superuser: Login,
  options: { major?: PostgresMajor; walSegmentMegabytes?: number; checksums?: boolean } = {},
): Promise<void> {
  const passwordFile = `${server.dataDirectory}.password`;
  await mkdir(server.dataDirectory, { recursive: true, mode: 0o700 });
  await giveTo(server.owner, server.dataDirectory);
  await writeFile(passwordFile, superuser.password, { mode: 0o600 });
  try {
    await giveTo(server.owner, passwordFile);
    await runAs(
      server.owner,
      join(server.binDirectory, "initdb"),
      [
        `--pgdata=${server.dataDirectory}`,
        `--username=${superuser.user}`,
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        ...(options.checksums === false ? withoutChecksums(options.major) : ["--data-checksums"]),
        "--no-sync",
        ...(options.walSegmentMegabytes === undefined
          ? []
          : [`--wal-segsize=${options.walSegmentMegabytes}`]),
      ],
      dirname(server.dataDirectory),
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
  await writeOwned(server.owner, join(server.dataDirectory, "pg_hba.conf"), hostBasedAuthentication);
  const main = join(server.dataDirectory, "postgresql.conf");
  await writeOwned(server.owner, main, `${await readFile(main, "utf8")}\ninclude 'pgkeep.conf'\n`);
  await configureServer(server, {});
}

/** Up to 17 there are none unless they are asked for, and no option against them. */
function withoutChecksums(major: PostgresMajor | undefined): string[] {
  return major !== undefined && major < 18 ? [] : ["--no-data-checksums"];
}

/**
 * Writes `pgkeep.conf`: the base settings and these, and nothing of what was there. They win over what `ALTER
 * SYSTEM` left in a copied cluster. Takes effect at the next start. The port belongs to `startServer`.
 */
export async function configureServer(server: ServerFiles, settings: ServerSettings): Promise<void> {
  await writeSettings(server, new Map(), { ...baseSettings, ...settings });
}

/** Changes settings in `pgkeep.conf`: those not named stay as they are, `null` removes one. */
export async function changeSettings(
  server: ServerFiles,
  changes: Record<string, ServerSettings[string] | null>,
): Promise<void> {
  const text = await readFile(join(server.dataDirectory, "pgkeep.conf"), "utf8").catch(() => "");
  await writeSettings(server, new Map(settingLines(text)), changes);
}

async function writeSettings(
  server: ServerFiles,
  settings: Map<string, string>,
  changes: Record<string, ServerSettings[string] | null>,
): Promise<void> {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) settings.delete(name);
    else settings.set(name, settingText(value));
  }
  const text = [...settings].map(([name, value]) => `${name} = ${value}\n`).join("");
  await writeOwned(server.owner, join(server.dataDirectory, "pgkeep.conf"), text);
  const automatic = join(server.dataDirectory, "postgresql.auto.conf");
  const ours = (name: string) => name === "port" || settings.has(name) || name in changes;
  const kept = settingLines(await readFile(automatic, "utf8").catch(() => "")).filter(
    ([name]) => !ours(name),
  );
  await writeOwned(server.owner, automatic, kept.map(([name, value]) => `${name} = ${value}\n`).join(""));
}

function settingLines(text: string): [name: string, value: string][] {
  return text.split("\n").flatMap((line): [string, string][] => {
    const match = /^\s*([\w.]+)\s*=\s*(.*)$/.exec(line);
    return match === null ? [] : [[(match[1] as string).toLowerCase(), match[2] as string]];
  });
}

function settingText(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  const escaped = String(value).replaceAll("\\", "\\\\").replaceAll("'", "''").replaceAll("\n", "\\n");
  return `'${escaped}'`;
}

async function writeOwned(owner: Owner | null, file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  await giveTo(owner, file);
}

export interface StartOptions {
  /** Fixed, e.g. after a crash. Without it a free one is chosen, and another when that is taken meanwhile. */
  port?: number;
  /** How long recovery may take until connections are accepted. Default 60,000. */
  timeoutMilliseconds?: number;
  signal?: AbortSignal;
}

export interface StartedServer {
  port: number;
  pid: number;
}

/**
 * Starts the server and waits until it accepts connections (on a standby: until it is consistent).
 * It runs in a session of its own, so Ctrl-C in the terminal does not reach it.
 * @throws PgkeepError `start-failed` with the last lines of its log; nothing is left running then
 */
export async function startServer(server: ServerFiles, options: StartOptions = {}): Promise<StartedServer> {
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const outcome = await tryStart(server, port, options);
    if ("pid" in outcome) return outcome;
    const collided = /could not bind|could not create any TCP/i.test(outcome.log);
    if (collided && options.port === undefined && attempt < 5) continue;
    throw new PgkeepError(
      "start-failed",
      `the server in ${server.dataDirectory} did not start on port ${port}: ${outcome.reason}\n${outcome.log}`,
      {
        remedy: collided
          ? `free port ${port} on 127.0.0.1, or choose another`
          : "read the server's last lines above, then try again",
      },
    );
  }
}

async function tryStart(
  server: ServerFiles,
  port: number,
  options: StartOptions,
): Promise<StartedServer | { reason: string; log: string }> {
  options.signal?.throwIfAborted();
  const log = await open(logFile(server.dataDirectory), "a", 0o600);
  let ended: string | undefined;
  let pid: number | undefined;
  let logStart = 0;
  try {
    logStart = (await log.stat()).size;
    const child = spawnAs(
      server.owner,
      join(server.binDirectory, "postgres"),
      ["-D", server.dataDirectory, "-c", `port=${port}`],
      { detached: true, stdio: ["ignore", log.fd, log.fd], cwd: server.dataDirectory },
    );
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
  const deadline = Date.now() + (options.timeoutMilliseconds ?? 60_000);
  for (;;) {
    if (ended !== undefined) return { reason: ended, log: await logTail(server.dataDirectory, logStart) };
    const file = await readPostmasterFile(server.dataDirectory);
    if (pid !== undefined && file?.pid === pid && file.status === "ready") return { port, pid };
    const aborted = options.signal?.aborted === true;
    if (aborted || Date.now() > deadline) {
      if (pid !== undefined) await endProcess(server.dataDirectory, pid, "SIGQUIT");
      if (aborted) throw options.signal?.reason;
      return {
        reason: "it accepted no connections in time",
        log: await logTail(server.dataDirectory, logStart),
      };
    }
    await delay(10);
  }
}

/** The last lines that the server logged, at most `lines`, from byte `from` of its log on. */
export async function logTail(dataDirectory: string, from = 0, lines = 12): Promise<string> {
  const text = await readFile(logFile(dataDirectory)).catch(() => Buffer.alloc(0));
  return text.subarray(from).toString("utf8").trimEnd().split("\n").slice(-lines).join("\n");
}

export async function isRunning(dataDirectory: string): Promise<boolean> {
  return (await runningPostmaster(dataDirectory)) !== undefined;
}

/** Stops the server; fine when it does not run. `fast` ends sessions and checkpoints, `immediate` recovers at the next start. */
export async function stopServer(dataDirectory: string, mode: "fast" | "immediate" = "fast"): Promise<void> {
  const file = await runningPostmaster(dataDirectory);
  if (file === undefined) return;
  await endProcess(dataDirectory, file.pid, mode === "fast" ? "SIGINT" : "SIGQUIT");
}

/** Kills the postmaster and every process of it with SIGKILL, as a loss of power to the process would. */
export async function crashServer(dataDirectory: string): Promise<void> {
  const file = await runningPostmaster(dataDirectory);
  if (file !== undefined) sendSignal(file.pid, "SIGKILL");
  const gone = await waitUntil(async () => {
    const processes = await serverProcesses(dataDirectory);
    for (const pid of processes) sendSignal(pid, "SIGKILL");
    return processes.length === 0 && (await runningPostmaster(dataDirectory)) === undefined;
  }, 10_000);
  if (!gone)
    throw new PgkeepError("internal", `a process of the server in ${dataDirectory} survived SIGKILL`);
}

async function endProcess(dataDirectory: string, pid: number, signal: NodeJS.Signals): Promise<void> {
  sendSignal(pid, signal);
  const ended = await waitUntil(
    async () =>
      (await runningPostmaster(dataDirectory)) === undefined &&
      (platform() === "linux" ? (await serverProcesses(dataDirectory)).length === 0 : !isAlive(pid)),
    signal === "SIGINT" ? 30_000 : 8_000,
  );
  if (!ended) await crashServer(dataDirectory);
}
