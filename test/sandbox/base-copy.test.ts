import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BaseCopy, copyRunningCluster } from "../../lib/sandbox/base-copy.ts";
import { findOwner, giveTo } from "../../lib/sandbox/owner.ts";
import { allMajors, fastestParent, useServer } from "../helpers/postgres.ts";

describe.each(allMajors)("a base copy of a running PostgreSQL %i", (major) => {
  const server = useServer(major);
  let directory = "";
  beforeEach(async () => {
    directory = await mkdtemp(join(fastestParent(), "pgkeep-test-copy-"));
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  async function copy(options: { hash?: boolean; label?: string } = {}): Promise<BaseCopy> {
    const session = await server.connect("postgres");
    try {
      return await copyRunningCluster({
        session,
        from: server.dataDirectory,
        to: join(directory, "copy"),
        label: options.label ?? "test",
        owner: null,
        ...options,
      });
    } finally {
      await session.close();
    }
  }

  it("lists each file with the checksum of what was written", async () => {
    const made = await copy({ hash: true });
    expect(made.files.length).toBeGreaterThan(500);
    expect(made.files.map((file) => file.path)).toEqual(
      expect.arrayContaining(["PG_VERSION", "global/pg_control", "backup_label", "pg_hba.conf"]),
    );
    for (const file of made.files) {
      const content = await readFile(join(directory, "copy", file.path));
      expect(content.length, file.path).toBe(file.sizeBytes);
      expect(createHash("sha256").update(content).digest("hex"), file.path).toBe(file.sha256);
    }
    const present = await readdir(join(directory, "copy"), { recursive: true, withFileTypes: true });
    expect(present.filter((entry) => entry.isFile())).toHaveLength(made.files.length);
  });

  it("says which WAL it needs", async () => {
    const made = await copy({ label: "with 'quotes'" });
    expect(made.timeline).toBe(1);
    expect(made.startWalFile).toMatch(/^00000001[0-9A-F]{16}$/);
    expect(made.stopWalFile >= made.startWalFile).toBe(true);
    expect(made.backupLabel).toContain("LABEL: with 'quotes'");
    expect(made.backupLabel).toContain(made.startLsn);
  });

  it("leaves out what belongs to the running server only", async () => {
    const session = await server.connect("postgres");
    await session.query("create unlogged table public.volatile as select generate_series(1, 5000) as n");
    await session.query("create temp table passing as select generate_series(1, 5000) as n");
    const [unlogged] = await session.query<{ path: string }>(
      "select pg_relation_filepath('public.volatile') as path",
    );
    const [temporary] = await session.query<{ path: string }>(
      "select pg_relation_filepath('passing') as path",
    );
    await session.query("checkpoint");
    const made = await copy();
    const paths = new Set(made.files.map((file) => file.path));
    expect(paths.has(`${unlogged?.path}_init`)).toBe(true);
    expect(paths.has(unlogged?.path as string)).toBe(false);
    expect(paths.has(temporary?.path as string)).toBe(false);
    expect([...paths].filter((path) => /^(pg_wal|postmaster|pg_replslot|pg_stat_tmp)/.test(path))).toEqual(
      [],
    );
    expect((await stat(join(directory, "copy", "pg_wal"))).isDirectory()).toBe(true);
    await session.query("drop table public.volatile");
    await session.close();
  });

  it("copies while tables come, grow, shrink and go", async () => {
    const session = await server.connect("postgres");
    let busy = true;
    const churn = (async () => {
      for (let round = 0; busy; round++) {
        await session.query(`create table public.churn_${round} as select generate_series(1, 3000) as n`);
        await session.query(`delete from public.churn_${round} where n > 10`);
        await session.query(`vacuum public.churn_${round}`);
        if (round > 0) await session.query(`drop table public.churn_${round - 1}`);
      }
    })();
    try {
      expect((await copy()).files.length).toBeGreaterThan(500);
    } finally {
      busy = false;
      await churn;
      await session.close();
    }
  });

  it("refuses to write over files, and leaves the session usable", async () => {
    const session = await server.connect("postgres");
    const request = { session, from: server.dataDirectory, label: "test", owner: null };
    await expect(copyRunningCluster({ ...request, to: server.dataDirectory })).rejects.toMatchObject({
      code: "refused",
    });
    const aborted = {
      ...request,
      to: join(directory, "aborted"),
      signal: AbortSignal.abort(new Error("stop")),
    };
    await expect(copyRunningCluster(aborted)).rejects.toThrow("stop");
    await copyRunningCluster({ ...request, to: join(directory, "after") });
    await session.close();
  });

  it("refuses a cluster that reaches outside of its directory", async () => {
    const outside = join(server.dataDirectory, "..", "outside");
    await mkdir(outside, { mode: 0o700 });
    await giveTo(await findOwner(), outside);
    const session = await server.connect("postgres");
    await session.query(`create tablespace elsewhere location '${outside}'`);
    const request = { session, from: server.dataDirectory, to: join(directory, "copy"), owner: null };
    await expect(copyRunningCluster({ ...request, label: "test" })).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("1 tablespace(s)"),
    });
    await session.query("drop tablespace elsewhere");
    await symlink(outside, join(server.dataDirectory, "link"));
    await expect(copyRunningCluster({ ...request, label: "test" })).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("link is neither a file nor a directory"),
    });
    await unlink(join(server.dataDirectory, "link"));
    await session.close();
  });
});
