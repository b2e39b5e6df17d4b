import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Manifest } from "../../lib/drill/manifest.ts";
import { type BackUpReport, backUp, pruneBackups } from "../../lib/jobs/back-up.ts";
import { requestedBackupId, scheduledBackupId } from "../../lib/jobs/backup-names.ts";
import { drillRestore } from "../../lib/jobs/drill-restore.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import type { Backup, Backups } from "../../lib/ports/backups.ts";
import { configFor } from "../helpers/config.ts";
import { useShop } from "../helpers/shop.ts";

const reportOf = (result: JobResult) => result.report as unknown as BackUpReport;

describe("the daily backup", () => {
  const shop = useShop();
  const today = () => scheduledBackupId("test", new Date());

  it("says what it would do, and does nothing, on a dry run", async () => {
    const result = await shop.run(backUp, { dryRun: true });
    expect(result).toMatchObject({
      outcome: "succeeded",
      report: { dryRun: true, backupId: today(), existed: false, backup: { status: "absent" }, deleted: [] },
    });
    expect(await readdir(shop.primary.places.backupsDirectory)).toEqual([]);
    expect(await shop.sql("select 1 from pgkeep.backup_manifest")).toEqual([]);
  });

  it("is named by its day and describes the data before it copies", async () => {
    const result = await shop.run(backUp);
    expect(result).toMatchObject({
      outcome: "succeeded",
      warnings: [],
      report: { backupId: today(), existed: false, backup: { id: today(), status: "available" } },
    });
    expect(reportOf(result).manifest).toMatchObject({ tables: 3, counted: 3, hashed: 3, unread: 0 });
    const [row] = await shop.sql<{ manifest: Manifest }>("select manifest from pgkeep.backup_manifest");
    expect(row?.manifest).toMatchObject({ backupId: today(), database: "shop", unread: [] });
    expect(row?.manifest.tables.map(({ schema, name, rows }) => ({ schema, name, rows }))).toEqual([
      { schema: "public", name: "countries", rows: 500 },
      { schema: "public", name: "customers", rows: 2000 },
      { schema: "public", name: "orders", rows: 5000 },
    ]);
    const [backup] = await shop.backups.list();
    expect(new Date(row?.manifest.takenAt ?? 0).getTime()).toBeLessThan(backup?.startedAt.getTime() ?? 0);
  });

  it("finds its backup when the trigger comes twice, and keeps the first manifest", async () => {
    const [before] = await shop.sql<{ manifest: Manifest }>("select manifest from pgkeep.backup_manifest");
    await shop.sql("insert into public.customers (name) values ('new')");
    const result = await shop.run(backUp);
    expect(result).toMatchObject({ outcome: "succeeded", report: { existed: true } });
    expect(await shop.backups.list()).toHaveLength(1);
    expect(await shop.sql("select manifest from pgkeep.backup_manifest")).toEqual([before]);
  });

  it("is one more when a person asks", async () => {
    const result = await shop.run(backUp, { arguments: { requested: true, prune: false } });
    expect(reportOf(result).backupId).toBe(requestedBackupId("test", result.runId));
    expect(await shop.backups.list()).toHaveLength(2);
  });

  it("deletes the older of one day, oldest first, and neither pinned nor foreign ones", async () => {
    await mkdir(join(shop.primary.places.backupsDirectory, "somebody-elses"));
    await shop.run(backUp, { arguments: { requested: true, prune: false } });
    await shop.backups.pin(today(), "the release");
    const before = (await shop.backups.list()).filter(({ managed }) => managed);
    const dry = await shop.run(backUp, { dryRun: true });
    expect(reportOf(dry).deleted).toEqual([{ id: before[1]?.id, reason: "expired" }]);
    expect((await shop.backups.list()).filter(({ managed }) => managed)).toHaveLength(3);
    const result = await shop.run(backUp);
    expect(reportOf(result)).toMatchObject({ deleted: [{ id: before[1]?.id }], kept: 3, refused: null });
    expect((await shop.backups.list()).map(({ id }) => id).sort()).toEqual(
      [before[0]?.id, today(), "somebody-elses"].sort(),
    );
  });

  it("goes on without a manifest when the database has no place for one, and says so", async () => {
    await shop.sql("alter table pgkeep.backup_manifest rename to moved");
    const result = await shop.run(backUp, { arguments: { requested: true, prune: false } });
    expect(result.outcome).toBe("succeeded");
    expect(reportOf(result).manifest).toBeNull();
    expect(reportOf(result).warnings).toEqual([expect.stringMatching(/^no manifest: .*backup_manifest/)]);
    await shop.sql("alter table pgkeep.moved rename to backup_manifest");
  });

  it("leaves out what it may not read or has no time for, and the drill proves it otherwise", async () => {
    await shop.sql("revoke all on function pgkeep.table_hash(regclass) from public, pgkeep_monitoring");
    const result = await shop.run(backUp, { arguments: { requested: true, prune: false } });
    expect(reportOf(result)).toMatchObject({
      manifest: { tables: 3, counted: 0, unread: 3 },
      warnings: [expect.stringMatching(/^not counted: .*permission denied for function table_hash/)],
    });
    await shop.sql("grant execute on function pgkeep.table_hash(regclass) to pgkeep_monitoring");
    const drill = await shop.run(drillRestore);
    expect(drill).toMatchObject({ outcome: "succeeded", report: { tablesProved: 0 } });
    expect((drill.report as { notAssessable: string[] }).notAssessable).toContain(
      "table public.orders: the manifest has no count of it",
    );
  });

  it("refuses arguments that it does not know", async () => {
    await expect(shop.run(backUp, { arguments: { purge: true } })).rejects.toMatchObject({ code: "usage" });
  });
});

describe("pruning", () => {
  const config = configFor("shop", { backups: { keepDaily: 1, keepWeekly: 0, keepMonthly: 0 } });
  const now = new Date("2026-03-18T04:00:00Z");
  const list: Backup[] = ["2026-03-15", "2026-03-16", "2026-03-17", "2026-03-18"].map((day) => ({
    id: `b-${day}`,
    database: "shop",
    status: "available",
    startedAt: new Date(`${day}T03:00:00Z`),
    managed: true,
  }));

  function recording(removeFails: Record<string, Error> = {}) {
    const removed: string[] = [];
    const backups = {
      list: async () => list,
      remove: async (id: string) => {
        const error = removeFails[id];
        if (error !== undefined) throw error;
        removed.push(id);
      },
    } as unknown as Backups;
    return { removed, backups };
  }

  it("goes on after one that could not be deleted, and reports it", async () => {
    const { removed, backups } = recording({ "b-2026-03-16": new Error("the disk says no") });
    const pruned = await pruneBackups(backups, config, now, { dryRun: false });
    expect(removed).toEqual(["b-2026-03-15", "b-2026-03-17"]);
    expect(pruned).toEqual({
      kept: 1,
      deleted: [
        { id: "b-2026-03-15", reason: "expired" },
        { id: "b-2026-03-17", reason: "expired" },
      ],
      notDeleted: [{ id: "b-2026-03-16", reason: "the disk says no" }],
      refused: null,
    });
  });

  it("stops deleting at its deadline", async () => {
    const { removed, backups } = recording();
    const pruned = await pruneBackups(backups, config, now, { dryRun: false, signal: AbortSignal.abort() });
    expect(removed).toEqual([]);
    expect(pruned.notDeleted).toHaveLength(3);
  });

  it("deletes nothing when the clock is wrong", async () => {
    const { removed, backups } = recording();
    const pruned = await pruneBackups(backups, config, new Date("2026-03-17T12:00:00Z"), { dryRun: false });
    expect(removed).toEqual([]);
    expect(pruned.refused).toMatch(
      /the clock says 2026-03-17T12:00:00.000Z, which is before the start of b-2026-03-18/,
    );
  });
});
