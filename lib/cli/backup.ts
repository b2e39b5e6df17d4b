import type { JobConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import { backUp, type Pruned, pruneBackups, retentionPolicy } from "../jobs/back-up.ts";
import type { Backup, Backups, BackupVerification, RecoveryWindow } from "../ports/backups.ts";
import { type KeepReason, planRetention } from "../retention/plan.ts";
import { bytesText, countText } from "../words.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { onOption } from "./options.ts";
import { describeResult, runAnywhere } from "./run.ts";

/** A backup as `pgkeep backup list` shows it. */
export interface ListedBackup extends Backup {
  /** Rules that keep it now; empty when pruning would delete it. */
  keptFor: KeepReason[];
}

export interface BackupList {
  backups: ListedBackup[];
  window: RecoveryWindow | null;
  /** Why pruning would delete nothing, when the list looks wrong. */
  refused: string | null;
}

export async function listBackups(backups: Backups, config: JobConfig, now: Date): Promise<BackupList> {
  const list = await backups.list();
  const plan = planRetention(list, now, retentionPolicy(config, backups));
  const reasons = new Map(plan.keep.map((kept) => [kept.id, kept.reasons]));
  return {
    backups: list.map((backup) => ({ ...backup, keptFor: reasons.get(backup.id) ?? [] })),
    window: (await backups.recoveryWindow()) ?? null,
    refused: plan.refused ?? null,
  };
}

/** Verifies one backup, or the newest usable one. @throws PgkeepError `not-found` */
export async function verifyBackup(backups: Backups, id: string | undefined): Promise<BackupVerification> {
  if (id !== undefined) return backups.verify(id);
  const newest = (await backups.list())
    .filter(({ managed, status }) => managed && status === "available")
    .sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime())[0];
  if (newest !== undefined) return backups.verify(newest.id);
  throw new PgkeepError("not-found", "there is no usable backup to verify", {
    remedy: "take one with `pgkeep backup create`",
  });
}

/** The backups of an environment. @throws PgkeepError `refused` for a plain URL */
export function backupsOf(environment: Environment): Backups {
  const { backups } = environment.ports;
  if (backups !== undefined) return backups;
  throw new PgkeepError("refused", `${environment.description} has no physical backups that pgkeep knows`, {
    remedy: "leave --url away to work with the running sandbox, or give --on aws",
  });
}

export function sizeText(bytes: number | undefined): string {
  return bytes === undefined ? "" : bytesText(bytes);
}

const minuteText = (time: Date | undefined) => time?.toISOString().replace(/\.\d+Z$/, "Z") ?? "";

function listText(shown: BackupList, cli: Pick<Cli, "table">): string {
  if (shown.backups.length === 0) return "No backups. Take one with `pgkeep backup create`.";
  const rows = shown.backups.map((backup) => [
    backup.id,
    backup.status,
    minuteText(backup.startedAt),
    sizeText(backup.sizeBytes),
    minuteText(backup.verifiedAt),
    backup.pinned === undefined
      ? backup.keptFor.length === 0
        ? "(would be pruned)"
        : backup.keptFor.join(", ")
      : `pinned: ${backup.pinned.reason}`,
  ]);
  const lines = [cli.table(["backup", "status", "started", "size", "verified", "kept for"], rows), ""];
  lines.push(
    shown.window === null
      ? "No moment can be restored to."
      : `Restorable: any moment from ${shown.window.earliest.toISOString()} to ${shown.window.latest.toISOString()}`,
  );
  if (shown.refused !== null) lines.push(`Nothing would be pruned: ${shown.refused}`);
  return lines.join("\n");
}

function pruneText(pruned: Pruned, dryRun: boolean): string {
  const verb = dryRun ? "would delete" : "deleted";
  const lines = pruned.deleted.map(({ id, reason }) => `${verb} ${id}: ${reason}`);
  for (const { id, reason } of pruned.notDeleted) lines.push(`not deleted ${id}: ${reason}`);
  if (pruned.refused !== null) lines.push(`Nothing deleted: ${pruned.refused}`);
  lines.push(`${pruned.kept} kept, ${pruned.deleted.length} ${dryRun ? "to delete" : "deleted"}`);
  return lines.join("\n");
}

function verificationText(verification: BackupVerification): string {
  const { backupId, ok, filesChecked, bytesChecked, walSegmentsChecked, problems } = verification;
  // RDS shows a snapshot's state, not its files.
  if (ok && bytesChecked === 0) {
    return `${backupId}: complete, encrypted and of this database, with its copies (${countText(filesChecked, "snapshot")} looked at; a drill proves the data)`;
  }
  if (ok) {
    return `${backupId}: fine (${filesChecked} files, ${sizeText(bytesChecked)}, ${walSegmentsChecked} WAL segments)`;
  }
  return [
    `${backupId}: DAMAGED`,
    ...problems.map(
      ({ subject, relation, problem }) =>
        `  ${subject}${relation === undefined ? "" : ` (${relation})`}: ${problem}`,
    ),
  ].join("\n");
}

export const registerBackup: Register = (program, cli) => {
  const backup = program.command("backup").description("Physical backups: take, list, prune, verify, pin");
  const withBackups = async <T>(
    options: GlobalOptions,
    work: (backups: Backups, environment: Environment) => Promise<T>,
  ): Promise<T> => {
    const environment = await cli.open(options);
    try {
      return await work(backupsOf(environment), environment);
    } finally {
      await environment.close();
    }
  };

  backup
    .command("create")
    .description("take a backup now, named by date and time, with a manifest of the data")
    .option("--dry-run", "say what it would be named, and change nothing")
    .addOption(onOption())
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions & { dryRun?: boolean };
      const result = await runAnywhere(cli, options, backUp, {
        arguments: { requested: true, prune: false },
        dryRun: options.dryRun === true,
      });
      if (options.json === true) cli.json(result);
      else cli.out(describeResult(backUp, result));
      // Asked for and not made, even if only because another run is at it.
      if (result.outcome !== "succeeded") cli.setExitCode(3);
    });

  backup
    .command("list")
    .description("every backup, why it is kept, and the moments that can be restored to")
    .addOption(onOption())
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const shown = await withBackups(options, (backups, { config, ports }) =>
        listBackups(backups, config, ports.clock.now()),
      );
      if (options.json === true) cli.json(shown);
      else cli.out(listText(shown, cli));
    });

  backup
    .command("prune")
    .description("delete what the retention rules no longer want; nothing when the list looks wrong")
    .option("--dry-run", "say what would be deleted and why, and delete nothing")
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions & { dryRun?: boolean };
      const dryRun = options.dryRun === true;
      const pruned = await withBackups(options, (backups, { config, ports }) =>
        pruneBackups(backups, config, ports.clock.now(), { dryRun, signal: cli.signal }),
      );
      if (options.json === true) cli.json({ dryRun, ...pruned });
      else cli.out(pruneText(pruned, dryRun));
      if (pruned.refused !== null || pruned.notDeleted.length > 0) cli.setExitCode(3);
    });

  backup
    .command("verify")
    .description("recompute the checksums of a backup and look for gaps in its WAL; exit code 3 when damaged")
    .argument("[id]", "the backup (default: the newest usable one)")
    .addOption(onOption())
    .action(async (id: string | undefined, _: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const verification = await withBackups(options, (backups) => verifyBackup(backups, id));
      if (options.json === true) cli.json(verification);
      else cli.out(verificationText(verification));
      if (!verification.ok) cli.setExitCode(3);
    });

  backup
    .command("pin")
    .description("keep a backup whatever the rules say")
    .argument("<id>", "the backup")
    .requiredOption("--reason <text>", "why, for whoever wonders later")
    .addOption(onOption())
    .action(async (id: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions & { reason: string };
      if (options.reason.trim() === "")
        throw new UsageError("--reason is empty", { remedy: "say why it must stay" });
      await withBackups(options, (backups) => backups.pin(id, options.reason));
      if (options.json === true) cli.json({ backupId: id, pinned: { reason: options.reason } });
      else cli.out(`${id} is pinned: ${options.reason}`);
    });

  backup
    .command("unpin")
    .description("leave a pinned backup to the rules again")
    .argument("<id>", "the backup")
    .addOption(onOption())
    .action(async (id: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      await withBackups(options, (backups) => backups.unpin(id));
      if (options.json === true) cli.json({ backupId: id, pinned: null });
      else cli.out(`${id} is no longer pinned`);
    });
};
