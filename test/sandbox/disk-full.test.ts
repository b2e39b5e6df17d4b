import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { drillRestore } from "../../lib/jobs/drill-restore.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { type BackupPlaces, sandboxBackups } from "../../lib/sandbox/backups.ts";
import { waitUntil } from "../../lib/sandbox/processes.ts";
import { useShop } from "../helpers/shop.ts";
import { mountSmallDisk, noSmallDisk, type SmallDisk } from "../helpers/small-disk.ts";
import { restoreToEnd } from "../ports/backups.contract.ts";

const missing = noSmallDisk();

describe.skipIf(missing !== undefined)(
  `a disk that is full${missing === undefined ? "" : ` (${missing})`}`,
  () => {
    const shop = useShop();
    let places: BackupPlaces;
    const disks: SmallDisk[] = [];
    const full = (error: unknown) =>
      expect(error).toMatchObject({
        code: "statement-failed",
        message: expect.stringMatching(/no space left/i),
        remedy: expect.stringMatching(/room|space/),
      });

    beforeAll(async () => {
      places = shop.primary.places;
      await shop.backups.create("before");
    });
    afterEach(() => {
      for (const disk of disks.splice(0)) disk.remove();
    });

    async function smallDisk(name: string, megabytes: number): Promise<SmallDisk> {
      const directory = join(places.scratchDirectory, "..", name);
      await mkdir(directory, { mode: 0o700 });
      const disk = mountSmallDisk(directory, megabytes, places.owner);
      disks.push(disk);
      return disk;
    }

    it("during a backup: none is left, the server goes on, and the next one is made when there is room", async () => {
      const disk = await smallDisk("small-backups", 4);
      const backups = sandboxBackups({ ...places, backupsDirectory: disk.directory });
      full(await backups.create("too-big").catch((error: unknown) => error));
      expect(await readdir(disk.directory)).toEqual([]);
      expect(await backups.list()).toEqual([]);
      await shop.sql("insert into public.countries values ('after', 'the server goes on')");
      disk.resize(200);
      expect(await backups.create("too-big")).toMatchObject({ status: "available" });
      expect(await backups.verify("too-big")).toMatchObject({ ok: true });
    });

    it("during a restore and a drill: said, nothing is left, and it works when there is room", async () => {
      const disk = await smallDisk("small-scratch", 8);
      const backups = sandboxBackups({ ...places, scratchDirectory: disk.directory });
      const request = { name: "small", target: { kind: "latest" } } as const;
      full(await restoreToEnd(backups, request).catch((error: unknown) => error));
      expect(await readdir(disk.directory)).toEqual([]);
      const drill = await runJob(drillRestore, { ports: { ...shop.ports, backups }, config: shop.config });
      expect(drill).toMatchObject({ outcome: "failed", reason: expect.stringMatching(/no space left/i) });
      expect(await readdir(disk.directory)).toEqual([]);
      disk.resize(300);
      await restoreToEnd(backups, request);
      await backups.discard("small");
    });

    it("while WAL is replayed: the server's own words are told", async () => {
      await shop.backups.create("small-then");
      await shop.sql(
        "create table public.filler as select repeat(md5(n::text), 60) as text from generate_series(1, 30000) n",
        "checkpoint",
        "select pg_switch_wal()",
      );
      const base = (await shop.backups.list()).find(({ id }) => id === "small-then");
      // Room for the copied files and some WAL, not for the table that replay makes.
      const megabytes = Math.ceil((base?.sizeBytes ?? 0) / 2 ** 20) + 24;
      const disk = await smallDisk("small-replay", megabytes);
      const backups = sandboxBackups({ ...places, scratchDirectory: disk.directory });
      const request = { name: "replay", target: { kind: "latest" }, fromBackupId: "small-then" } as const;
      const error = await restoreToEnd(backups, request).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({
        code: "restore-failed",
        message: expect.stringMatching(/could not be recovered.*No space left on device/),
      });
      expect(await readdir(disk.directory)).toEqual([]);
      await shop.sql("drop table public.filler");
    });

    it("in the archive: the server goes on, a backup says why it fails, and everything is archived when there is room", async () => {
      const { archiveDirectory } = places;
      const saved = await readdir(archiveDirectory);
      const disk = mountSmallDisk(archiveDirectory, 2, places.owner);
      disks.push(disk);
      await writeFile(join(archiveDirectory, "filler"), Buffer.alloc(1_900_000));
      await shop.sql(
        "insert into public.countries values ('full', 'written while the archive was full')",
        "select pg_switch_wal()",
      );
      const failing = async () =>
        (await shop.sql<{ failed: number }>("select failed_count as failed from pg_stat_archiver"))[0]
          ?.failed ?? 0;
      expect(await waitUntil(async () => (await failing()) > 0, 20_000)).toBe(true);
      const impatient = sandboxBackups(places, { archiveTimeoutMilliseconds: 1_000 });
      await expect(impatient.create("no-archive")).rejects.toMatchObject({
        code: "backup-invalid",
        message: expect.stringMatching(/archiving of [0-9A-F]{24} fails/),
        remedy: expect.stringMatching(/free space in the archive/),
      });
      expect((await impatient.list()).map(({ id }) => id)).not.toContain("no-archive");
      expect(await readdir(places.backupsDirectory)).not.toContain("no-archive.partial");
      await shop.sql("insert into public.countries values ('still', 'accepted')");
      await rm(join(archiveDirectory, "filler"));
      disk.resize(100);
      expect(await sandboxBackups(places).create("archived-again")).toMatchObject({ status: "available" });
      const { endpoint } = await restoreToEnd(shop.backups, {
        name: "archived-again",
        target: { kind: "time", time: new Date() },
      });
      const session = await connect({ ...endpoint, database: "shop", ...places.superuser });
      const rows = await session.query(
        "select code from public.countries where code in ('full', 'still') order by code",
      );
      expect(rows).toEqual([{ code: "full" }, { code: "still" }]);
      await session.close();
      await shop.backups.discard("archived-again");
      // What lay there before is under the small one.
      disks.pop()?.remove();
      expect(await readdir(archiveDirectory)).toEqual(saved);
    });
  },
);
