import { systemClock } from "../lib/clock.ts";
import { databaseConfigSchema } from "../lib/config/schema.ts";
import { reindex } from "../lib/jobs/reindex.ts";
import { runJob } from "../lib/jobs/runner.ts";
import type { Session } from "../lib/ports/databases.ts";
import { type ConnectionTarget, connect } from "../lib/postgres/connect.ts";
import type { ReindexReport } from "../lib/reindex/report.ts";
import { type BenchResult, median } from "./bench.ts";
import { withServer } from "./server.ts";

const major = 17;
const tables = 4;
/** The primary keys have 21 MB, the other indexes 56 MB: by default the job rebuilds none below 10 MB. */
const rows = 1_000_000;
const rounds = 5;
const limit = 1.05;

/** The job `reindex` against `REINDEX INDEX CONCURRENTLY` of the same indexes through one connection. */
export async function benchReindex(): Promise<BenchResult> {
  return withServer(major, { autovacuum: false, max_wal_size: "4GB" }, async (server) => {
    const target: ConnectionTarget = { ...server, database: "bench" };
    const indexes = await createTables(target);
    const theirs: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      // The disk changes its speed while it works: neither side always goes first.
      const sides = [
        async () => theirs.push(await measured(target, () => reindexByHand(target, indexes))),
        async () => ours.push(await measured(target, () => reindexByJob(target, indexes))),
      ];
      if (round % 2 === 1) sides.reverse();
      for (const side of sides) await side();
    }
    const baselineSeconds = median(theirs);
    const oursSeconds = median(ours);
    const ratio = oursSeconds / baselineSeconds;
    return {
      name: `reindex, ${indexes.length} indexes of ${rows} rows`,
      baseline: "REINDEX INDEX CONCURRENTLY of each",
      baselineSeconds,
      oursSeconds,
      ratio,
      limit: `ratio ≤ ${limit}`,
      ok: ratio <= limit,
      note: "ours is the job with its connections, lock, plan, checks before each index, watch and record",
    };
  });
}

async function measured(target: ConnectionTarget, work: () => Promise<void>): Promise<number> {
  await withSession(target, (session) => session.query("checkpoint"));
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

async function reindexByJob(target: ConnectionTarget, indexes: readonly string[]): Promise<void> {
  const result = await runJob(reindex, {
    ports: {
      primary: {
        endpoint: { host: target.host, port: target.port },
        connect: ({ role: _, ...options }) => connect(target, options),
      },
      clock: systemClock,
      metrics: { put: async () => {} },
      notifications: { send: async () => {} },
    },
    config: { key: "bench", ...databaseConfigSchema.parse({ database: { name: target.database } }) },
    arguments: { indexes },
  });
  const report = result.report as unknown as ReindexReport;
  if (result.outcome !== "succeeded") throw new Error(`reindex: ${result.reason}`);
  if (report.rebuilt.total !== indexes.length)
    throw new Error(`reindex rebuilt ${report.rebuilt.total} indexes instead of ${indexes.length}`);
}

async function reindexByHand(target: ConnectionTarget, indexes: readonly string[]): Promise<void> {
  await withSession(target, async (session) => {
    for (const index of indexes) await session.query(`reindex index concurrently ${index}`);
  });
}

async function createTables(target: ConnectionTarget): Promise<string[]> {
  await withSession({ ...target, database: "postgres" }, (session) => session.query("create database bench"));
  return withSession(target, async (session) => {
    const indexes: string[] = [];
    for (let table = 0; table < tables; table += 1) {
      await session.query(`create table public.t${table} (id int primary key, code text)`);
      await session.query(
        `insert into public.t${table} select i, md5(i::text) from generate_series(1, ${rows}) i`,
      );
      await session.query(`create index t${table}_code on public.t${table} (code)`);
      indexes.push(`public.t${table}_pkey`, `public.t${table}_code`);
    }
    await session.query("vacuum (analyze)");
    return indexes;
  });
}

async function withSession<T>(target: ConnectionTarget, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await connect(target, { statementTimeoutMilliseconds: 0 });
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}
