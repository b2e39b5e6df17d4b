import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { RestoreTarget } from "../ports/backups.ts";
import type { StoredBackup } from "./backup-store.ts";
import { giveTo } from "./owner.ts";
import { targetText } from "./restore-directory.ts";
import {
  configureServer,
  logFile,
  type ServerFiles,
  type ServerSettings,
  startServer,
  stopServer,
} from "./server.ts";
import type { Archive } from "./wal-archive.ts";
import { parseLsn, parseSegmentName, segmentAt } from "./wal-names.ts";

/** Settings of the old cluster without which its WAL may not replay, or it may not start. */
const inherited = [
  "max_connections",
  "max_prepared_transactions",
  "max_locks_per_transaction",
  "max_worker_processes",
  "shared_buffers",
  "fsync",
];

export async function recoverySettings(server: ServerFiles, archive: Archive): Promise<ServerSettings> {
  const settings: ServerSettings = {};
  const old = await readFile(join(server.dataDirectory, "pgkeep.conf"), "utf8").catch(() => "");
  for (const line of old.split("\n")) {
    const match = /^(\w+) = '?(.*?)'?$/.exec(line);
    if (match !== null && inherited.includes(match[1] as string))
      settings[match[1] as string] = match[2] as string;
  }
  const fetch = archive.directories
    .map((directory) => shellWord(join(directory, "%f").replaceAll("%", "%%").replace(/%%f$/, "%f")))
    .map((file) => `if [ -f ${file} ]; then exec cp ${file} "%p"; fi`)
    .join("; ");
  return {
    ...settings,
    restore_command: `${fetch}; exit 1`,
    recovery_target_action: "promote",
    recovery_target_timeline: "latest",
    // Nobody is let in before the target is reached, so no query ever sees a state on the way there.
    hot_standby: false,
    archive_mode: "off",
    primary_conninfo: "",
    primary_slot_name: "",
    synchronous_standby_names: "",
    max_wal_senders: 0,
    wal_level: "replica",
  };
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Makes the server begin with archive recovery. */
export async function requestRecovery(server: ServerFiles): Promise<void> {
  const file = join(server.dataDirectory, "recovery.signal");
  await writeFile(file, "", { mode: 0o600 });
  await giveTo(server.owner, file);
}

export interface RecoverOptions {
  complete: boolean;
  lastSegment: string | undefined;
  timeoutMilliseconds: number;
  signal: AbortSignal;
}

/**
 * Starts the server and waits until it is through recovery. Resolves to the time of the last commit it replayed.
 * @throws PgkeepError `restore-failed`
 */
export async function recover(
  server: ServerFiles,
  settings: ServerSettings,
  target: RestoreTarget,
  backup: StoredBackup,
  options: RecoverOptions,
): Promise<Date | undefined> {
  const start = async (targetSettings: ServerSettings) => {
    await configureServer(server, { ...settings, ...targetSettings });
    await startServer(server, { timeoutMilliseconds: options.timeoutMilliseconds, signal: options.signal });
  };
  try {
    await start(targetSettings(target));
  } catch (error) {
    const log = await readLog(server);
    if (!(error instanceof PgkeepError) || error.code !== "start-failed") throw error;
    if (!/recovery ended before configured recovery target was reached/.test(log)) {
      throw recoveryFailed(target, backup, log, error);
    }
    // With all WAL at hand nothing was committed between its end and the target, so its end is the target.
    if (!options.complete) throw endedEarly(target, log);
    await start({});
  }
  const log = await readLog(server);
  try {
    requireReplayed(log, backup, options.lastSegment);
  } catch (error) {
    await stopServer(server.dataDirectory, "immediate");
    throw error;
  }
  return lastCommit(log);
}

function targetSettings(target: RestoreTarget): ServerSettings {
  switch (target.kind) {
    case "latest":
      return {};
    case "backup":
      return { recovery_target: "immediate" };
    case "time":
      // Settings are read before the server knows abbreviations of time zones, so no Z.
      return {
        recovery_target_time: target.time.toISOString().replace("Z", "+00"),
        recovery_target_inclusive: true,
      };
  }
}

async function readLog(server: ServerFiles): Promise<string> {
  return readFile(logFile(server.dataDirectory), "utf8").catch(() => "");
}

/** The server's own words, in UTC because its log is. */
function lastCommit(log: string): Date | undefined {
  const all = [...log.matchAll(/last completed transaction was at log time (\S+ [\d:.]+)\+00/g)];
  const text = all.at(-1)?.[1];
  return text === undefined
    ? undefined
    : new Date(`${text.replace(" ", "T").replace(/(\.\d{3})\d+$/, "$1")}Z`);
}

/** A damaged record looks to recovery like the end of the log; the segments after it say that it is not. */
function requireReplayed(log: string, backup: StoredBackup, lastSegment: string | undefined): void {
  if (lastSegment === undefined) return;
  const done = [...log.matchAll(/redo done at ([0-9A-F]+\/[0-9A-F]+)/g)].at(-1)?.[1];
  const expected = parseSegmentName(lastSegment, backup.walSegmentBytes)?.number ?? 0;
  const reached = done === undefined ? -1 : segmentAt(parseLsn(done), backup.walSegmentBytes);
  if (reached >= expected) return;
  const reason = /(?:invalid|incorrect|unexpected|contrecord|record with)[^\n]*/.exec(log)?.[0];
  throw new PgkeepError(
    "restore-failed",
    `recovery stopped at ${done ?? "its beginning"}, before the segment ${lastSegment}${
      reason === undefined ? "" : `: ${reason}`
    }`,
    {
      remedy:
        "a WAL segment before it is damaged: bring it back from a copy of the archive; take a new backup now",
    },
  );
}

function endedEarly(target: RestoreTarget, log: string): PgkeepError {
  const last = lastCommit(log);
  return new PgkeepError(
    "restore-failed",
    `the archive ends before ${targetText(target).replace(/^time /, "")}: ${
      last === undefined
        ? "it holds no transaction after the backup"
        : `its last transaction is of ${last.toISOString()}`
    }`,
    { remedy: "restore to that moment or an earlier one" },
  );
}

function recoveryFailed(
  target: RestoreTarget,
  backup: StoredBackup,
  log: string,
  error: PgkeepError,
): PgkeepError {
  const fatal = [...log.matchAll(/(?:FATAL|PANIC): {2}(.*)/g)].map((match) => match[1]);
  const reason = fatal.find((line) => !/startup process|aborting/.test(line ?? "")) ?? errorMessage(error);
  return new PgkeepError(
    "restore-failed",
    `the backup ${backup.id} could not be recovered to ${targetText(target).replace(/^time /, "")}: ${reason}`,
    { remedy: "verify the backup with `pgkeep backup verify`, or restore from another one", cause: error },
  );
}
