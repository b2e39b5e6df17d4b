import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createDump } from "../lib/logical/create.ts";
import { DirectoryStore } from "../lib/logical/directory-store.ts";
import { restoreDump } from "../lib/logical/restore.ts";
import { parseSelection } from "../lib/logical/selection.ts";
import type { Source } from "../lib/logical/source.ts";
import { findTools } from "../lib/logical/tools.ts";
import { type ConnectionTarget, connect } from "../lib/postgres/connect.ts";
import type { BenchResult } from "./bench.ts";
import { withServer } from "./server.ts";

/** The major version whose pg_dump Debian has. */
const major = 15;
const jobs = 2;
const tables = 8;
const rowsPerTable = 500_000;
/** Many and short: single rounds differ by a tenth on a shared machine. */
const rounds = 13;
/** Not slower than 0.95 of the bare programs. */
const limit = 1 / 0.95;

/** `pgkeep dump create` with its snapshot, checksums and manifest against `pg_dump -Fd -j`. */
export async function benchDump(): Promise<BenchResult> {
  return withData(async ({ source, target, directory, pgDump }) => {
    const { host, port, user, database, password } = target;
    const places = { theirs: join(directory, "by-hand"), ours: join(directory, "ours") };
    const theirs = async () => {
      const connection = [`--host=${host}`, `--port=${port}`, `--username=${user}`];
      await promisify(execFile)(
        pgDump,
        [
          "--format=directory",
          `--jobs=${jobs}`,
          "--compress=6",
          `--file=${places.theirs}`,
          ...connection,
          database,
        ],
        { env: { PGPASSWORD: String(password) } },
      );
    };
    const ours = () => dumpTo(source, places.ours);
    return compare("parallel dump", `pg_dump -Fd -j${jobs}`, theirs, ours, async () => {
      for (const place of Object.values(places)) await rm(place, { recursive: true, force: true });
    });
  });
}

/** `pgkeep dump restore --create` with its checks against `createdb` and `pg_restore -j`. */
export async function benchDumpRestore(): Promise<BenchResult> {
  return withData(async ({ source, target, directory, pgRestore }) => {
    const { host, port, user, password } = target;
    const store = join(directory, "ours");
    const id = await dumpTo(source, store);
    const session = await connect(target, { statementTimeoutMilliseconds: 0 });
    let round = 0;
    let name = "";
    const theirs = async () => {
      name = `by_hand_${round++}`;
      await session.query(`create database ${name} template template0`);
      const connection = [`--host=${host}`, `--port=${port}`, `--username=${user}`];
      await promisify(execFile)(
        pgRestore,
        ["--exit-on-error", `--jobs=${jobs}`, ...connection, `--dbname=${name}`, join(store, id, "dump")],
        { env: { PGPASSWORD: String(password) } },
      );
    };
    const ours = async () => {
      name = `ours_${round++}`;
      await restoreDump({
        store: new DirectoryStore(store),
        id,
        target: source,
        into: name,
        create: true,
        clean: false,
        jobs,
        noOwner: false,
        analyze: false,
        dryRun: false,
      });
    };
    try {
      return await compare("parallel restore of a dump", `pg_restore -j${jobs}`, theirs, ours, async () => {
        if (name !== "") await session.query(`drop database ${name}`);
        await session.query("checkpoint");
      });
    } finally {
      await session.close();
    }
  });
}

/**
 * By turns, and each round the other way around, so that neither has the warmer caches. The fastest round of
 * each counts: whatever else the machine does only makes a round slower.
 */
async function compare(
  name: string,
  baseline: string,
  theirs: () => Promise<unknown>,
  ours: () => Promise<unknown>,
  before: () => Promise<unknown>,
): Promise<BenchResult> {
  const times = { theirs: [] as number[], ours: [] as number[] };
  const measure = async (whose: keyof typeof times) => {
    await before();
    const begin = performance.now();
    await (whose === "theirs" ? theirs : ours)();
    times[whose].push((performance.now() - begin) / 1000);
  };
  for (let round = 0; round < rounds; round += 1) {
    const order = ["theirs", "ours"] as const;
    for (const whose of round % 2 === 0 ? order : [...order].reverse()) await measure(whose);
  }
  const baselineSeconds = Math.min(...times.theirs);
  const oursSeconds = Math.min(...times.ours);
  const ratio = oursSeconds / baselineSeconds;
  return {
    name: `${name}, ${tables} tables of ${rowsPerTable.toLocaleString("en")} rows`,
    baseline,
    baselineSeconds,
    oursSeconds,
    ratio,
    limit: `ratio ≤ ${limit.toFixed(3)}`,
    ok: ratio <= limit,
    note: `the fastest of ${rounds} rounds each; ${(1 / ratio).toFixed(3)} of the speed by hand`,
  };
}

async function dumpTo(source: Source, directory: string): Promise<string> {
  const { plan } = await createDump({
    source,
    store: new DirectoryStore(directory),
    selection: parseSelection({}),
    format: "directory",
    compression: { algorithm: "gzip", level: 6 },
    jobs,
    lockWaitSeconds: 60,
    dryRun: false,
    now: new Date(),
  });
  return plan.id;
}

interface Data {
  source: Source;
  target: ConnectionTarget;
  directory: string;
  pgDump: string;
  pgRestore: string;
}

async function withData<T>(body: (data: Data) => Promise<T>): Promise<T> {
  const { pgDump, pgRestore } = await findTools(major, {});
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-bench-dump-"));
  try {
    return await withServer(
      major,
      { autovacuum: false, max_wal_size: "4GB", checkpoint_timeout: "1h" },
      async (server) => {
        const target = { ...server, database: "bench" };
        const maintenance = await connect(server, { statementTimeoutMilliseconds: 0 });
        await maintenance.query("create database bench");
        await maintenance.close();
        const session = await connect(target, { statementTimeoutMilliseconds: 0 });
        for (let table = 0; table < tables; table += 1) {
          await session.query(
            `create table public.t${table} (id int primary key, at timestamptz not null, amount numeric, note text)`,
          );
          await session.query(
            `insert into public.t${table} select n, now() + n * interval '1 s', n / 7.0, md5(n::text) || ' of order ' || n from generate_series(1, ${rowsPerTable}) n`,
          );
          await session.query(`create index on public.t${table} (at)`);
        }
        await session.query("vacuum (analyze)");
        await session.close();
        const login = {
          host: target.host,
          port: target.port,
          user: target.user,
          database: target.database,
          password: String(target.password),
          tls: { sslmode: "disable" },
        };
        const source: Source = {
          description: "the server",
          login,
          connect: (options) =>
            connect({ ...target, database: options?.database ?? target.database }, options),
          tools: {},
        };
        return body({ source, target, directory, pgDump, pgRestore });
      },
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
