import { type Proved, prove } from "../drill/prove.ts";
import type { Environment } from "../environment.ts";
import { UsageError } from "../errors.ts";
import type { RestoreRequest, RestoreTarget } from "../ports/backups.ts";
import type { Endpoint } from "../ports/databases.ts";
import { backupsOf } from "./backup.ts";
import type { Register } from "./cli.ts";
import { wholeNumber } from "./options.ts";
import { type RestoreOptions, restoreRequest } from "./restore-request.ts";
import { requireWholeOptions, restoreOneTable } from "./restore-table.ts";

export interface RestoredInstance {
  name: string;
  database: string;
  endpoint: Endpoint;
  backupId: string;
  target: string;
  lastCommitAt: string | null;
  seconds: number;
  /** With --verify. */
  proved?: Proved;
}

/**
 * Restores into a new instance that stays until somebody discards it; with `verify` proves its data.
 * An interrupted one is removed.
 */
export async function restoreInstance(
  environment: Environment,
  request: RestoreRequest,
  options: { verify: boolean; signal: AbortSignal; progress: (message: string) => void },
): Promise<RestoredInstance> {
  const backups = backupsOf(environment);
  const { clock, restored: restoredPort, primary } = environment.ports;
  const { signal, progress } = options;
  const startedAt = clock.now();
  progress(`restoring ${targetText(request.target)} into ${request.name}`);
  let state = await backups.restore(request);
  try {
    while (state.status === "restoring") {
      signal.throwIfAborted();
      progress(state.detail);
      await clock.sleep(state.pollAfterSeconds * 1000, signal);
      state = await backups.restore(request);
    }
  } catch (error) {
    if (signal.aborted) await backups.discard(request.name);
    throw error;
  }
  const { endpoint, backupId, lastCommitAt } = state;
  const instance: RestoredInstance = {
    name: request.name,
    database: environment.config.database.name,
    endpoint,
    backupId,
    target: targetText(request.target),
    lastCommitAt: lastCommitAt?.toISOString() ?? null,
    seconds: (clock.now().getTime() - startedAt.getTime()) / 1000,
  };
  if (!options.verify || restoredPort === undefined) return instance;
  const login = { role: "drill", statementTimeoutMilliseconds: 0, signal } as const;
  instance.proved = await prove({
    connectRestored: () => restoredPort.connect(endpoint, login),
    ...(primary === undefined ? {} : { connectPrimary: () => primary.connect(login) }),
    backupId,
    database: environment.config.database.name,
    ...(request.target.kind === "time" ? { targetTime: request.target.time } : {}),
    startedAt,
    now: () => clock.now(),
    signal,
    progress,
  });
  return instance;
}

function targetText(target: RestoreTarget): string {
  if (target.kind === "time") return target.time.toISOString();
  return target.kind === "backup" ? `the end of ${target.backupId}` : "everything archived";
}

function instanceText(instance: RestoredInstance): string {
  const { endpoint, name } = instance;
  const lines = [
    `${name}: ${instance.target}, from ${instance.backupId}, in ${instance.seconds} s`,
    `  Connect: psql "host=${endpoint.host} port=${endpoint.port} dbname=${connectionValue(instance.database)} user=…"`,
    "           (roles and passwords are those of the primary at that moment)",
    `  Discard: pgkeep restore --discard ${name}`,
  ];
  if (instance.lastCommitAt !== null) lines.push(`  Last replayed commit: ${instance.lastCommitAt}`);
  for (const { name: proof, ok, detail } of instance.proved?.proofs ?? []) {
    lines.push(`  ${ok ? "✓" : "✗"} ${proof}: ${detail}`);
  }
  for (const gap of instance.proved?.notAssessable ?? []) lines.push(`  ? ${gap}`);
  return lines.join("\n");
}

/** A value in libpq's connection string (PostgreSQL documentation, "Connection Strings"). */
function connectionValue(text: string): string {
  return /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

export const registerRestore: Register = (program, cli) => {
  program
    .command("restore")
    .description("Restore to a moment, or a backup, into a new instance that stays until it is discarded")
    .option(
      "--to-time <time>",
      "every transaction committed up to this moment, none after (ISO 8601 with zone)",
    )
    .option("--backup <id>", "the state at the end of this backup; with --to-time or --latest, start from it")
    .option("--latest", "everything that the archive holds")
    .option("--name <name>", "name of the new instance (default: restore-<date and time>)")
    .option("--verify", "prove the restored data as the drill does")
    .option("--discard <name>", "stop and delete an instance that was restored")
    .option(
      "--table <name>",
      "only this table, as in SQL with its schema: beside the original, or in its place when that is gone",
    )
    .option("--where <condition>", "with --table: only its rows that meet this SQL condition")
    .option("--as <name>", "with --table: its name (default: <table>_restored_<date and time>)")
    .option("--swap", "with --table: then put it in the original's place, in one transaction")
    .option("--keep-as <name>", "with --swap: the original's name afterwards (default: <table>_before_…)")
    .option(
      "--lock-wait <seconds>",
      "with --table: how long to wait for locks on the original (default: 5)",
      wholeNumber(1, 300),
    )
    .option("--dry-run", "with --table: say what would be restored, and change nothing")
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as RestoreOptions;
      if (options.discard !== undefined) return discard(options, options.discard);
      if (options.table !== undefined) return restoreOneTable(cli, options, options.table);
      requireWholeOptions(options);
      // Wrong options are said before anything is opened.
      restoreRequest(options, new Date(0));
      const environment = await cli.open(options);
      try {
        const instance = await restoreInstance(
          environment,
          restoreRequest(options, environment.ports.clock.now()),
          { verify: options.verify === true, signal: cli.signal, progress: (message) => cli.note(message) },
        );
        if (options.json === true) cli.json(instance);
        else cli.out(instanceText(instance));
        if (instance.proved?.proofs.some(({ ok }) => !ok) === true) cli.setExitCode(3);
      } finally {
        await environment.close();
      }
    });

  async function discard(options: RestoreOptions, name: string): Promise<void> {
    if (options.toTime !== undefined || options.backup !== undefined || options.latest === true) {
      throw new UsageError("--discard goes alone");
    }
    const environment = await cli.open(options);
    try {
      const backups = backupsOf(environment);
      const known = (await backups.restored?.())?.includes(name);
      await backups.discard(name);
      if (options.json === true) cli.json({ discarded: name, existed: known ?? null });
      else cli.out(known === false ? `There was no restored instance named ${name}` : `${name} is gone`);
    } finally {
      await environment.close();
    }
  }
};
