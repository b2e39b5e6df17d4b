import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import { reindex } from "../../lib/jobs/reindex.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Session } from "../../lib/ports/databases.ts";
import type { ReindexReport } from "../../lib/reindex/report.ts";
import type { Random } from "../../lib/sandbox/application/random.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import type { TestServer } from "../helpers/postgres.ts";
import { installed } from "../install/installed.ts";

/** Indexes that each trial rebuilds: a primary key, one that enforces nothing, one on an expression. */
const indexes = ["public.kept_pkey", "public.kept_code", "public.kept_lower"];
/** Somebody else's, which look like leftovers. */
const foreign = ["kept_code_ccnew", "kept_code_ccold1 (invalid)"];
const rows = 60_000;
/** Every index of the table after a run. */
export const whole = [...indexes.map((name) => name.replace("public.", "")), ...foreign].sort();

async function makeTable(session: Session): Promise<void> {
  await session.query("create table public.kept (id int primary key, code text)");
  await session.query(`insert into public.kept select i, md5(i::text) from generate_series(1, ${rows}) i`);
  await session.query("create index kept_code on public.kept (code)");
  await session.query("create index kept_lower on public.kept (lower(code))");
  await session.query("create index kept_code_ccnew on public.kept (code, id)");
  await session.query("create index kept_code_ccold1 on public.kept (code)");
  await session.query(
    "update pg_index set indisvalid = false where indexrelid = 'public.kept_code_ccold1'::regclass",
  );
}

/**
 * Kills the process that runs the job at so many random moments, while clients write. After each kill the table has
 * every one of its indexes, and the next run removes what was left, nothing else, and completes.
 * @returns trials in which the kill left something to do
 */
export async function killAtRandomMoments(
  server: TestServer,
  random: Random,
  trials: number,
): Promise<{ interrupted: number }> {
  const { database, as } = await installed(server);
  const killed = { interrupted: 0 };
  await as(undefined, async (session) => {
    await makeTable(session);
    const workload = beginWorkload(server, database);
    try {
      // A whole run, to know within which time a kill interrupts one.
      const longest = Math.round((await nextRun(server, database)).report.secondsUsed * 1000);
      // Moments are random: until one kill has interrupted something, or they would prove nothing.
      for (let trial = 1; trial <= trials || (killed.interrupted === 0 && trial <= 5 * trials); trial += 1) {
        const moment = random.integer(0, longest);
        const where = `trial ${trial}, killed after ${moment} ms`;
        await killWhen(server, database, () => delay(moment));
        // Whatever was going on: each index is there, valid and under its name.
        expect(await indexNames(session), where).toEqual(expect.arrayContaining(whole));
        const { report, skipped } = await nextRun(server, database);
        expect(skipped, where).toBeLessThan(200);
        expect(await indexNames(session), where).toEqual(whole);
        expect(await session.query("select 1 from pgkeep.index_rebuild"), where).toEqual([]);
        expect(report.rebuilt.total, where).toBe(indexes.length);
        const isInterrupted =
          report.leftoversDropped.total > 0 ||
          report.rebuilt.indexes.some((entry) => entry.reason.kind === "interrupted") ||
          report.notes.some((note) => note.includes("killed"));
        if (isInterrupted) killed.interrupted += 1;
      }
    } finally {
      expect(await workload.end()).toEqual([]);
    }
    await session.query("create extension if not exists amcheck");
    const schema = await session.query<{ name: string }>(
      "select extnamespace::regnamespace::text as name from pg_extension where extname = 'amcheck'",
    );
    for (const index of indexes) {
      await session.query(`select ${schema[0]?.name}.bt_index_check($1::text::regclass, true)`, [index]);
    }
  });
  return killed;
}

/**
 * Kills it while its build waits for a transaction of somebody else: the server sees that the client is gone,
 * gives up the build, and leaves its index.
 * @returns what was left, what was there after the next run, and what that said
 */
export async function killDuringBuild(
  server: TestServer,
): Promise<{ left: string[]; after: string[]; report: ReindexReport }> {
  const { database, as } = await installed(server);
  return as(undefined, async (session) => {
    await makeTable(session);
    const holder = await server.connect(database);
    const builds = (condition: string) =>
      session.query(
        `select from pg_stat_activity where datname = current_database() and query ilike 'reindex%' and ${condition}`,
      );
    try {
      await killWhen(server, database, async () => {
        await holder.query("begin");
        await holder.query("update public.kept set code = 'held' where id = 1");
        await expect
          .poll(() => builds("wait_event_type = 'Lock'"), { timeout: 30_000, interval: 20 })
          .toHaveLength(1);
      });
      await expect.poll(() => builds("true"), { timeout: 30_000, interval: 50 }).toEqual([]);
      await holder.query("rollback");
    } finally {
      await holder.close();
    }
    const left = (await indexNames(session)).filter((name) => !whole.includes(name));
    const { report } = await nextRun(server, database);
    return { left, after: await indexNames(session), report };
  });
}

/** Runs the job in a process of its own, and kills that when `moment`, which begins with the first build, is over. */
async function killWhen(server: TestServer, database: string, moment: () => Promise<unknown>): Promise<void> {
  const child = spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      join(import.meta.dirname, "reindex-child.ts"),
      JSON.stringify(server.target(database)),
      JSON.stringify({ indexes }),
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await new Promise<void>((resolve) => {
    child.stdout.on("data", (text: Buffer) => {
      if (text.toString().includes("reindexing") || text.toString().includes("failed")) resolve();
    });
    void gone.then(resolve);
  });
  await Promise.race([moment(), gone]);
  child.kill("SIGKILL");
  await gone;
}

/** The server may need a moment to see that the killed run is gone, and until then keeps its lock. */
async function nextRun(
  server: TestServer,
  database: string,
): Promise<{ report: ReindexReport; skipped: number }> {
  for (let skipped = 0; ; skipped += 1) {
    const result = await runJob(reindex, {
      ports: portsFor(server.target(database)),
      config: configFor(database, { maintenance: { reindex: { oldTransactionSeconds: 2 } } }),
      arguments: { indexes },
    });
    if (result.outcome === "skipped" && skipped < 200) {
      await delay(50);
      continue;
    }
    expect(result.reason).toBeUndefined();
    expect(result.outcome).toBe("succeeded");
    return { report: result.report as unknown as ReindexReport, skipped };
  }
}

function beginWorkload(server: TestServer, database: string): { end(): Promise<unknown[]> } {
  const errors: unknown[] = [];
  let isOver = false;
  const client = async (first: number) => {
    const session = await server.connect(database);
    for (let n = 0; !isOver; n += 1) {
      await session
        .query("update public.kept set code = md5(random()::text) where id = $1", [first + (n % 1000)])
        .catch((error: unknown) => errors.push(error));
      await delay(3);
    }
    await session.close();
  };
  const clients = Promise.all([client(1), client(5001)]);
  return {
    async end() {
      isOver = true;
      await clients;
      return errors;
    },
  };
}

async function indexNames(session: Session): Promise<string[]> {
  const found = await session.query<{ name: string }>(
    `select i.relname || case when x.indisvalid then '' else ' (invalid)' end as name
       from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = 'public.kept'::regclass`,
  );
  return found.map(({ name }) => name).sort();
}
