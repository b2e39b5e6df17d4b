import { describe, expect, it } from "vitest";
import { backUp } from "../../lib/jobs/back-up.ts";
import { type CheckRecoveryReport, checkRecovery } from "../../lib/jobs/check-recovery.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { useShop } from "../helpers/shop.ts";

const reportOf = (result: JobResult) => result.report as unknown as CheckRecoveryReport;

describe("the watch over what can be restored", () => {
  const shop = useShop();
  const measured = (name: string) => shop.ports.data.findLast((datum) => datum.name === name)?.value;

  it("fails, and measures no age, while there is nothing to restore", async () => {
    const result = await shop.run(checkRecovery);
    expect(result).toMatchObject({
      outcome: "failed",
      reason: expect.stringMatching("no moment can be restored"),
      report: { backups: 0, newestBackupAt: null, latestRestorableAt: null },
    });
    expect(measured("BackupsKept")).toBe(0);
    expect(measured("BackupAge")).toBeUndefined();
    expect(measured("RestorableLag")).toBeUndefined();
    expect(checkRecovery.describe?.(result.report)).toEqual([
      "No moment can be restored.",
      "There is no backup.",
    ]);
  });

  it("measures what would be lost now, and the age of the newest usable backup", async () => {
    const before = Date.now();
    await shop.run(backUp);
    const result = await shop.run(checkRecovery);
    expect(result).toMatchObject({ outcome: "succeeded", recorded: true, warnings: [] });
    const { latestRestorableAt, earliestRestorableAt, newestBackupAt, backups } = reportOf(result);
    expect(backups).toBe(1);
    expect(Date.parse(earliestRestorableAt ?? "")).toBeGreaterThan(before);
    expect(Date.parse(newestBackupAt ?? "")).toBeGreaterThan(before - 1);
    const lag = measured("RestorableLag") ?? Number.NaN;
    expect(lag).toBeGreaterThanOrEqual(0);
    expect(lag).toBeLessThanOrEqual((Date.now() - Date.parse(latestRestorableAt ?? "")) / 1000);
    expect(measured("BackupAge")).toBeLessThan((Date.now() - before) / 1000);
  });

  it("sees the lag grow while nothing is archived", async () => {
    const first = reportOf(await shop.run(checkRecovery)).restorableLagSeconds ?? Number.NaN;
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const later = reportOf(await shop.run(checkRecovery)).restorableLagSeconds ?? Number.NaN;
    expect(later - first).toBeGreaterThan(1);
  });

  it("needs no database: it goes on, unrecorded, while the primary is down", async () => {
    const { primary: _, ...ports } = shop.ports;
    const result = await runJob(checkRecovery, { ports, config: shop.config });
    expect(result).toMatchObject({ outcome: "succeeded", recorded: false });
  });

  it("changes nothing on a dry run, and measures nothing", async () => {
    const count = shop.ports.data.length;
    expect(await shop.run(checkRecovery, { dryRun: true })).toMatchObject({ outcome: "succeeded" });
    expect(shop.ports.data.length).toBe(count);
  });
});
