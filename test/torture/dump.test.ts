import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const root = resolve(import.meta.dirname, "../..");
/** The full run has 50. */
const trials = process.env.PGKEEP_TORTURE_TRIALS === undefined ? 5 : 50;
/** Each of these takes longer. */
const restores = Math.max(3, trials / 2);
const seed = Number(process.env.PGKEEP_TORTURE_SEED ?? 20_260_101);
const reason =
  noClientTools(defaultMajor) ?? (process.platform === "linux" ? undefined : "skipped: not Linux");

describe.skipIf(reason !== undefined)(`logical backups, killed at random moments ${reason ?? ""}`, () => {
  const server = useServer(defaultMajor);
  const tools = useClientTools(defaultMajor);
  const directory = mkdtempSync(join(tmpdir(), "killed-"));
  const random = seededRandom(seed);
  let url: string;
  let keyFile: string;

  const surroundings = () => ({ clientEnvironment: { PATH: `${tools.directory}:/usr/bin:/bin` } });
  const dump = async (...args: string[]) => {
    const { code, stdout, stderr } = await runCli(
      ["dump", ...args, "--to", directory, "--url", url, "--json"],
      surroundings(),
    );
    expect(code, stderr + stdout).toBe(0);
    return JSON.parse(stdout);
  };

  /** Runs the command as a process of its own, kills it or the program it runs, and waits until nothing of it is left. */
  const killed = async (args: string[], victim: "pgkeep" | "program", within: number): Promise<void> => {
    const child = spawn(
      process.execPath,
      [
        "--import",
        "tsx",
        join(root, "bin", "pgkeep.ts"),
        "dump",
        ...args,
        "--to",
        directory,
        "--url",
        url,
        "--bin-dir",
        tools.directory,
      ],
      { cwd: root, stdio: ["ignore", "ignore", "pipe"] },
    );
    const ended = new Promise((done) => child.once("close", done));
    const started = new Promise<void>((done) => {
      let text = "";
      child.stderr.on("data", (chunk) => {
        text += String(chunk);
        if (/^(?:dumping|restoring) /m.test(text)) done();
      });
    });
    await Promise.race([started, ended]);
    await delay(random.integer(0, within));
    if (victim === "pgkeep") child.kill("SIGKILL");
    else for (const pid of programs()) kill(pid);
    await ended;
    for (let round = 0; programs().length > 0; round += 1) {
      if (round > 200) throw new Error("a program of a killed run still runs after ten seconds");
      await delay(50);
    }
  };

  /** pg_dump and pg_restore that work on our server, by its port in their environment. */
  const programs = (): number[] =>
    readdirSync("/proc").flatMap((entry) => {
      if (!/^\d+$/.test(entry)) return [];
      try {
        const name = readFileSync(`/proc/${entry}/comm`, "utf8").trim();
        if (!["pg_dump", "pg_restore", "psql"].includes(name)) return [];
        return readFileSync(`/proc/${entry}/environ`, "utf8").includes(`PGPORT=${server.port}\0`)
          ? [Number(entry)]
          : [];
      } catch {
        return [];
      }
    });

  beforeAll(async () => {
    const database = await server.createDatabase("shop");
    url = urlOf(server.target(database));
    keyFile = join(directory, "..", "torture-key");
    const session = await server.connect(database);
    for (let table = 0; table < 8; table += 1) {
      await session.query(`create table public.t${table} (id int primary key, note text);
        insert into public.t${table} select n, md5(n::text) || md5((n * 7)::text) from generate_series(1, 25000) n`);
    }
    await session.close();
    expect((await runCli(["dump", "new-key", keyFile])).code).toBe(0);
  });

  it(`is whole or is none, and the next run completes (${trials} kills)`, {
    timeout: trials * 30_000,
  }, async () => {
    const ways = [
      ["--format", "directory", "--jobs", "2"],
      ["--format", "custom"],
      ["--format", "plain"],
      ["--format", "custom", "--key-file", keyFile],
      ["--format", "directory", "--key-file", keyFile],
    ];
    let interrupted = 0;
    for (let trial = 0; trial < trials || (interrupted === 0 && trial < 5 * trials); trial += 1) {
      const way = ways[trial % ways.length] as string[];
      const where = `PGKEEP_TORTURE_SEED=${seed}, trial ${trial}, ${way.join(" ")}`;
      const before = (await dump("list")).dumps.length;
      await killed(
        ["create", "--compress", "gzip:9", ...way],
        random.pick(["pgkeep", "program"] as const),
        1_500,
      );
      const { dumps } = (await dump("list")) as { dumps: { id: string; state: string }[] };
      for (const { id, state } of dumps) {
        expect(["complete", "interrupted"], where).toContain(state);
        if (state === "complete")
          expect((await dump("verify", id, "--key-file", keyFile)).ok, where).toBe(true);
      }
      if (dumps.every(({ state }) => state !== "complete") || dumps.length === before) interrupted += 1;
      await dump("prune");
      const left = readdirSync(directory);
      expect(
        left.filter((name) => name.startsWith(".")),
        where,
      ).toEqual([]);
    }
    expect(interrupted, "kills that came before the end").toBeGreaterThan(0);
    const { manifest } = await dump("create");
    expect((await dump("verify", manifest.id, "--deep")).ok).toBe(true);
  });

  it(`is restored whole or not at all, and the next restore completes (${restores} kills)`, {
    timeout: restores * 30_000,
  }, async () => {
    const { manifest } = await dump("create", "--format", "directory");
    const session = await server.connect("postgres");
    for (let trial = 0; trial < restores; trial += 1) {
      const where = `PGKEEP_TORTURE_SEED=${seed}, trial ${trial}`;
      await killed(
        ["restore", manifest.id, "--into", "back", "--create", "--jobs", String(1 + (trial % 2))],
        random.pick(["pgkeep", "program"] as const),
        1_000,
      );
      const made = await session.query("select from pg_database where datname = 'back'");
      if (made.length > 0) {
        const restored = await server.connect("back");
        for (let table = 0; table < 8; table += 1) {
          expect(await restored.query(`select count(*) as count from public.t${table}`), where).toEqual([
            { count: 25_000 },
          ]);
        }
        await restored.close();
        await session.query("drop database back with (force)");
      }
    }
    await dump("restore", manifest.id, "--into", "back", "--create");
    expect(
      await session.query("select datname::text as name from pg_database where datname ~ '^(back|pgkeep)'"),
    ).toEqual([{ name: "back" }]);
    await session.close();
  });
});

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // ended meanwhile
  }
}
