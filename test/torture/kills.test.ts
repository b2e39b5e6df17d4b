import { spawn } from "node:child_process";
import { link, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { pruneBackups } from "../../lib/jobs/back-up.ts";
import { seededRandom } from "../../lib/sandbox/application/random.ts";
import { BackupStore } from "../../lib/sandbox/backup-store.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { waitUntil } from "../../lib/sandbox/processes.ts";
import { useArchivedPrimary } from "../helpers/backup-places.ts";
import { configFor } from "../helpers/config.ts";
import { restoreToEnd } from "../ports/backups.contract.ts";

/** Of each operation; 50 when the whole torture runs. */
const trials = Math.min(50, Math.floor(Number(process.env.PGKEEP_TORTURE_TRIALS ?? 16) / 4));
const seed = Number(process.env.PGKEEP_TORTURE_SEED ?? 20_260_101);
const rows = 40_000;
const pruning = configFor("shop", { backups: { keepDaily: 1, keepWeekly: 0, keepMonthly: 0 } });

describe("killed with -9 at random moments", { timeout: trials * 60_000 }, () => {
  const primary = useArchivedPrimary();
  const random = seededRandom(seed);
  const backups = () => sandboxBackups(primary.places);
  const store = () => new BackupStore(primary.places.backupsDirectory);
  let placesFile = "";

  beforeAll(async () => {
    const session = await primary.connect();
    await session.query("create table public.items (id int primary key, note text)");
    await session.query(
      `insert into public.items select n, repeat(md5(n::text), 5) from generate_series(1, ${rows}) n`,
    );
    await session.close();
    placesFile = join(primary.places.scratchDirectory, "..", "places.json");
    await writeFile(placesFile, JSON.stringify(primary.places));
    await backups().create("base");
  });

  /** Runs an operation in a process of its own, killed so many milliseconds after it began. Resolves to whether it ended first, and how long it lived. */
  async function run(
    operation: string,
    name: string,
    killAfter?: number,
  ): Promise<{ ended: boolean; milliseconds: number }> {
    const file = fileURLToPath(new URL("kill-child.ts", import.meta.url));
    const child = spawn(process.execPath, ["--import", "tsx", file, placesFile, operation, name], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
    expect(await waitUntil(async () => output.includes("begun") || child.exitCode !== null, 60_000)).toBe(
      true,
    );
    const begun = performance.now();
    if (killAfter !== undefined) {
      await Promise.race([gone, delay(killAfter)]);
      child.kill("SIGKILL");
    }
    await gone;
    return { ended: output.includes("ended"), milliseconds: performance.now() - begun };
  }

  /** How long it takes undisturbed decides when it is killed; the operation is then repeated `trials` times. */
  async function torture(
    operation: string,
    prepare: (name: string) => Promise<void>,
    check: (name: string) => Promise<void>,
  ): Promise<void> {
    await prepare(`${operation}-0`);
    const first = await run(operation, `${operation}-0`);
    expect(first.ended).toBe(true);
    await check(`${operation}-0`);
    let { milliseconds } = first;
    let killed = 0;
    const tooFew = () => killed <= trials / 4;
    // The first time is the slowest: on a busy machine many would end before they are killed.
    for (let trial = 1; trial <= trials || (tooFew() && trial <= 5 * trials); trial++) {
      const name = `${operation}-${trial}`;
      await prepare(name);
      const trialled = await run(operation, name, Math.floor(random.fraction() * milliseconds * 0.9));
      if (!trialled.ended) killed += 1;
      else milliseconds = Math.min(milliseconds, trialled.milliseconds);
      await check(name);
    }
    expect(tooFew(), `of ${trials} runs only ${killed} were killed before they ended`).toBe(false);
  }

  async function expectAllWhole(): Promise<string[]> {
    const list = await backups().list();
    for (const { id, status, managed } of list) {
      expect(managed, id).toBe(true);
      expect(status, id).toBe("available");
      expect((await backups().verify(id)).problems, id).toEqual([]);
    }
    return list.map(({ id }) => id).sort();
  }

  it(`a backup is there whole or not at all, and the next run makes it (${trials} trials)`, async () => {
    await torture(
      "backup",
      async () => {},
      async (name) => {
        const there = await expectAllWhole();
        expect(there).toContain("base");
        expect(await backups().create(name)).toMatchObject({ id: name, status: "available" });
        expect(await expectAllWhole()).toEqual(["base", name].sort());
        expect((await readdir(primary.places.backupsDirectory)).sort()).toEqual(["base", name].sort());
        await backups().remove(name);
      },
    );
  });

  it(`pruning never leaves half a backup, and the next run finishes it (${trials} trials)`, async () => {
    await torture(
      "prune",
      async (name) => {
        // Copies of a real one: quicker than taking four.
        const base = await store().read("base");
        for (const number of [1, 2, 3, 4]) {
          const id = `${name}-${number}`;
          const at = new Date(Date.parse(base.finishedAt) + number).toISOString();
          const directory = await store().begin(id, base.database, new Date(at));
          // Links: deleting is what counts here.
          for (const { path } of base.files) {
            const target = join(directory as string, "data", path);
            await mkdir(dirname(target), { recursive: true });
            await link(join(store().dataOf("base"), path), target);
          }
          await store().finish({ ...base, id, startedAt: at, finishedAt: at });
        }
      },
      async (name) => {
        const there = await expectAllWhole();
        // The newest, and the one from which the recovery window begins.
        expect(there).toEqual(expect.arrayContaining(["base", `${name}-4`]));
        const pruned = await pruneBackups(backups(), pruning, new Date(), { dryRun: false });
        expect(pruned).toMatchObject({ refused: null, notDeleted: [] });
        expect(await expectAllWhole()).toEqual(["base", `${name}-4`]);
        const target = { kind: "backup", backupId: `${name}-4` } as const;
        if (name.endsWith("0")) {
          await restoreToEnd(backups(), { name: "proof", target });
          await backups().discard("proof");
        }
        await backups().remove(`${name}-4`);
        await store().sweep();
        expect(await readdir(primary.places.backupsDirectory)).toEqual(["base"]);
      },
    );
  });

  it(`a table is there with every row or not at all, and no scratch server stays (${trials} trials)`, async () => {
    const counted = async (name: string) => {
      const session = await primary.connect();
      try {
        const [found] = await session.query<{ there: boolean }>(
          "select to_regclass('public.' || quote_ident($1)) is not null as there",
          [name],
        );
        if (found?.there !== true) return undefined;
        const [row] = await session.query<{ count: number }>(
          `select count(*) as count from public."${name}"`,
        );
        await session.query(`drop table public."${name}"`);
        return row?.count;
      } finally {
        await session.close();
      }
    };
    await torture(
      "table",
      async () => {},
      async (name) => {
        const left = () => readdir(primary.places.scratchDirectory);
        await waitUntil(async () => (await left()).length === 0, 60_000);
        expect(await left(), "of the scratch server").toEqual([]);
        // The server may need a moment to notice that nobody is there any more, and rolls back.
        const first = await counted(name);
        expect([undefined, rows]).toContain(first);
        if (first === undefined) {
          expect(await run("table", name)).toMatchObject({ ended: true });
          expect(await counted(name)).toBe(rows);
        }
      },
    );
    const session = await primary.connect();
    expect(await session.query("select count(*) as count from public.items")).toEqual([{ count: rows }]);
    await session.close();
  });
});
