import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { randomPassword } from "../../lib/sandbox/passwords.ts";
import { crashServer } from "../../lib/sandbox/server.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const reason = noClientTools(defaultMajor);

describe.skipIf(reason !== undefined)(`a logical backup that is not whole ${reason ?? ""}`, () => {
  const server = useServer(defaultMajor);
  const tools = useClientTools(defaultMajor);
  const root = mkdtempSync(join(tmpdir(), "dumps-"));
  let url: string;

  const run = async (args: string[], options: { url?: string; to?: string; signal?: AbortSignal } = {}) => {
    const result = await runCli(
      [
        "dump",
        ...args,
        "--url",
        options.url ?? url,
        ...(args[0] === "new-key" ? [] : ["--to", options.to ?? root]),
        "--json",
      ],
      {
        clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
    );
    return { ...result, document: result.stdout === "" ? undefined : JSON.parse(result.stdout) };
  };
  const create = async (...args: string[]): Promise<string> => {
    const { document, stderr } = await run(["create", ...args]);
    expect(document?.manifest, stderr).toBeTruthy();
    return document.manifest.id;
  };
  /** A copy of a sound backup, in a place of its own, for the damage. */
  const copyOf = (id: string): { to: string; path: (file: string) => string } => {
    const to = mkdtempSync(join(tmpdir(), "damaged-"));
    cpSync(join(root, id), join(to, id), { recursive: true });
    return { to, path: (file) => join(to, id, file) };
  };
  const dataFile = (id: string): string => {
    const files = JSON.parse(readFileSync(join(root, id, "manifest.json"), "utf8")).backup.files as {
      path: string;
      bytes: number;
    }[];
    return [...files].sort((a, b) => b.bytes - a.bytes)[0]?.path as string;
  };
  const flip = (file: string, at?: number) => {
    const bytes = readFileSync(file);
    const position = at ?? Math.floor(bytes.length / 2);
    bytes[position] = (bytes[position] as number) ^ 1;
    writeFileSync(file, bytes);
  };
  /** Detected by verify, which names the file, and by restore, which makes nothing. */
  const expectDamage = async (id: string, to: string, words: string, extra: string[] = []) => {
    const verified = await run(["verify", id, ...extra], { to });
    expect(verified.code).toBe(3);
    expect(JSON.stringify(verified.document.problems)).toContain(words);
    const restored = await run(["restore", id, "--into", "not_made", "--create", ...extra], { to });
    expect(restored.code).toBe(3);
    expect(restored.stderr).toContain(words);
    const session = await server.connect("postgres");
    expect(
      await session.query("select from pg_database where datname ~ 'not_made|pgkeep_restoring'"),
    ).toEqual([]);
    await session.close();
  };
  const sound: Record<string, string> = {};
  let keyFile: string;

  beforeAll(async () => {
    const database = await server.createDatabase("shop");
    url = urlOf(server.target(database));
    const session = await server.connect(database);
    await session.query(`create table public.orders (id int primary key, note text);
      insert into public.orders select n, md5(n::text) || md5((n + 1)::text) from generate_series(1, 20000) n;
      create table public.secrets (n int); insert into public.secrets values (1)`);
    await session.close();
    keyFile = join(root, "..", "faults-key");
    await run(["new-key", keyFile]);
    for (const format of ["directory", "custom", "plain", "tar"])
      sound[format] = await create("--format", format);
    sound.encrypted = await create("--key-file", keyFile);
    sound["encrypted directory"] = await create("--key-file", keyFile, "--format", "directory");
  });

  const kinds = ["directory", "custom", "plain", "tar", "encrypted", "encrypted directory"];
  const keyFor = (kind: string) => (kind.startsWith("encrypted") ? ["--key-file", keyFile] : []);

  it.each(kinds)("passes when it is sound: %s", async (kind) => {
    const { code, document } = await run(["verify", sound[kind] as string, "--deep", ...keyFor(kind)]);
    expect(document.problems).toEqual([]);
    expect(document.notAssessable).toEqual([]);
    expect(code).toBe(0);
  });

  it.each(kinds)("shows a file that is cut off: %s", async (kind) => {
    const id = sound[kind] as string;
    const { to, path } = copyOf(id);
    const file = dataFile(id);
    truncateSync(path(file), 1000);
    await expectDamage(id, to, file, keyFor(kind));
  });

  it.each(kinds)("shows a flipped bit: %s", async (kind) => {
    const id = sound[kind] as string;
    const { to, path } = copyOf(id);
    const file = dataFile(id);
    flip(path(file));
    await expectDamage(id, to, file, keyFor(kind));
  });

  it("shows a missing file and one too many", async () => {
    const id = sound.directory as string;
    const { to, path } = copyOf(id);
    const file = dataFile(id);
    await rename(path(file), path("dump/another.dat"));
    await expectDamage(id, to, file);
    const { document } = await run(["verify", id], { to });
    expect(document.problems).toEqual([
      { subject: file, problem: "is missing" },
      { subject: "dump/another.dat", problem: "is not in the manifest" },
    ]);
  });

  it("does not believe the manifest of another backup, nor a changed one", async () => {
    const id = sound.custom as string;
    const other = copyOf(id);
    cpSync(join(root, sound.directory as string, "manifest.json"), other.path("manifest.json"));
    await expectDamage(id, other.to, "belongs to another backup");
    const changed = copyOf(id);
    flip(changed.path("manifest.json"), 200);
    await expectDamage(id, changed.to, "checksum differs");
    const list = await run(["list"], { to: changed.to });
    expect(list.document.dumps).toMatchObject([{ id, state: "damaged" }]);
  });

  it("is not taken for the backup of another database: which one is asked for", async () => {
    const to = mkdtempSync(join(tmpdir(), "several-"));
    cpSync(join(root, sound.custom as string), join(to, sound.custom as string), { recursive: true });
    await server.createDatabase("library");
    await server.createDatabase("museum");
    const other = await run(["create"], { to, url: urlOf(server.target("library")) });
    expect(other.code).toBe(0);
    // The newest of all is the library's.
    const own = await run(["restore", "--table", "public.orders", "--as", "orders_then"], { to });
    expect(own.document).toMatchObject({ id: sound.custom, rows: 20_000 });
    const session = await server.connect("shop");
    await session.query("drop table public.orders_then");
    await session.close();
    for (const args of [["--table", "public.orders"], []]) {
      const refused = await run(["restore", ...args, "--into", "museum"], { to });
      expect(refused.code).toBe(3);
      expect(refused.stderr).toContain("has backups of library, shop, and none of museum");
    }
  });

  it("shows an archive that does not hold what its manifest says", async () => {
    // Both are whole and vouch for themselves; only their contents do not belong together.
    const id = sound.custom as string;
    const only = await create("--format", "custom", "--table", "public.secrets");
    const { to, path } = copyOf(id);
    cpSync(join(root, only, "dump.pgdump"), path("dump.pgdump"));
    const { createHash } = await import("node:crypto");
    const archive = readFileSync(path("dump.pgdump"));
    const { backup } = JSON.parse(readFileSync(path("manifest.json"), "utf8"));
    backup.files = [
      {
        path: "dump.pgdump",
        bytes: archive.length,
        sha256: createHash("sha256").update(archive).digest("hex"),
      },
    ];
    const body = JSON.stringify(backup);
    writeFileSync(
      path("manifest.json"),
      `{"checksum":"${createHash("sha256").update(body).digest("hex")}","backup":${body}}\n`,
    );
    const verified = await run(["verify", id], { to });
    expect(verified.code).toBe(3);
    expect(verified.document.problems).toEqual([
      { subject: "archive", relation: "public.orders", problem: "is in the manifest and not in the archive" },
    ]);
    const restored = await run(["restore", id, "--into", "not_made", "--create"], { to });
    expect(restored.code).toBe(3);
    expect(restored.stderr).toContain("lacks public.orders");
  });

  it("cannot be read with another key, and says so", async () => {
    const other = join(root, "..", "faults-other-key");
    await run(["new-key", other]);
    for (const kind of ["encrypted", "encrypted directory"]) {
      const verified = await run(["verify", sound[kind] as string, "--key-file", other]);
      expect(verified.code).toBe(3);
      expect(JSON.stringify(verified.document.problems)).toContain("another key");
      const restored = await run([
        "restore",
        sound[kind] as string,
        "--into",
        "x",
        "--create",
        "--key-file",
        other,
      ]);
      expect(restored.code).toBe(3);
      expect(restored.stderr).toContain("another key");
    }
    const without = await run(["restore", sound.encrypted as string, "--into", "x", "--create"]);
    expect(without.stderr).toContain("no key was given");
    const unread = await run(["verify", sound.encrypted as string]);
    expect(unread.document.notAssessable).toHaveLength(1);
  });

  it("holds nothing in the clear when it is encrypted", () => {
    for (const kind of ["encrypted", "encrypted directory"]) {
      const directory = join(root, sound[kind] as string);
      const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
        entry.isFile(),
      );
      for (const { parentPath, name } of files) {
        const head = readFileSync(join(parentPath, name)).subarray(0, 21).toString("latin1");
        expect(
          name === "manifest.json" || name === "marks.json" || head === "age-encryption.org/v1",
          name,
        ).toBe(true);
      }
    }
  });

  const tmpfs = canMount();
  it.skipIf(tmpfs !== undefined)(
    `is not made on a full disk, and is once there is room ${tmpfs ?? ""}`,
    async () => {
      const to = mkdtempSync(join(tmpdir(), "full-"));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=300k", "none", to]);
      try {
        for (const format of ["directory", "custom", "plain"]) {
          const { code, stderr } = await run(["create", "--format", format, "--compress", "none"], { to });
          expect(code).toBe(3);
          expect(stderr).toMatch(/no room|No space left/i);
          expect(stderr).toContain("make room");
          expect(readdirSync(to)).toEqual([]);
        }
        const session = await server.connect("shop");
        expect(await session.query("select count(*) as count from public.orders")).toEqual([
          { count: 20_000 },
        ]);
        await session.close();
        execFileSync("mount", ["-o", "remount,size=20m", to]);
        expect((await run(["create", "--format", "custom"], { to })).code).toBe(0);
      } finally {
        execFileSync("umount", [to]);
      }
    },
  );

  it("is refused to a role that may not read a table, which is named", async () => {
    const session = await server.connect("shop");
    const password = randomPassword();
    await session.query(
      `create role limited login password '${password}'; grant select on public.orders to limited`,
    );
    await session.close();
    const limited = urlOf(server.target("shop", { user: "limited", password }));
    const denied = await run(["create"], { url: limited });
    expect(denied.code).toBe(3);
    expect(denied.document.error.code).toBe("insufficient-privilege");
    expect(denied.stderr).toContain("limited may not read 1 relation: public.secrets");
    expect(denied.stderr + denied.stdout).not.toContain(password);
    const without = await run(["create", "--exclude-table", "public.secrets"], { url: limited });
    expect(without.document.manifest.tables).toHaveLength(1);
  });

  it("is refused where row security would hide rows", async () => {
    const session = await server.connect("shop");
    await session.query(`create table public.hidden (n int); alter table public.hidden enable row level security;
      grant select on public.hidden, public.secrets to limited`);
    const password = randomPassword();
    await session.query(`alter role limited password '${password}'`);
    const { code, stderr } = await run(["create"], {
      url: urlOf(server.target("shop", { user: "limited", password })),
    });
    await session.query("drop table public.hidden");
    await session.close();
    expect(code).toBe(3);
    expect(stderr).toContain("row security would hide rows of public.hidden");
  });

  it("waits for a locked table as long as it is told, and leaves nothing", async () => {
    const to = join(root, "..", "locked");
    const session = await server.connect("shop");
    await session.query("begin; lock table public.orders");
    const { code, document, stderr } = await run(["create", "--lock-wait", "1"], { to });
    await session.query("rollback");
    await session.close();
    expect(stderr).toContain("lock");
    expect([code, document.error.code]).toEqual([3, "timeout"]);
    expect(readdirSync(to)).toEqual([]);
  });

  it("leaves nothing when it is stopped", async () => {
    const to = join(root, "..", "stopped");
    const session = await server.connect("shop");
    await session.query("begin; lock table public.orders");
    const stop = new AbortController();
    const running = run(["create"], { to, signal: stop.signal });
    await until(() => existsSync(to) && readdirSync(to).some((name) => name.startsWith(".partial-")));
    stop.abort(new Error("stopped"));
    expect((await running).code).toBe(3);
    await session.query("rollback");
    await session.close();
    expect(readdirSync(to)).toEqual([]);
  });

  it("refuses a database that is not empty, and replaces what it holds only with --clean", async () => {
    const id = sound.directory as string;
    await server.createDatabase("busy");
    const session = await server.connect("busy");
    await session.query("create table public.mine (n int); create table public.orders (other text)");
    const refused = await run(["restore", id, "--into", "busy"]);
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain("the database busy is not empty: it has public.mine, public.orders");
    const dry = await run(["restore", id, "--into", "busy", "--clean", "--dry-run"]);
    expect(dry.document).toMatchObject({ dryRun: true, atomic: true });
    expect(await session.query("select * from public.orders")).toEqual([]);
    const clean = await run(["restore", id, "--into", "busy", "--clean"]);
    expect(clean.code).toBe(0);
    expect(await session.query("select count(*) as count from public.orders")).toEqual([{ count: 20_000 }]);
    expect(await session.query("select count(*) as count from public.mine")).toEqual([{ count: 0 }]);
    await session.close();
  });

  it("changes nothing when --clean fails half-way", async () => {
    await server.createDatabase("kept");
    const session = await server.connect("kept");
    // A view of somebody else keeps the old table from being dropped, after others were.
    await session.query(
      "create table public.secrets (n int); insert into public.secrets values (7); create table public.orders (id int primary key); create view public.v as select * from public.orders",
    );
    const failed = await run(["restore", sound.directory as string, "--into", "kept", "--clean"]);
    expect(failed.code).toBe(3);
    expect(failed.stderr).toContain("public.orders");
    expect(await session.query("select n from public.secrets")).toEqual([{ n: 7 }]);
    await session.close();
  });

  it("names the roles that a server lacks, and restores without them on request", async () => {
    const session = await server.connect("shop");
    await session.query("create role departed; grant select on public.orders to departed");
    const id = await create("--format", "custom");
    await session.query("revoke select on public.orders from departed; drop role departed");
    await session.close();
    const refused = await run(["restore", id, "--into", "elsewhere", "--create"]);
    expect(refused.stderr).toContain("that the server does not have: departed");
    expect((await run(["restore", id, "--into", "elsewhere", "--create", "--no-owner"])).code).toBe(0);
  });

  it("says who may restore an extension that the role may not create, and what to dump instead", async () => {
    const session = await server.connect("shop");
    const password = randomPassword();
    await session.query(`create role maker login createdb password '${password}'; create extension amcheck`);
    const id = await create("--format", "custom");
    await session.query("drop extension amcheck");
    const maker = urlOf(server.target("shop", { user: "maker", password }));
    const refused = await run(["restore", id, "--into", "not_made", "--create", "--no-owner"], {
      url: maker,
    });
    expect(refused.code).toBe(3);
    expect(refused.stderr).toContain(
      "may create the extension amcheck (a superuser, or rds_superuser on RDS)",
    );
    expect(
      await session.query("select from pg_database where datname ~ 'not_made|pgkeep_restoring'"),
    ).toEqual([]);
    await session.close();
  });

  it("does not exist when the server goes away during the dump", async () => {
    const own = mkdtempSync(join(tmpdir(), "gone-"));
    const session = await server.connect("shop");
    await session.query("begin; lock table public.secrets");
    const running = run(["create"], { to: own });
    await until(() => readdirSync(own).some((name) => name.startsWith(".partial-")));
    await delay(300);
    await crashServer(server.dataDirectory);
    const { code, document } = await running;
    await session.close();
    expect(code).toBe(3);
    expect(document.error.code).toBe("unreachable");
    expect(readdirSync(own)).toEqual([]);
  });
});

async function until(done: () => boolean): Promise<void> {
  for (let round = 0; round < 400; round += 1) {
    if (done()) return;
    await delay(25);
  }
  throw new Error("it did not happen within ten seconds");
}

/** Why no small file system can be made here, or undefined. */
function canMount(): string | undefined {
  if (process.getuid?.() !== 0 || process.platform !== "linux")
    return "(skipped: only root can mount a small disk)";
  const to = mkdtempSync(join(tmpdir(), "mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", to], { stdio: "ignore" });
    execFileSync("umount", [to], { stdio: "ignore" });
    return undefined;
  } catch {
    return "(skipped: this machine does not let a small disk be mounted)";
  }
}
