import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { beforeEach, describe, expect, it } from "vitest";
import { listDumps, newestDump, pruneDumps } from "../../lib/logical/catalogue.ts";
import { DirectoryStore } from "../../lib/logical/directory-store.ts";
import { type Manifest, serializeManifest } from "../../lib/logical/manifest.ts";
import { parseSelection, type SelectionRequest } from "../../lib/logical/selection.ts";
import { runCli } from "../helpers/cli.ts";

const policy = { daily: 2, weekly: 0, monthly: 0 };
const now = new Date("2026-03-20T12:00:00Z");

function manifestOf(
  id: string,
  startedAt: string,
  selection: SelectionRequest = {},
  database = "shop",
): Manifest {
  return {
    formatVersion: 1,
    id,
    database,
    systemIdentifier: "1",
    serverVersionNumber: 170_000,
    tool: { name: "pg_dump", versionNumber: 170_000 },
    startedAt,
    finishedAt: startedAt,
    seconds: 0,
    format: "custom",
    compression: { algorithm: "gzip", level: null },
    jobs: 1,
    selection: parseSelection(selection),
    snapshot: "1",
    encoding: "UTF8",
    collation: "C",
    characterType: "C",
    localeProvider: "libc",
    locale: null,
    roles: [],
    tables: [],
    encryption: null,
    sizeBytes: 4,
    files: [{ path: "dump.pgdump", bytes: 4, sha256: "a".repeat(64) }],
  };
}

describe("the logical backups of a directory", () => {
  let directory: string;
  let store: DirectoryStore;
  const add = async (manifest: Manifest) => {
    const draft = await store.begin(manifest.id);
    await draft.write("dump.pgdump", Readable.from([Buffer.from("data")]));
    await draft.commit(serializeManifest(manifest));
  };
  const partial = (id: string, owner: object) => {
    mkdirSync(join(directory, `.partial-${id}`));
    writeFileSync(join(directory, `.partial-${id}`, "owner.json"), JSON.stringify(owner));
  };
  const deadPid = spawnSync(process.execPath, ["-e", ""]).pid;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "store-"));
    store = new DirectoryStore(directory);
  });

  it("keeps each kind by itself: a table's dump never displaces the dump of everything", async () => {
    for (const day of ["10", "11", "12", "13"]) {
      await add(manifestOf(`full-${day}`, `2026-03-${day}T03:00:00Z`));
      await add(manifestOf(`table-${day}`, `2026-03-${day}T10:00:00Z`, { tables: ["public.orders"] }));
      await add(manifestOf(`schema-${day}`, `2026-03-${day}T11:00:00Z`, { schemaOnly: true }));
    }
    await add(manifestOf("other-database", "2026-01-01T03:00:00Z", {}, "else"));
    const planned = await pruneDumps(store, policy, now, { dryRun: true });
    expect(readdirSync(directory)).toHaveLength(13);
    const pruned = await pruneDumps(store, policy, now, { dryRun: false });
    expect(pruned).toEqual(planned);
    expect(readdirSync(directory).sort()).toEqual([
      "full-12",
      "full-13",
      "other-database",
      "schema-12",
      "schema-13",
      "table-12",
      "table-13",
    ]);
    expect(await newestDump(store, "else")).toBe("other-database");
  });

  it("lists what interrupted runs have left, and prunes it", async () => {
    await add(manifestOf("sound", "2026-03-10T03:00:00Z"));
    partial("dead", { host: hostname(), pid: deadPid, processStart: null, startedAt: now.toISOString() });
    partial("reused", {
      host: hostname(),
      pid: process.pid,
      processStart: "1",
      startedAt: now.toISOString(),
    });
    mkdirSync(join(directory, ".deleting-old"));
    const states = Object.fromEntries(
      (await listDumps(store, policy, now)).map(({ id, state }) => [id, state]),
    );
    // Where the system does not tell when a process began, its number alone counts.
    expect(states).toEqual({
      sound: "complete",
      dead: "interrupted",
      reused: process.platform === "linux" ? "interrupted" : "running",
    });
    const { deleted } = await pruneDumps(store, policy, now, { dryRun: false });
    expect(deleted).toContainEqual({ id: ".partial-dead", reason: "interrupted" });
    expect(deleted).toContainEqual({ id: ".deleting-old", reason: "interrupted" });
    expect(readdirSync(directory)).toContain("sound");
    expect(readdirSync(directory)).not.toContain(".partial-dead");
  });

  it("leaves a run alone that somebody alive is at, here or elsewhere", async () => {
    const draft = await store.begin("mine");
    partial("theirs", { host: "another-machine", pid: 1, processStart: null, startedAt: now.toISOString() });
    expect((await listDumps(store, policy, now)).map(({ state }) => state)).toEqual(["running", "running"]);
    await pruneDumps(store, policy, now, { dryRun: false });
    expect(readdirSync(directory).sort()).toEqual([".partial-mine", ".partial-theirs"]);
    // Untouched for more than a day, it is abandoned.
    utimesSync(join(directory, ".partial-theirs"), 1, 1);
    await pruneDumps(store, policy, now, { dryRun: false });
    expect(readdirSync(directory)).toEqual([".partial-mine"]);
    await draft.abandon();
  });

  it("never touches what is not its own, nor what is damaged", async () => {
    mkdirSync(join(directory, "holiday-photos"));
    writeFileSync(join(directory, "notes.txt"), "mine");
    mkdirSync(join(directory, "damaged"));
    writeFileSync(join(directory, "damaged", "manifest.json"), "{}");
    const states = Object.fromEntries(
      (await listDumps(store, policy, now)).map(({ id, state }) => [id, state]),
    );
    expect(states).toEqual({ "holiday-photos": "foreign", "notes.txt": "foreign", damaged: "damaged" });
    await pruneDumps(store, policy, now, { dryRun: false });
    expect(readdirSync(directory)).toHaveLength(3);
    await expect(newestDump(store)).rejects.toThrow("there is no logical backup");
  });

  it("refuses a second draft and a second backup of one name, and names that leave the directory", async () => {
    const draft = await store.begin("once");
    await expect(store.begin("once")).rejects.toThrow("is being made already");
    await draft.abandon();
    await add(manifestOf("twice", "2026-03-10T03:00:00Z"));
    await expect(store.begin("twice")).rejects.toThrow("exists already");
    for (const name of ["../x", "/etc", "a/b", "", ".partial-x"])
      await expect(store.begin(name)).rejects.toThrow("cannot be the name");
    const { code, stderr } = await runCli(["dump", "show", "../../etc", "--to", directory]);
    expect(code).toBe(3);
    expect(stderr).toContain("cannot be the name of a logical backup");
  });

  it("does not believe a manifest that names files elsewhere", async () => {
    const manifest = manifestOf("escaping", "2026-03-10T03:00:00Z");
    await add({ ...manifest, files: [{ path: "../../etc/passwd", bytes: 1, sha256: "a".repeat(64) }] });
    expect(await listDumps(store, policy, now)).toMatchObject([
      { state: "damaged", problem: expect.stringContaining("outside") },
    ]);
  });

  it("is empty, not an error, when the directory does not exist", async () => {
    rmSync(directory, { recursive: true });
    const { code, stdout } = await runCli(["dump", "list", "--to", directory]);
    expect(code).toBe(0);
    expect(stdout).toContain("No logical backups");
  });
});

describe("wrong options of `pgkeep dump`", () => {
  it.each([
    [["create", "--schema-only", "--data-only"], "exclude each other"],
    [["create", "--schema", "a", "--table", "b.c"], "exclude each other"],
    [["create", "--table", "orders"], "does not name a table"],
    [["create", "--format", "zip"], "is no format"],
    [["create", "--compress", "gzip:12"], "is no compression"],
    [["create", "--to", "sftp://host/prefix"], "cannot be kept in sftp://host/prefix"],
    [["restore", "x"], "nothing says where to restore"],
    [["restore", "x", "--into", "y", "--create", "--clean"], "exclude each other"],
    [["restore", "x", "--table", "a.b", "--clean"], "goes without"],
  ])("%j are said at once", async (args, words) => {
    const { code, stderr } = await runCli(["dump", ...args]);
    expect(stderr).toContain(words);
    expect(code).toBe(2);
  });
});
