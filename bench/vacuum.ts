import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { systemClock } from "../lib/clock.ts";
import { databaseConfigSchema } from "../lib/config/schema.ts";
import { runJob } from "../lib/jobs/runner.ts";
import { vacuum } from "../lib/jobs/vacuum.ts";
import type { Session } from "../lib/ports/databases.ts";
import { type ConnectionTarget, connect } from "../lib/postgres/connect.ts";
import type { VacuumReport } from "../lib/vacuum/report.ts";
import { type BenchResult, median } from "./bench.ts";
import { withServer } from "./server.ts";

/** The major version whose vacuumdb Debian has. */
const major = 15;
const vacuumdb = `/usr/lib/postgresql/${major}/bin/vacuumdb`;
const tableCount = 2_000;
const dirtyCount = 40;
const rowsPerTable = 1_000;
/** Somewhat beyond the trigger of a table of that size, 250 dead rows. */
const dirtyRows = 300;
const rounds = 5;
const limit = 0.05;

/** The job `vacuum` against `vacuumdb --all --analyze`: 2,000 tables, 40 of them dirty before each run. */
export async function benchVacuum(): Promise<BenchResult> {
  // The state of the tables must be what this file makes it.
  return withServer(major, { autovacuum: false }, async (server) => {
    const target: ConnectionTarget = { ...server, database: "bench" };
    await createTables(target);
    const haveClient = existsSync(vacuumdb);
    const theirs: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      theirs.push(
        await measured(target, () => (haveClient ? runVacuumdb(target) : vacuumEverything(target))),
      );
      ours.push(await measured(target, () => vacuumByNeed(target)));
    }
    const baselineSeconds = median(theirs);
    const oursSeconds = median(ours);
    const ratio = oursSeconds / baselineSeconds;
    return {
      name: `vacuum by need, ${tableCount} tables, ${dirtyCount} dirty`,
      baseline: haveClient ? "vacuumdb --all --analyze" : "VACUUM (ANALYZE) of every table",
      baselineSeconds,
      oursSeconds,
      ratio,
      limit: `ratio ≤ ${limit}`,
      ok: ratio <= limit,
      note: `both left no table with dead rows; ours is the job with its connections, lock and plan${
        haveClient ? "" : `; ${vacuumdb} is not there, so the baseline goes through one connection`
      }`,
    };
  });
}

async function measured(target: ConnectionTarget, work: () => Promise<void>): Promise<number> {
  await withSession(target, async (session) => {
    for (let table = 0; table < dirtyCount; table += 1) {
      await session.query(
        `update public.t${table * (tableCount / dirtyCount)} set note = note || '.' where id <= ${dirtyRows}`,
      );
    }
    // The catalogs that the run before has churned are not among the dirty tables, for neither side.
    const catalogs = await session.query<{ name: string }>(
      "select relid::regclass::text as name from pg_stat_sys_tables where schemaname = 'pg_catalog'",
    );
    for (const { name } of catalogs) await session.query(`vacuum (analyze) ${name}`);
    await session.query("checkpoint");
  });
  const begin = performance.now();
  await work();
  const seconds = (performance.now() - begin) / 1000;
  await withSession(target, async (session) => {
    const rows = await session.query<{ dirty: number }>(
      "select count(*) as dirty from pg_stat_user_tables where n_dead_tup > 0",
    );
    if (rows[0]?.dirty !== 0) throw new Error(`${rows[0]?.dirty} tables have dead rows after the vacuum`);
  });
  return seconds;
}

async function vacuumByNeed(target: ConnectionTarget): Promise<void> {
  const result = await runJob(vacuum, {
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
  });
  const report = result.report as unknown as VacuumReport;
  if (result.outcome !== "succeeded") throw new Error(`vacuum: ${result.reason}`);
  const touched = report.vacuumed.tables.filter((entry) => entry.schema === "public").length;
  if (touched !== dirtyCount) throw new Error(`vacuum touched ${touched} tables instead of ${dirtyCount}`);
}

async function runVacuumdb(target: ConnectionTarget): Promise<void> {
  const { host, port, user, password } = target;
  const connection = [`--host=${host}`, `--port=${port}`, `--username=${user}`, "--no-password"];
  await promisify(execFile)(vacuumdb, ["--all", "--analyze", "--quiet", ...connection], {
    env: { PGPASSWORD: String(password) },
  });
}

async function vacuumEverything(target: ConnectionTarget): Promise<void> {
  await withSession(target, async (session) => {
    const tables = await session.query<{ name: string }>(
      "select oid::regclass::text as name from pg_class where relkind in ('r', 'm') order by relpages desc",
    );
    for (const table of tables) await session.query(`vacuum (skip_locked, analyze) ${table.name}`);
  });
}

async function createTables(target: ConnectionTarget): Promise<void> {
  await withSession({ ...target, database: "postgres" }, (session) => session.query("create database bench"));
  await withSession(target, async (session) => {
    for (let first = 0; first < tableCount; first += 100) {
      await session.query(`do $$ begin
        for i in ${first}..${first + 99} loop
          execute format('create table public.t%s (id int primary key, at timestamptz, note text)', i);
          execute format('insert into public.t%s select n, now(), md5(n::text) from generate_series(1, ${rowsPerTable}) n', i);
        end loop; end $$`);
    }
  });
  await withSession(target, (session) => session.query("vacuum (analyze)"));
}

async function withSession<T>(target: ConnectionTarget, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await connect(target, { statementTimeoutMilliseconds: 0 });
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}
