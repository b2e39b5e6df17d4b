import { chmod, cp, lstat, mkdir, mkdtemp, readdir, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { findBinaries, makeRunnable } from "../../lib/sandbox/binaries.ts";
import { canReach, findOwner, giveTo, runAs } from "../../lib/sandbox/owner.ts";
import { allMajors, defaultMajor } from "../helpers/postgres.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgkeep-test-"));
  await chmod(directory, 0o711);
});

afterEach(async () => {
  await rm(directory, { recursive: true });
});

describe("the embedded servers", () => {
  it.each(allMajors)("are found and run by their owner: %i", async (major) => {
    const owner = await findOwner();
    const found = await findBinaries(major, owner, directory);
    const version = await runAs(owner, join(found.binDirectory, "postgres"), ["--version"], "/");
    const [, number] = /\(PostgreSQL\) (\d+)\./.exec(version) ?? [];
    expect(Number(number)).toBe(major);
    expect(found.packageVersion.startsWith(`${major}.`)).toBe(true);
    expect(found.major).toBe(major);
  });

  it("that npm did not install are named, with the command that does", async () => {
    await expect(findBinaries(99 as PostgresMajor, null, directory)).rejects.toMatchObject({
      code: "start-failed",
      message: "the embedded PostgreSQL 99 is not installed",
    });
  });
});

/** A package as npm leaves it with install scripts switched off: no links, and here in a place of its own. */
async function freshPackage(mode: number): Promise<string> {
  const { binDirectory } = await findBinaries(defaultMajor, null, directory);
  const home = join(directory, "checkout");
  const native = join(home, "native");
  await cp(dirname(binDirectory), native, { recursive: true, verbatimSymlinks: true });
  for (const name of await readdir(join(native, "lib"))) {
    const path = join(native, "lib", name);
    if ((await lstat(path)).isSymbolicLink()) await unlink(path);
  }
  await chmod(home, mode);
  return native;
}

describe("a package without its library links", () => {
  it("is completed where it is when it can be", async () => {
    const native = await freshPackage(0o755);
    const owner = await findOwner();
    expect(await makeRunnable(native, "1.2.3", owner, directory)).toBe(native);
    expect((await lstat(join(native, "lib", "libpq.so.5"))).isSymbolicLink()).toBe(true);
    expect(await runAs(owner, join(native, "bin", "initdb"), ["--version"], "/")).toContain("initdb");
    expect(await makeRunnable(native, "1.2.3", owner, directory)).toBe(native);
  });

  it("is copied once when the servers' account cannot reach it, as below /root", async () => {
    const owner = await findOwner();
    if (owner === null) return; // an ordinary user reaches his own checkout
    const native = await freshPackage(0o700);
    expect(await canReach(owner, native)).toBe(false);
    const copies = join(directory, "copies");
    await mkdir(copies);
    await giveTo(owner, copies);
    const [one, two] = await Promise.all([
      makeRunnable(native, "1.2.3", owner, copies),
      makeRunnable(native, "1.2.3", owner, copies),
    ]);
    expect(one).toBe(join(copies, "postgres-1.2.3", "native"));
    expect(two).toBe(one);
    expect(await readdir(copies)).toEqual(["postgres-1.2.3"]);
    expect(await runAs(owner, join(one, "bin", "initdb"), ["--version"], "/")).toContain("initdb");
  });
});
