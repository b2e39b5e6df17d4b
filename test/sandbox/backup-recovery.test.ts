import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../lib/postgres/connect.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { crashServer } from "../../lib/sandbox/server.ts";
import { useArchivedPrimary } from "../helpers/backup-places.ts";
import { restoreToEnd } from "../ports/backups.contract.ts";

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** No process has this id: it is above the kernel's largest. */
const nobody = 2 ** 30;

describe("what killed runs and people leave behind", () => {
  const primary = useArchivedPrimary();
  const open = () => sandboxBackups(primary.places);
  const at = (...names: string[]) => join(primary.places.backupsDirectory, ...names);

  it("a half-made backup of a dead process is no backup, and the next run removes it", async () => {
    await mkdir(at("pgkeep-shop-20260101.partial", "data"), { recursive: true });
    await writeFile(
      at("pgkeep-shop-20260101.partial", "making.json"),
      JSON.stringify({ pid: nobody, database: "shop", startedAt: new Date().toISOString() }),
    );
    await mkdir(at("pgkeep-shop-20251231.deleting"));
    expect(await open().list()).toEqual([]);
    await open().create("pgkeep-shop-20260101");
    expect(await readdir(at())).toEqual(["pgkeep-shop-20260101"]);
  });

  it("a backup that another process is making is shown as such, and not made twice", async () => {
    await mkdir(at("other.partial"));
    await writeFile(
      at("other.partial", "making.json"),
      JSON.stringify({ pid: process.ppid, database: "shop", startedAt: new Date().toISOString() }),
    );
    expect(await open().create("other")).toMatchObject({ id: "other", status: "creating" });
    await rm(at("other.partial"), { recursive: true });
  });

  it("the same backup asked for twice at once is made once", async () => {
    const [one, two] = await Promise.all([open().create("twice"), open().create("twice")]);
    expect([one.status, two.status].sort()).toEqual(["available", "creating"]);
    await open().remove("twice");
  });

  it("removing a backup also removes the WAL that only it needed", async () => {
    const { archiveDirectory } = primary.places;
    const segments = async () =>
      (await readdir(archiveDirectory)).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
    await open().create("older");
    await open().create("newer");
    const before = await segments();
    await open().remove("newer");
    expect(await segments()).toEqual(before);
    await open().create("newest");
    await open().remove("pgkeep-shop-20260101");
    await open().remove("older");
    const left = await segments();
    expect(left.length).toBeGreaterThan(0);
    expect(left.length).toBeLessThan(before.length);
    expect(await open().verify("newest")).toMatchObject({ ok: true });
    expect(await open().recoveryWindow()).toBeDefined();
    await open().create("pgkeep-shop-20260101");
    await open().remove("newest");
  });

  it("WAL that no moment of the recovery window needs goes, what a backup needs to be consistent stays", async () => {
    const { archiveDirectory, backupsDirectory } = primary.places;
    const days = (count: number) => new Date(Date.now() + count * 86_400_000);
    for (const id of ["day-1", "day-2", "day-3", "day-4"]) {
      await open().create(id);
      const session = await primary.connect();
      await session.query(
        "select pg_logical_emit_message(true, 'fill', repeat('x', 1500000)), pg_switch_wal()",
      );
      await session.close();
    }
    const later = (count: number) =>
      sandboxBackups(primary.places, { now: () => days(count), recoveryDays: 2 });
    const segments = async () =>
      (await readdir(archiveDirectory)).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
    const before = await segments();
    // Everything is older than the window: from the newest backup on each moment of it can be had.
    await later(5).remove("day-2");
    const left = await segments();
    expect(left.length).toBeLessThan(before.length);
    for (const id of ["pgkeep-shop-20260101", "day-1", "day-3", "day-4"]) {
      expect(await open().verify(id), id).toMatchObject({ ok: true });
      const target = { kind: "backup", backupId: id } as const;
      if (id === "day-1") {
        await restoreToEnd(open(), { name: "old", target });
        await open().discard("old");
      }
    }
    const window = await open().recoveryWindow();
    const [newest] = (await open().list()).filter(({ id }) => id === "day-4");
    expect(window?.earliest).toEqual(newest?.finishedAt);
    // Nothing is as old as the window: all of it stays.
    await later(1).remove("day-3");
    expect(await segments()).toEqual(expect.arrayContaining(left));
    for (const id of ["day-1", "day-4"]) await open().remove(id);
    expect(await readdir(backupsDirectory)).toEqual(["pgkeep-shop-20260101"]);
  });

  it("what pgkeep did not make is listed and never deleted", async () => {
    await mkdir(at("my-own-copy"));
    await writeFile(at("notes.txt"), "keep me");
    const listed = (await open().list()).filter(({ managed }) => !managed).map(({ id }) => id);
    expect(listed.sort()).toEqual(["my-own-copy", "notes.txt"]);
    await expect(open().remove("my-own-copy")).rejects.toMatchObject({ code: "refused" });
    expect(await readdir(at())).toContain("my-own-copy");
  });

  it("a backup whose description was changed is not trusted and not deleted", async () => {
    await cp(at("pgkeep-shop-20260101"), at("pgkeep-shop-20260102"), { recursive: true });
    const damaged = (await open().list()).find(({ id }) => id === "pgkeep-shop-20260102");
    expect(damaged).toMatchObject({ managed: false, status: "failed" });
    const file = at("pgkeep-shop-20260102", "backup.json");
    await writeFile(file, (await readFile(file, "utf8")).replace(/"timeline":\d+/, '"timeline":7'));
    expect(await open().verify("pgkeep-shop-20260102")).toMatchObject({
      ok: false,
      problems: [{ subject: "backup.json", problem: expect.stringContaining("its checksum differs") }],
    });
    await expect(
      open().restore({ name: "untrusted", target: { kind: "backup", backupId: "pgkeep-shop-20260102" } }),
    ).rejects.toMatchObject({ code: "backup-invalid" });
    await rm(at("pgkeep-shop-20260102"), { recursive: true });
  });

  it("a killed restore leaves nothing that stops the next", async () => {
    const scratch = join(primary.places.scratchDirectory, "again");
    await mkdir(join(scratch, "data", "base"), { recursive: true });
    await writeFile(
      join(scratch, "restore.json"),
      JSON.stringify({
        formatVersion: 1,
        name: "again",
        wanted: "backup pgkeep-shop-20260101",
        pid: nobody,
        state: "restoring",
      }),
    );
    const backups = open();
    expect(await backups.restored?.()).toEqual(["again"]);
    const target = { kind: "backup", backupId: "pgkeep-shop-20260101" } as const;
    expect(await restoreToEnd(backups, { name: "again", target })).toMatchObject({ status: "available" });
    // Another process, such as the next command, finds it running.
    expect(await restoreToEnd(open(), { name: "again", target })).toMatchObject({ status: "available" });
    await open().discard("again");
    expect(await readdir(primary.places.scratchDirectory)).toEqual([]);
  });

  it("a directory that no restore made is neither used nor discarded", async () => {
    const scratch = join(primary.places.scratchDirectory, "mine");
    await mkdir(scratch);
    await writeFile(join(scratch, "thesis.tex"), "");
    await expect(open().discard("mine")).rejects.toMatchObject({ code: "refused" });
    await expect(open().restore({ name: "mine", target: { kind: "latest" } })).rejects.toMatchObject({
      code: "refused",
    });
    expect(await readdir(scratch)).toEqual(["thesis.tex"]);
    await expect(open().discard("../archive")).rejects.toMatchObject({ code: "usage" });
  });
});

describe("after the primary was killed", () => {
  const primary = useArchivedPrimary();
  const times: Date[] = [];

  beforeAll(async () => {
    const session = await primary.connect();
    await session.query("create table public.t (n int primary key)");
    await sandboxBackups(primary.places).create("before-the-crash");
    for (let n = 0; n < 5; n++) {
      await session.query("insert into public.t values ($1)", [n]);
      await pause(10);
      times.push(new Date());
      await pause(10);
    }
    await session.close();
    await crashServer(primary.places.primary.dataDirectory);
  });

  async function rowsAt(target: Parameters<ReturnType<typeof sandboxBackups>["restore"]>[0]["target"]) {
    const backups = sandboxBackups(primary.places);
    try {
      const { endpoint } = await restoreToEnd(backups, { name: "after-crash", target });
      const session = await connect({ ...endpoint, database: "shop", ...primary.places.superuser });
      try {
        return (await session.query<{ n: number }>("select n from public.t order by n")).map(({ n }) => n);
      } finally {
        await session.close();
      }
    } finally {
      await backups.discard("after-crash");
    }
  }

  it("its last WAL is salvaged: nothing that it acknowledged is lost", async () => {
    expect(await rowsAt({ kind: "latest" })).toEqual([0, 1, 2, 3, 4]);
    expect(await rowsAt({ kind: "time", time: new Date() })).toEqual([0, 1, 2, 3, 4]);
  });

  it("a moment inside the salvaged WAL is exact", async () => {
    expect(await rowsAt({ kind: "time", time: times[1] as Date })).toEqual([0, 1]);
    expect(await rowsAt({ kind: "time", time: times[3] as Date })).toEqual([0, 1, 2, 3]);
  });

  it("without its directory, a moment beyond the archive is refused, with the last one that can be had", async () => {
    const { places } = primary;
    const elsewhere = {
      ...places,
      primary: { ...places.primary, dataDirectory: `${places.primary.dataDirectory}-gone` },
    };
    const restoring = restoreToEnd(sandboxBackups(elsewhere), {
      name: "beyond",
      target: { kind: "time", time: times[4] as Date },
    });
    await expect(restoring).rejects.toMatchObject({
      code: "restore-failed",
      message: expect.stringMatching(
        /^the archive ends before .*: (its last transaction is of|it holds no transaction)/,
      ),
    });
    expect(await readdir(places.scratchDirectory)).toEqual([]);
  });
});

describe("a backup of another cluster", () => {
  const primary = useArchivedPrimary();
  const stranger = useArchivedPrimary();

  it("is not restored with this archive's WAL", async () => {
    await sandboxBackups(primary.places).create("own");
    await sandboxBackups(stranger.places).create("foreign");
    await cp(
      join(stranger.places.backupsDirectory, "foreign"),
      join(primary.places.backupsDirectory, "foreign"),
      { recursive: true },
    );
    // Segments have the same names in every cluster.
    for (const name of await readdir(stranger.places.archiveDirectory)) {
      const target = join(primary.places.archiveDirectory, name);
      if (!(await readdir(primary.places.archiveDirectory)).includes(name)) {
        await copyFile(join(stranger.places.archiveDirectory, name), target);
      }
    }
    const restoring = restoreToEnd(sandboxBackups(primary.places), {
      name: "foreign",
      target: { kind: "backup", backupId: "foreign" },
    });
    await expect(restoring).rejects.toMatchObject({
      code: "restore-failed",
      message: expect.stringMatching(/holds WAL of another cluster/),
    });
  });
});
