import { copyFile, cp, open, readdir, readFile, rename, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { backUp } from "../../lib/jobs/back-up.ts";
import { type DrillReport, drillRestore } from "../../lib/jobs/drill-restore.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { literal } from "../../lib/postgres/identifiers.ts";
import { BackupStore, type StoredBackup } from "../../lib/sandbox/backup-store.ts";
import { pageBytes } from "../../lib/sandbox/page-checksum.ts";
import { allMajors, oldestAndNewest } from "../helpers/postgres.ts";
import { type Shop, useShop } from "../helpers/shop.ts";

const reportOf = (result: JobResult) => result.report as unknown as DrillReport;

async function newestBackup(shop: Shop): Promise<{ store: BackupStore; backup: StoredBackup }> {
  const store = new BackupStore(shop.primary.places.backupsDirectory);
  const newest = (await store.list()).find(({ status }) => status === "available");
  if (newest === undefined) throw new Error("no backup");
  return { store, backup: await store.read(newest.id) };
}

async function expectCleanedUp(shop: Shop): Promise<void> {
  expect(await readdir(shop.primary.places.scratchDirectory)).toEqual([]);
}

/** Changes bytes of a file in the middle of one page. */
async function damage(file: string, block: number, length = 64): Promise<() => Promise<void>> {
  const handle = await open(file, "r+");
  const position = block * pageBytes + pageBytes - 200;
  const original = Buffer.alloc(length);
  await handle.read(original, 0, length, position);
  await handle.write(Buffer.from(original.map((byte) => byte ^ 0xa5)), 0, length, position);
  await handle.close();
  return async () => {
    const again = await open(file, "r+");
    await again.write(original, 0, length, position);
    await again.close();
  };
}

describe.each(allMajors)("a drill on PostgreSQL %i", (major) => {
  const shop = useShop(major);

  async function drillFails(proof: string, detail: RegExp): Promise<void> {
    const result = await shop.run(drillRestore);
    expect(result.outcome).toBe("failed");
    expect(result.reason).toMatch(detail);
    const failed = reportOf(result).proofs.filter(({ ok }) => !ok);
    expect(failed.map(({ name }) => name)).toContain(proof);
    await expectCleanedUp(shop);
  }

  it("fails and says why when there is no backup", async () => {
    await drillFails("restore", /no backup to restore from/);
  });

  it("restores, proves, measures, remembers and cleans up", async () => {
    expect(await shop.run(backUp)).toMatchObject({ outcome: "succeeded" });
    // Some tables change after the backup, others do not.
    await shop.sql(
      "update pgkeep.heartbeat set at = clock_timestamp()",
      "insert into public.orders (customer) select 7 from generate_series(1, 50)",
      "delete from public.orders where id <= 20",
      "select pg_switch_wal()",
    );
    const result = await shop.run(drillRestore);
    expect(result.reason).toBeUndefined();
    expect(result.outcome).toBe("succeeded");
    const report = reportOf(result);
    expect(report.proofs.filter(({ ok }) => !ok)).toEqual([]);
    expect(report.proofs.map(({ name }) => name)).toEqual([
      "manifest",
      "server-answers",
      "right-database",
      "recovery-time",
      "data-loss",
      "heap-pages",
      "indexes",
      "contents",
      "objects",
      "foreign-keys",
      "sequences",
    ]);
    expect(report.tablesProved).toBe(3);
    expect(report.notAssessable).toEqual([]);
    expect(report.rtoSeconds).toBeGreaterThan(0);
    expect(report.rpoSeconds).toBeGreaterThanOrEqual(0);
    expect(Date.parse(report.restoredTo ?? "")).toBeGreaterThan(Date.now() - 60_000);
    const backup = (await shop.backups.list()).find(({ id }) => id === report.backupId);
    expect(backup?.verifiedAt).toBeInstanceOf(Date);
    expect(shop.ports.data.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        "DrillRtoSeconds",
        "DrillRpoSeconds",
        "BackupAge",
        "BackupsKept",
        "RestorableLag",
      ]),
    );
    await expectCleanedUp(shop);
  });

  it("restores a random moment of the recovery window", async () => {
    const result = await shop.run(drillRestore, { arguments: { target: "random" } });
    expect(result).toMatchObject({ outcome: "succeeded" });
    const { target, restoredTo } = reportOf(result);
    expect(target).toEqual({ kind: "time", time: restoredTo });
    await expectCleanedUp(shop);
  });

  // What is read from the server's own words differs by version; the rest is ours.
  if (!oldestAndNewest.includes(major)) return;

  it("fails and says why when a file of the backup is cut off: table and file are named", async () => {
    const { store, backup } = await newestBackup(shop);
    const path = Object.entries(backup.relations).find(([, name]) => name === "public.orders")?.[0] as string;
    const file = join(store.dataOf(backup.id), path);
    await rename(file, `${file}.whole`);
    await copyFile(`${file}.whole`, file);
    await truncate(file, 3 * pageBytes + 100);
    await rename(`${file}.whole`, join(store.directory, "whole-file"));
    await drillFails("restore", new RegExp(`${path} \\(public\\.orders\\): has 24676 bytes`));
    expect(await shop.backups.verify(backup.id)).toMatchObject({
      ok: false,
      problems: [{ subject: path, relation: "public.orders" }],
    });
    await rename(join(store.directory, "whole-file"), file);
  });

  it("fails and says why when a heap page of the backup is damaged: table and file are named", async () => {
    const { store, backup } = await newestBackup(shop);
    const path = Object.entries(backup.relations).find(
      ([, name]) => name === "public.countries",
    )?.[0] as string;
    const repair = await damage(join(store.dataOf(backup.id), path), 2);
    await drillFails("restore", new RegExp(`${path} \\(public\\.countries\\): its content was changed`));
    await repair();
  });

  it("fails and says why when a byte of an index in the backup is flipped: index, table and file are named", async () => {
    const { store, backup } = await newestBackup(shop);
    const path = Object.entries(backup.relations).find(
      ([, name]) => name === "public.orders (index orders_by_customer)",
    )?.[0] as string;
    const repair = await damage(join(store.dataOf(backup.id), path), 1, 1);
    await drillFails(
      "restore",
      new RegExp(`${path} \\(public\\.orders \\(index orders_by_customer\\)\\): its content was changed`),
    );
    await repair();
  });

  it("fails and says why when the backup's own list of files is not what was written", async () => {
    const { store, backup } = await newestBackup(shop);
    const file = join(store.pathOf(backup.id), "backup.json");
    const whole = await readFile(file, "utf8");
    await writeFile(file, whole.replace(/"bytes":8192/, '"bytes":8193'));
    // Not trusted, so there is none: it is listed as failed, and kept.
    await drillFails("restore", /no backup to restore from/);
    expect((await shop.backups.verify(backup.id)).problems[0]?.problem).toMatch(/its checksum differs/);
    expect((await shop.backups.list())[0]).toMatchObject({ id: backup.id, status: "failed" });
    await writeFile(file, whole);
  });

  it("fails and says why when the newest backup is one of another cluster: that is said", async () => {
    const { store, backup } = await newestBackup(shop);
    const id = "foreign";
    const later = new Date(Date.parse(backup.finishedAt) + 1).toISOString();
    const directory = await store.begin(id, backup.database, new Date(later));
    await cp(store.dataOf(backup.id), join(directory as string, "data"), { recursive: true });
    await store.finish({
      ...backup,
      id,
      startedAt: later,
      finishedAt: later,
      systemIdentifier: "7000000000000000001",
    });
    await drillFails("restore", /WAL of another cluster \(system identifier \d+\)/);
    await shop.backups.remove(id);
    expect((await shop.run(drillRestore)).outcome).toBe("succeeded");
  });

  it("fails and says why when a WAL segment is missing: the segment is named", async () => {
    for (let segment = 0; segment < 4; segment++) {
      await shop.sql("select pg_create_restore_point('segment')", "select pg_switch_wal()");
    }
    await shop.sql("select pg_stat_clear_snapshot()");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { archiveDirectory } = shop.primary.places;
    const { backup } = await newestBackup(shop);
    const lost = (await readdir(archiveDirectory))
      .filter((name) => /^[0-9A-F]{24}$/.test(name) && name > backup.stopSegment)
      .sort()[1] as string;
    await rename(join(archiveDirectory, lost), join(archiveDirectory, "lost"));
    await drillFails("restore", new RegExp(`WAL segment ${lost} is missing`));
    await rename(join(archiveDirectory, "lost"), join(archiveDirectory, lost));
  });

  it("fails and says why when a WAL segment is damaged inside", async () => {
    const { archiveDirectory } = shop.primary.places;
    const { backup } = await newestBackup(shop);
    const file = join(archiveDirectory, backup.startSegment);
    const handle = await open(file, "r+");
    const original = Buffer.alloc(4096);
    await handle.read(original, 0, 4096, 200);
    await handle.write(Buffer.alloc(4096, 0x5a), 0, 4096, 200);
    await handle.close();
    await drillFails("restore", /could not be recovered|recovery stopped/);
    const again = await open(file, "r+");
    await again.write(original, 0, 4096, 200);
    await again.close();
  });

  if (major !== allMajors.at(-1)) return;

  it("fails when a table has other data than the manifest describes, and names it", async () => {
    const [was] = await shop.sql<{ text: string }>(
      "select manifest::text as text from pgkeep.backup_manifest",
    );
    const [verified] = await shop.backups.list();
    // Never archived, so the restore has the row. Then the manifest is made to say that it was gone before.
    await shop.sql("delete from public.countries where code = 'c1'");
    await shop.sql(
      `update pgkeep.backup_manifest set manifest = jsonb_set(manifest, '{tables}', (
         select jsonb_agg(case when t ->> 'name' = 'countries'
                          then t || jsonb_build_object('rows', 499, 'deleted', 1,
                                                       'hash', pgkeep.table_hash('public.countries'::regclass))
                          else t end)
         from jsonb_array_elements(manifest -> 'tables') t))`,
    );
    const result = await shop.run(drillRestore);
    expect(result.outcome).toBe("failed");
    expect(result.reason).toBe(
      "contents: table public.countries: it has 500 rows, and had 499, although nothing changed it since the backup",
    );
    const backup = (await shop.backups.list()).find(({ id }) => id === reportOf(result).backupId);
    expect(backup?.verifiedAt).toEqual(verified?.verifiedAt);
    await expectCleanedUp(shop);
    await shop.sql(`update pgkeep.backup_manifest set manifest = ${literal(was?.text ?? "")}::jsonb`);
  });

  it("fails when the manifest is one of another cluster", async () => {
    await shop.sql(`update pgkeep.backup_manifest set manifest = manifest || '{"systemIdentifier": "1234"}'`);
    const result = await shop.run(drillRestore, { arguments: { target: "latest" } });
    expect(result.outcome).toBe("failed");
    expect(result.reason).toMatch(/right-database: the cluster is \d+, and that of the manifest is 1234/);
  });

  it("fails when nothing could be proved", async () => {
    await shop.sql(
      "alter schema pgkeep rename to hidden",
      "select pg_switch_wal()",
      "select pg_stat_clear_snapshot()",
    );
    await new Promise((resolve) => setTimeout(resolve, 500));
    const result = await shop.run(drillRestore);
    expect(result.outcome).toBe("failed");
    expect(result.reason).toMatch(/something-proved/);
    expect(reportOf(result).notAssessable.join()).toMatch(/schema "pgkeep" does not exist/);
    await shop.sql("alter schema hidden rename to pgkeep");
  });

  it("finds pages that were damaged before the backup, which fails and names table and block", async () => {
    for (const { id } of await shop.backups.list()) await shop.backups.remove(id);
    const [row] = await shop.sql<{ path: string }>("select pg_relation_filepath('public.countries') as path");
    await shop.sql("vacuum (freeze) public.countries", "checkpoint");
    const repair = await damage(join(shop.primary.places.primary.dataDirectory, row?.path as string), 3);
    const result = await shop.run(backUp);
    expect(result.outcome).toBe("failed");
    expect(result.reason).toMatch(/public\.countries\): the checksum of block 3 is wrong on the server/);
    expect((await shop.backups.list())[0]).toMatchObject({ status: "failed" });
    await repair();
    expect(await shop.run(backUp)).toMatchObject({ outcome: "succeeded" });
    expect(await shop.backups.list()).toMatchObject([{ status: "available" }]);
  });
});
