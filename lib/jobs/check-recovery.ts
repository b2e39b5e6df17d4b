import type { Backups, RecoveryWindow } from "../ports/backups.ts";
import { countText, durationText } from "../words.ts";
import { defineJob, done, failed, type StepContext, type StepResult, step } from "./job.ts";

export type CheckRecoveryReport = {
  /** The moments that can be restored to, ISO 8601; null when there is none. */
  earliestRestorableAt: string | null;
  latestRestorableAt: string | null;
  restorableLagSeconds: number | null;
  /** Usable backups that pgkeep has taken. */
  backups: number;
  newestBackupAt: string | null;
  newestBackupAgeSeconds: number | null;
};

/**
 * Every five minutes, as often as AWS ships the log: measures what a disaster would cost now. It looks at the
 * backups themselves, not at what jobs say of them. It fails when no moment at all can be restored.
 */
export const checkRecovery = defineJob({
  name: "check-recovery",
  summary: "Measure how much a restore would lose now, and how old the newest backup is",
  schedule: "*/5 * * * *",
  // It only reads, and has to tell most when the primary is gone.
  lock: "when-possible",
  supportsDryRun: true,
  describe: describeReport,
  steps: [
    step("look", {
      where: "control-plane",
      needs: ["backups"],
      calls: { backups: ["list", "recoveryWindow"] },
      timeoutSeconds: 120,
      run: look,
    }),
  ],
});

async function look({
  ports,
  clock,
  measure,
}: StepContext<Record<string, never>, "backups">): Promise<StepResult<CheckRecoveryReport>> {
  const report = await lookAtRecovery(ports.backups, clock.now());
  measure("BackupsKept", report.backups);
  if (report.newestBackupAgeSeconds !== null) measure("BackupAge", report.newestBackupAgeSeconds);
  if (report.restorableLagSeconds !== null) measure("RestorableLag", report.restorableLagSeconds);
  return report.earliestRestorableAt === null
    ? failed(
        report,
        "no moment can be restored: automated backups are off, or the first one is not complete yet",
      )
    : done(report);
}

/** What could be restored now: usable backups of pgkeep, and the moments between. Reads only. */
export async function lookAtRecovery(
  backups: Pick<Backups, "list" | "recoveryWindow">,
  now: Date,
): Promise<CheckRecoveryReport> {
  const window = await backups.recoveryWindow();
  const usable = (await backups.list()).filter(({ managed, status }) => managed && status === "available");
  const newest = usable.reduce<Date | undefined>(
    (latest, { startedAt }) => (latest === undefined || startedAt > latest ? startedAt : latest),
    undefined,
  );
  return {
    ...describeWindow(window, now),
    backups: usable.length,
    newestBackupAt: newest?.toISOString() ?? null,
    newestBackupAgeSeconds: newest === undefined ? null : secondsBetween(newest, now),
  };
}

function describeWindow(window: RecoveryWindow | undefined, now: Date) {
  return {
    earliestRestorableAt: window?.earliest.toISOString() ?? null,
    latestRestorableAt: window?.latest.toISOString() ?? null,
    restorableLagSeconds: window === undefined ? null : secondsBetween(window.latest, now),
  };
}

/** Clocks that differ make no negative age. */
function secondsBetween(from: Date, to: Date): number {
  return Math.max(0, (to.getTime() - from.getTime()) / 1000);
}

function describeReport(report: CheckRecoveryReport): string[] {
  const { earliestRestorableAt: earliest, latestRestorableAt: latest, newestBackupAt } = report;
  return [
    earliest === null || latest === null
      ? "No moment can be restored."
      : `Every moment from ${earliest} to ${latest} can be restored: ${durationText(report.restorableLagSeconds ?? 0)} would be lost now.`,
    newestBackupAt === null
      ? "There is no backup."
      : `${countText(report.backups, "backup")}, the newest of ${newestBackupAt} (${durationText(report.newestBackupAgeSeconds ?? 0)} ago).`,
  ];
}
