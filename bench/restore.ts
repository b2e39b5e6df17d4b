import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { connect } from "../lib/postgres/connect.ts";
import { BackupStore } from "../lib/sandbox/backup-store.ts";
import { sandboxBackups } from "../lib/sandbox/backups.ts";
import { type Cluster, startCluster } from "../lib/sandbox/cluster.ts";
import { requestRecovery } from "../lib/sandbox/recovery.ts";
import { configureServer, startServer, stopServer } from "../lib/sandbox/server.ts";
import { type BenchResult, median } from "./bench.ts";

const run = promisify(execFile);
const runs = 5;
const maxRatio = 1.3;
const settings = { shared_buffers: "128MB", fsync: false, max_wal_size: "4GB", checkpoint_timeout: "1h" };
const backupId = "bench";

/** Our restore, with all its checks, against `cp`, a restore_command of `cp` and a start. */
export async function benchRestore(): Promise<BenchResult> {
  const cluster = await startCluster({ major: 17, database: "bench", replicas: 0, settings });
  try {
    const { backupBytes, walBytes } = await prepare(cluster);
    const bare: number[] = [];
    const ours: number[] = [];
    const byHand = async () => bare.push(await restoreByHand(cluster));
    const withUs = async () => ours.push(await restoreWithUs(cluster));
    // In turns, each the other way around, so that what the machine does meanwhile hits both.
    for (let turn = 0; turn < runs; turn += 1) {
      for (const restore of turn % 2 === 0 ? [byHand, withUs] : [withUs, byHand]) await restore();
    }
    const [baselineSeconds, oursSeconds] = [median(bare), median(ours)];
    const ratio = oursSeconds / baselineSeconds;
    const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);
    return {
      name: `physical restore of ${megabytes(backupBytes)} MiB and ${megabytes(walBytes)} MiB of WAL`,
      baseline: "cp of the files, start, replay of the same WAL",
      baselineSeconds,
      oursSeconds,
      ratio,
      limit: `ratio ≤ ${maxRatio}`,
      ok: ratio <= maxRatio,
      note: "ours recomputes the checksum of each file, looks for gaps in the WAL, and proves that all of it was replayed",
    };
  } finally {
    await cluster.stop();
  }
}

async function prepare({ state }: Cluster): Promise<{ backupBytes: number; walBytes: number }> {
  const session = await connect(
    { host: "127.0.0.1", port: state.primary.port, database: state.database, ...state.superuser },
    { statementTimeoutMilliseconds: 0 },
  );
  try {
    await session.query("create table public.filler (id int primary key, text text) with (fillfactor = 70)");
    await session.query(
      "insert into public.filler select n, repeat(md5(n::text), 10) from generate_series(1, 700000) n",
    );
    await session.query("checkpoint");
    const backup = await sandboxBackups(state).create(backupId);
    const [begin] = await session.query<{ lsn: string }>("select pg_current_wal_lsn()::text as lsn");
    for (let round = 0; round < 3; round += 1) {
      await session.query("update public.filler set text = md5(text) || text where id % 3 = $1", [round]);
    }
    const [end] = await session.query<{ bytes: number; name: string }>(
      "select pg_wal_lsn_diff(pg_current_wal_lsn(), $1)::float8 as bytes, pg_walfile_name(pg_switch_wal()) as name",
      [begin?.lsn],
    );
    for (;;) {
      const [row] = await session.query<{ done: boolean }>(
        "select coalesce(last_archived_wal, '') >= $1 as done from pg_stat_archiver",
        [end?.name],
      );
      if (row?.done === true) break;
    }
    return { backupBytes: backup.sizeBytes ?? 0, walBytes: end?.bytes ?? 0 };
  } finally {
    await session.close();
  }
}

async function restoreByHand({ state }: Cluster): Promise<number> {
  const { binDirectory, owner, archiveDirectory, scratchDirectory } = state;
  const dataDirectory = join(scratchDirectory, "by-hand");
  const server = { dataDirectory, binDirectory, owner };
  const begin = performance.now();
  await run("cp", ["-r", new BackupStore(state.backupsDirectory).dataOf(backupId), dataDirectory]);
  if (owner !== null) await run("chown", ["-R", `${owner.uid}:${owner.gid}`, dataDirectory]);
  await run("chmod", ["0700", dataDirectory]);
  const empty = [
    "pg_wal/archive_status",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
  ];
  const more = ["pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_commit_ts"];
  const logical = ["pg_logical/snapshots", "pg_logical/mappings"];
  const paths = [...empty, ...more, ...logical].map((path) => join(dataDirectory, path));
  await run("mkdir", ["-p", "-m", "700", ...paths]);
  if (owner !== null) await run("chown", ["-R", `${owner.uid}:${owner.gid}`, dataDirectory]);
  await configureServer(server, {
    ...settings,
    restore_command: `cp "${archiveDirectory}/%f" "%p"`,
    recovery_target_action: "promote",
    hot_standby: false,
    archive_mode: "off",
    max_wal_senders: 0,
  });
  await requestRecovery(server);
  await startServer(server, { timeoutMilliseconds: 600_000 });
  const seconds = (performance.now() - begin) / 1000;
  await stopServer(dataDirectory, "immediate");
  await rm(dataDirectory, { recursive: true });
  return seconds;
}

async function restoreWithUs({ state }: Cluster): Promise<number> {
  const backups = sandboxBackups(state);
  const begin = performance.now();
  for (;;) {
    const { status } = await backups.restore({ name: "ours", target: { kind: "latest" } });
    if (status === "available") break;
  }
  const seconds = (performance.now() - begin) / 1000;
  await backups.discard("ours");
  return seconds;
}
