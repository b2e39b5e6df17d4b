import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { archiveCommand } from "../../lib/sandbox/archiving.ts";

const segment = "000000010000000000000007";
let root: string;
let archive: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "pgkeep-test-"));
  archive = join(root, `it's "100%f" $(touch hacked) \`x\` \\ ü`);
  await mkdir(archive);
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

/** Fills in the placeholders and runs the command in the data directory, as PostgreSQL does. */
async function runCommand(content: string): Promise<boolean> {
  await mkdir(join(root, "pg_wal"), { recursive: true });
  await writeFile(join(root, "pg_wal", segment), content);
  const command = archiveCommand(archive).replace(/%(.)/g, (_, letter: string) =>
    letter === "p" ? `pg_wal/${segment}` : letter === "f" ? segment : letter,
  );
  return promisify(execFile)("/bin/sh", ["-c", command], { cwd: root }).then(
    () => true,
    () => false,
  );
}

it("archives a segment under its name and leaves no partial file", async () => {
  expect(await runCommand("some WAL")).toBe(true);
  expect(await readdir(archive)).toEqual([segment]);
  expect(await readFile(join(archive, segment), "utf8")).toBe("some WAL");
  expect(await readdir(root)).not.toContain("hacked");
});

it("succeeds again for the same segment, as after a crash between copying and reporting", async () => {
  await runCommand("some WAL");
  expect(await runCommand("some WAL")).toBe(true);
});

it("fails rather than replace a segment by a different one", async () => {
  await runCommand("some WAL");
  expect(await runCommand("other WAL")).toBe(false);
  expect(await readFile(join(archive, segment), "utf8")).toBe("some WAL");
});

it("replaces what an interrupted copy left", async () => {
  await writeFile(join(archive, `.${segment}.partial`), "some");
  expect(await runCommand("some WAL")).toBe(true);
  expect(await readdir(archive)).toEqual([segment]);
});

it("fails when the archive is gone", async () => {
  await rm(archive, { recursive: true });
  expect(await runCommand("some WAL")).toBe(false);
});
