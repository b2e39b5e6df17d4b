import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultConfig } from "../lib/config/load.ts";
import type { DatabaseConfig } from "../lib/config/schema.ts";
import { findBinaries } from "../lib/sandbox/binaries.ts";
import { findOwner } from "../lib/sandbox/owner.ts";
import { makeGuardedDirectory } from "../lib/sandbox/reaper.ts";
import { startSandbox } from "../lib/sandbox/sandbox.ts";
import { initCluster, startServer, stopServer } from "../lib/sandbox/server.ts";
import { type BenchResult, median } from "./bench.ts";

const major = 17;
const servers = 3;
const rounds = 5;

/** A sandbox with two replicas, roles, application and poolers, against bare initdb and start of three servers. */
export async function benchReady(): Promise<BenchResult> {
  const config = defaultConfig().databases[0] as DatabaseConfig;
  const homeDirectory = join(tmpdir(), `pgkeep-bench-${process.pid}`);
  const bare: number[] = [];
  const ready: number[] = [];
  // By turns: the machine may be slower in one minute than in the next.
  for (let run = 0; run < rounds; run += 1) {
    bare.push(await bareServers());
    const sandbox = await startSandbox({
      config,
      configFile: null,
      homeDirectory,
      replicas: servers - 1,
      postgresMajor: major,
      signal: new AbortController().signal,
    });
    ready.push(sandbox.readySeconds);
    await sandbox.stop();
  }
  await rm(homeDirectory, { recursive: true, force: true });
  const baselineSeconds = median(bare);
  const oursSeconds = median(ready);
  const ratio = oursSeconds / baselineSeconds;
  return {
    name: "sandbox ready with 2 replicas",
    baseline: "initdb and start of three servers, one after the other",
    baselineSeconds,
    oursSeconds,
    ratio,
    limit: "ratio ≤ 1.5",
    ok: ratio <= 1.5,
    note: "ours includes roles and schema, the sample application with its rows, archiving, replicas and poolers",
  };
}

/** Seconds until three empty servers accept connections; stopping them again is not counted. */
async function bareServers(): Promise<number> {
  const owner = await findOwner();
  const directory = await makeGuardedDirectory(owner, {});
  const { binDirectory } = await findBinaries(major, owner, directory.path);
  const begin = performance.now();
  const started = [];
  for (let number = 0; number < servers; number += 1) {
    const files = { dataDirectory: join(directory.path, `server-${number}`), binDirectory, owner };
    await initCluster(files, { user: "bench", password: "bench" });
    await startServer(files);
    started.push(files);
  }
  const seconds = (performance.now() - begin) / 1000;
  for (const files of started) await stopServer(files.dataDirectory, "immediate");
  await directory.remove();
  return seconds;
}
