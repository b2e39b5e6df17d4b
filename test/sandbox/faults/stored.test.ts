import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { PgkeepError } from "../../../lib/errors.ts";
import type { Backups, RestoreState } from "../../../lib/ports/backups.ts";
import { sandboxBackups } from "../../../lib/sandbox/backups.ts";
import { runFault } from "../../../lib/sandbox/faults/index.ts";
import { oldestAndNewest } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";

describe.each(oldestAndNewest)("faults of what is stored, PostgreSQL %i", (major) => {
  const sandbox = useShopSandbox(major, { replicas: 0 });
  const apply = (name: string) => runFault({ name }, sandbox.context);
  const repair = (name: string) => runFault({ name, repair: true }, sandbox.context);
  let backups: Backups;

  beforeAll(async () => {
    backups = sandboxBackups(sandbox.state, { patienceMilliseconds: 60_000 });
    await backups.create("pgkeep-shop-20260101t000000z");
    await backups.create("pgkeep-shop-20260102t000000z");
  });

  const newest = "pgkeep-shop-20260102t000000z";

  async function restoreLatest(): Promise<RestoreState | PgkeepError> {
    try {
      return await backups.restore({ name: "fault-test", target: { kind: "latest" } });
    } catch (error) {
      if (error instanceof PgkeepError) return error;
      throw error;
    } finally {
      await backups.discard("fault-test");
    }
  }

  /** Names and contents of everything below. */
  async function fingerprint(directory: string): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      found[path] = createHash("sha256")
        .update(await readFile(path))
        .digest("hex");
    }
    return found;
  }

  it("corrupt-page: the newest backup fails its verification and its restore, by table and file", async () => {
    const { backupsDirectory } = sandbox.state;
    const before = await fingerprint(join(backupsDirectory, newest, "data"));
    await expect(repair("corrupt-page")).resolves.toMatchObject({ outcome: "not-applied" });
    const report = await apply("corrupt-page");
    expect(report).toMatchObject({
      outcome: "applied",
      details: { backup: newest, table: "shop.products", block: expect.any(Number) as number },
    });
    const after = await fingerprint(join(backupsDirectory, newest, "data"));
    const changed = Object.keys(after).filter((path) => after[path] !== before[path]);
    expect(changed).toEqual([join(backupsDirectory, newest, "data", report.details.file as string)]);

    const [{ file } = { file: "" }] = await sandbox.as((session) =>
      session.query<{ file: string }>("select pg_relation_filepath('shop.products') as file"),
    );
    expect(report.details.file).toBe(file);
    const verification = await backups.verify(newest);
    expect(verification.ok).toBe(false);
    expect(verification.problems).toMatchObject([{ subject: file, relation: "shop.products" }]);
    const restored = await restoreLatest();
    expect(restored).toBeInstanceOf(PgkeepError);
    expect((restored as PgkeepError).message).toContain("shop.products");
    expect((restored as PgkeepError).message).toContain(file);

    await expect(apply("corrupt-page")).resolves.toMatchObject({ outcome: "already-applied" });
    await expect(repair("corrupt-page")).resolves.toMatchObject({ outcome: "repaired" });
    expect(await fingerprint(join(backupsDirectory, newest, "data"))).toEqual(before);
    expect((await backups.verify(newest)).ok).toBe(true);
    await expect(repair("corrupt-page")).resolves.toMatchObject({ outcome: "not-applied" });
  });

  it("lose-wal: a restore of everything fails and names the segment, the backup itself stays whole", async () => {
    const { archiveDirectory } = sandbox.state;
    await expect(repair("lose-wal")).resolves.toMatchObject({ outcome: "not-applied" });
    const report = await apply("lose-wal");
    expect(report).toMatchObject({ outcome: "applied", details: { backup: newest } });
    const segment = report.details.segment as string;
    const archived = (await readdir(archiveDirectory)).filter((name) => /^[0-9A-F]{24}$/.test(name));
    expect(archived).not.toContain(segment);
    expect(archived.some((name) => name > segment)).toBe(true);
    expect((await backups.verify(newest)).ok).toBe(true);
    const restored = await restoreLatest();
    expect(restored).toBeInstanceOf(PgkeepError);
    expect((restored as PgkeepError).message).toContain(segment);

    await expect(apply("lose-wal")).resolves.toMatchObject({
      outcome: "already-applied",
      details: { segment },
    });
    await expect(repair("lose-wal")).resolves.toMatchObject({
      outcome: "repaired",
      details: { segments: [segment] },
    });
    expect(await readdir(archiveDirectory)).toContain(segment);
    expect(await restoreLatest()).toMatchObject({ status: "available", backupId: newest });
    await expect(repair("lose-wal")).resolves.toMatchObject({ outcome: "not-applied" });
  });

  it("lose-wal: works while the primary is down when a segment in the middle exists", async () => {
    await apply("crash-primary");
    await expect(apply("lose-wal")).resolves.toMatchObject({ outcome: "applied" });
    await expect(repair("lose-wal")).resolves.toMatchObject({ outcome: "repaired" });
    await repair("crash-primary");
  });
});
