import * as z from "zod";
import type { JobConfig } from "../config/schema.ts";
import { readManifest, storeManifest, takeManifest } from "../drill/manifest.ts";
import { errorMessage, PgkeepError, UsageError } from "../errors.ts";
import type { Backup, Backups } from "../ports/backups.ts";
import { planRetention, type RetentionPolicy } from "../retention/plan.ts";
import { bytesText, countText } from "../words.ts";
import { requestedBackupId, scheduledBackupId } from "./backup-names.ts";
import { again, defineJob, done, failed, type StepContext, type StepResult, step } from "./job.ts";

const argumentsSchema = z.strictObject({
  /** A person asks: the name has the run's id in it, so it is never the day's scheduled backup. */
  requested: z.boolean().default(false),
  /** False: only back up. */
  prune: z.boolean().default(true),
});

type Arguments = z.output<typeof argumentsSchema>;

type Described = {
  backupId: string;
  prune: boolean;
  manifest: {
    takenAt: string;
    tables: number;
    counted: number;
    hashed: number;
    unread: number;
    seconds: number;
  } | null;
  /** Why there is no manifest, or what it lacks. */
  warnings: string[];
};

type Copied = Described & {
  backup: BackupSummary;
  /** The backup was there already: this trigger came twice on one day. */
  existed: boolean;
};

type BackupSummary = {
  id: string;
  status: string;
  startedAt: string | null;
  finishedAt: string | null;
  sizeBytes: number | null;
};

export type BackUpReport = Omit<Copied, "prune"> & {
  dryRun: boolean;
  kept: number;
  deleted: { id: string; reason: string }[];
  notDeleted: { id: string; reason: string }[];
  /** Why nothing was deleted although the rules might want to. */
  refused: string | null;
};

const pollSeconds = 30;

/** Describes the data, takes a backup, and deletes what the retention rules no longer want. */
export const backUp = defineJob({
  name: "back-up",
  summary: "Take the day's backup with a manifest of the data, and delete what the retention rules drop",
  schedule: "0 3 * * *",
  supportsDryRun: true,
  parseArguments: (value): Arguments => {
    const parsed = argumentsSchema.safeParse(value ?? {});
    if (!parsed.success) throw new UsageError(`arguments of back-up: ${z.prettifyError(parsed.error)}`);
    return parsed.data;
  },
  describe: describeReport,
  steps: [
    step("describe", {
      where: "database",
      needs: ["primary"],
      // Counting is bounded by its own budget, at most an hour.
      timeoutSeconds: 3_900,
      run: (context: StepContext<Arguments, "primary">) => describe(context),
    }),
    step("copy", {
      where: "control-plane",
      needs: ["backups"],
      calls: { backups: ["list", "create"] },
      timeoutSeconds: 3_600,
      run: copy,
    }),
    step("prune", {
      where: "control-plane",
      needs: ["backups"],
      calls: { backups: ["list", "remove", "recoveryWindow"] },
      timeoutSeconds: 600,
      run: prune,
    }),
  ],
});

/** What an execution leaves that its time was too short for the budget. */
type Describing = { spentSeconds: number; read: number };

/** Kept free for storing what was read. */
function describingMarginMilliseconds(left: number): number {
  return Math.min(10_000, left / 5);
}

async function describe(context: StepContext<Arguments, "primary">): Promise<StepResult<Described>> {
  const { config, input, run, ports, dryRun } = context;
  const backupId = input.requested
    ? requestedBackupId(config.key, run.id)
    : scheduledBackupId(config.key, run.startedAt);
  const described: Described = { backupId, prune: input.prune, manifest: null, warnings: [] };
  if (dryRun) return done(described);
  context.progress("describing the data");
  const { budgetSeconds, hashTablesUpToBytes } = config.backups.manifest;
  const session = await ports.primary.connect({
    role: "monitoring",
    statementTimeoutMilliseconds: 60_000,
    signal: context.deadline,
  });
  try {
    const so = (context.resume as Describing | undefined) ?? { spentSeconds: 0, read: -1 };
    const left = budgetSeconds - so.spentSeconds;
    const here = Math.min(
      left,
      (context.timeLeft() - describingMarginMilliseconds(context.timeLeft())) / 1000,
    );
    const previous = so.read < 0 ? undefined : await readManifest(session, backupId);
    const manifest = await takeManifest(session, {
      backupId,
      budgetSeconds: Math.max(0, here),
      hashTablesUpToBytes,
      previous,
    });
    await storeManifest(session, manifest, previous !== undefined);
    const read = manifest.tables.filter(({ rows }) => rows !== undefined).length;
    // What is stored holds as it is; the next execution reads more, as long as each gets any further.
    if (here < left && read > so.read && read < manifest.tables.length) {
      context.progress(`described ${read} of ${manifest.tables.length} tables: the next execution goes on`);
      return again(0, { spentSeconds: so.spentSeconds + manifest.seconds, read });
    }
    described.manifest = {
      takenAt: manifest.takenAt,
      tables: manifest.tables.length,
      counted: manifest.tables.filter(({ rows }) => rows !== undefined).length,
      hashed: manifest.tables.filter(({ hash }) => hash !== undefined).length,
      unread: manifest.unread.length,
      seconds: manifest.seconds,
    };
    described.warnings = summarizeUnread(manifest.unread);
  } catch (error) {
    context.deadline.throwIfAborted();
    // A backup without a manifest is worth more than none; the drill will say what it could not prove.
    if (!(error instanceof PgkeepError) || error.code === "unreachable") throw error;
    described.warnings = [`no manifest: ${errorMessage(error)}`];
  } finally {
    await session.close();
  }
  return done(described);
}

function summarizeUnread(unread: readonly { schema: string; table: string; reason: string }[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const { schema, table, reason } of unread) {
    byReason.set(reason, [...(byReason.get(reason) ?? []), `${schema}.${table}`]);
  }
  return [...byReason].map(
    ([reason, tables]) =>
      `not counted: ${tables.slice(0, 3).join(", ")}${tables.length > 3 ? ` and ${tables.length - 3} more` : ""} (${reason})`,
  );
}

async function copy(context: StepContext<Described, "backups">): Promise<StepResult<Copied>> {
  const { input, resume, ports, dryRun } = context;
  const before = (await ports.backups.list()).find(({ id }) => id === input.backupId);
  const existed = resume === undefined ? before?.status === "available" : false;
  if (dryRun) return done({ ...input, backup: summary(before, input.backupId), existed });
  context.progress(`copying into ${input.backupId}`);
  const backup = await ports.backups.create(input.backupId);
  if (backup.status === "creating") return again(pollSeconds, { polling: true });
  const copied = { ...input, backup: summary(backup, backup.id), existed };
  if (backup.status === "available") return done(copied);
  return failed(copied, `the backup ${backup.id} is ${backup.status}`);
}

function summary(backup: Backup | undefined, id: string): BackupSummary {
  return {
    id,
    status: backup?.status ?? "absent",
    startedAt: backup?.startedAt.toISOString() ?? null,
    finishedAt: backup?.finishedAt?.toISOString() ?? null,
    sizeBytes: backup?.sizeBytes ?? null,
  };
}

async function prune(context: StepContext<Copied, "backups">): Promise<StepResult<BackUpReport>> {
  const { input, config, ports, clock, dryRun } = context;
  const { prune: wanted, ...rest } = input;
  const now = clock.now();
  const pruned = wanted
    ? await pruneBackups(ports.backups, config, now, { dryRun, signal: context.deadline })
    : { kept: (await ports.backups.list()).length, deleted: [], notDeleted: [], refused: null };
  const report: BackUpReport = { ...rest, dryRun, ...pruned };
  const usable = (await ports.backups.list()).filter(
    ({ managed, status }) => managed && status === "available",
  );
  context.measure("BackupsKept", usable.length);
  const newest = Math.max(...usable.map(({ startedAt }) => startedAt.getTime()));
  if (usable.length > 0) context.measure("BackupAge", Math.max(0, (now.getTime() - newest) / 1000));
  const window = await ports.backups.recoveryWindow();
  if (window !== undefined) {
    context.measure("RestorableLag", Math.max(0, (now.getTime() - window.latest.getTime()) / 1000));
  }
  if (pruned.notDeleted.length > 0) {
    return failed(
      report,
      `not deleted: ${pruned.notDeleted.map(({ id, reason }) => `${id} (${reason})`).join("; ")}`,
    );
  }
  if (pruned.refused !== null) return failed(report, `nothing was pruned: ${pruned.refused}`);
  return done(report);
}

export type Pruned = Pick<BackUpReport, "kept" | "deleted" | "notDeleted" | "refused">;

/** Deletes what `planRetention` allows, one at a time, oldest first; with `dryRun` only says so. */
export async function pruneBackups(
  backups: Backups,
  config: JobConfig,
  now: Date,
  options: { dryRun: boolean; signal?: AbortSignal },
): Promise<Pruned> {
  const plan = planRetention(await backups.list(), now, retentionPolicy(config, backups));
  const pruned: Pruned = {
    kept: plan.keep.length,
    deleted: [],
    notDeleted: [],
    refused: plan.refused ?? null,
  };
  for (const { id, reason } of plan.delete) {
    if (options.dryRun) {
      pruned.deleted.push({ id, reason });
      continue;
    }
    if (options.signal?.aborted === true) {
      pruned.notDeleted.push({ id, reason: "the time of this run was over" });
      continue;
    }
    try {
      await backups.remove(id);
      pruned.deleted.push({ id, reason });
    } catch (error) {
      // Gone is what was wanted: another run was faster.
      if (error instanceof PgkeepError && error.code === "not-found") continue;
      pruned.notDeleted.push({ id, reason: errorMessage(error) });
    }
  }
  return pruned;
}

export function retentionPolicy(
  config: JobConfig,
  { recoversFromBackups }: Pick<Backups, "recoversFromBackups">,
): RetentionPolicy {
  const { keepDaily, keepWeekly, keepMonthly, pointInTimeRecoveryDays } = config.backups;
  return {
    daily: keepDaily,
    weekly: keepWeekly,
    monthly: keepMonthly,
    ...(recoversFromBackups === true ? { recoveryDays: pointInTimeRecoveryDays } : {}),
  };
}

function describeReport(report: BackUpReport): string[] {
  const { backup, manifest } = report;
  const would = report.dryRun ? "would be " : "";
  const lines = [
    report.existed
      ? `${backup.id} existed already`
      : report.dryRun
        ? `${backup.id} would be taken`
        : `${backup.id}: ${bytesText(backup.sizeBytes ?? 0)}`,
  ];
  if (manifest !== null) {
    lines.push(`manifest: ${manifest.tables} tables, ${manifest.counted} counted, ${manifest.hashed} hashed`);
  }
  lines.push(...report.warnings);
  lines.push(`${countText(report.kept, "backup")} kept, ${report.deleted.length} ${would}deleted`);
  for (const { id, reason } of report.deleted) lines.push(`  ${would}deleted: ${id} (${reason})`);
  if (report.refused !== null) lines.push(`nothing deleted: ${report.refused}`);
  return lines;
}
