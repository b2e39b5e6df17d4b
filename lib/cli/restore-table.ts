import type { Environment } from "../environment.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import { type Swapped, swapTables } from "../logical/swap.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import type { Endpoint, Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";
import { compactTime } from "../retention/calendar.ts";
import { type RestoredTable, restoreTable, suffixedName } from "../table-restore/restore-table.ts";
import { countText, durationText } from "../words.ts";
import { backupsOf } from "./backup.ts";
import type { Cli, GlobalOptions } from "./cli.ts";
import { type RestoreOptions, restoreRequest } from "./restore-request.ts";

/** What `pgkeep restore --table … --json` prints. */
export interface TableRestored extends RestoredTable {
  /** With --swap, when it could be done. */
  swapped: Swapped | null;
  /** With --swap: why the restored table stays beside the original. */
  notSwapped: string | null;
}

/** @throws UsageError for options that make sense for a single table only */
export function requireWholeOptions(options: RestoreOptions): void {
  for (const [given, name] of [
    [options.where, "--where"],
    [options.as, "--as"],
    [options.swap, "--swap"],
    [options.keepAs, "--keep-as"],
    [options.lockWait, "--lock-wait"],
    [options.dryRun, "--dry-run"],
  ]) {
    if (given !== undefined) throw new UsageError(`${name} goes with --table`);
  }
}

function requireTableOptions(options: RestoreOptions): void {
  if (options.name !== undefined) {
    throw new UsageError("--name names an instance", { remedy: "name the table with --as" });
  }
  if (options.verify === true) {
    throw new UsageError("--verify proves a whole database", {
      remedy: "leave it away: the rows of a table are always compared",
    });
  }
  if (options.swap === true && options.where !== undefined) {
    throw new UsageError("--swap with --where would lose the rows that do not meet the condition", {
      remedy: "copy the restored rows back with INSERT … SELECT instead",
    });
  }
  if (options.keepAs !== undefined && options.swap !== true)
    throw new UsageError("--keep-as goes with --swap");
}

/** Prints what became of one table. Exit code 3 when a swap that was asked for could not be made. */
export async function restoreOneTable(cli: Cli, options: RestoreOptions, table: string): Promise<void> {
  // Wrong options are said before anything is opened.
  const name = parseTableName(table);
  requireTableOptions(options);
  const { target, fromBackupId } = restoreRequest(options, new Date(0));
  const environment = await cli.open(options as GlobalOptions);
  try {
    const lockTimeoutSeconds = options.lockWait ?? 5;
    const connect = connector(environment, lockTimeoutSeconds, cli.signal);
    const { clock } = environment.ports;
    const restored = await restoreTable({
      backups: backupsOf(environment),
      clock,
      connectPrimary: () => connect(),
      connectRestored: connect,
      table: { schema: name.schema, name: name.table },
      target,
      fromBackupId,
      where: options.where,
      as: options.as,
      dryRun: options.dryRun === true,
      signal: cli.signal,
      progress: (message) => cli.note(message),
    });
    const result: TableRestored = { ...restored, swapped: null, notSwapped: null };
    if (options.swap === true) {
      await swap(result, connect, {
        keepAs: options.keepAs ?? suffixedName(name.table, `_before_${compactTime(clock.now())}`),
        lockTimeoutSeconds,
      });
    }
    if (options.json === true) cli.json(result);
    else cli.out(restoredText(result));
    if (result.notSwapped !== null && !result.dryRun) cli.setExitCode(3);
  } finally {
    await environment.close();
  }
}

type Connect = (restored?: Endpoint) => Promise<Session>;

function connector(environment: Environment, lockTimeoutSeconds: number, signal: AbortSignal): Connect {
  return (restored) =>
    environment.connectAsMaster({
      statementTimeoutMilliseconds: 0,
      lockTimeoutMilliseconds: lockTimeoutSeconds * 1000,
      signal,
      ...(restored === undefined ? {} : { restored }),
    });
}

/** The restored table stays beside the original when it cannot take its place. */
async function swap(
  result: TableRestored,
  connect: Connect,
  options: { keepAs: string; lockTimeoutSeconds: number },
): Promise<void> {
  const { schema, name } = result.table;
  // Gone before: it has its name already. Not there yet: nothing to look at.
  if (result.how === "in-place") return;
  if (result.dryRun) {
    result.notSwapped = "whether it can take the original's place is looked at when it is there";
    return;
  }
  if (result.differences.length > 0) {
    result.notSwapped = result.differences.join("; ");
    return;
  }
  const session = await connect();
  try {
    result.swapped = await swapTables(session, {
      schema,
      original: name,
      restored: result.restored.name,
      dryRun: false,
      ...options,
    });
  } catch (error) {
    if (!(error instanceof PgkeepError)) throw error;
    result.notSwapped = error.remedy === undefined ? error.message : `${error.message} (${error.remedy})`;
  } finally {
    await session.close();
  }
}

function restoredText(result: TableRestored): string {
  const { table, restored, how, where, contents, swapped, notSwapped } = result;
  const [original, made] = [qualified(table.schema, table.name), qualified(restored.schema, restored.name)];
  const place = how === "beside" ? `beside ${original}, which is as it was` : "in its place, which was empty";
  if (result.dryRun) {
    const lines = [`Would restore ${made} ${place}`];
    if (notSwapped !== null) lines.push(`  Swap: ${notSwapped}`);
    return lines.join("\n");
  }
  const rows = `${countText(contents?.rows ?? 0, "row")}${where === null ? "" : ` where ${where}`}`;
  const lines = [
    `${made}: ${rows} from ${result.backupId}, ${swapped === null ? place : `now named ${original}`}`,
    `  Counted and hashed there and here: the same (${contents?.hash})`,
    `  ${durationText(result.rtoSeconds)}: ${durationText(result.restoreSeconds)} to recover, ${durationText(result.copySeconds)} to bring it back`,
  ];
  if (result.lastCommitAt !== null) lines.push(`  Last replayed commit: ${result.lastCommitAt}`);
  if (swapped !== null)
    lines.push(
      `  The table before is ${qualified(swapped.schema, swapped.keptAs)}: drop it when nobody needs it`,
    );
  for (const difference of result.differences) lines.push(`  Differs: ${difference}`);
  for (const left of result.leftOut) lines.push(`  Not brought back: ${left}`);
  if (notSwapped !== null) lines.push(`  Not swapped: ${notSwapped}`);
  return lines.join("\n");
}
