import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultConfig } from "../lib/config/load.ts";
import type { DatabaseConfig } from "../lib/config/schema.ts";
import { jobs } from "../lib/jobs/index.ts";
import { connect } from "../lib/postgres/connect.ts";
import { sandboxAlarms } from "../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { memorySeries } from "../lib/sandbox/alarms/series.ts";
import { watchAlarms } from "../lib/sandbox/alarms/watch.ts";
import { createMeasurer } from "../lib/sandbox/measures/index.ts";
import { type RunningSandbox, startSandbox } from "../lib/sandbox/sandbox.ts";
import { type BenchResult, median } from "./bench.ts";

const minutes = 60;
const limitSeconds = 0.1;

/** One minute of the sandbox's alarms, measured and evaluated, against logging in to each server once. */
export async function benchAlarms(): Promise<BenchResult> {
  const config = defaultConfig().databases[0] as DatabaseConfig;
  const homeDirectory = join(tmpdir(), `pgkeep-bench-${process.pid}`);
  const sandbox = await startSandbox({
    config,
    configFile: null,
    homeDirectory,
    replicas: 2,
    signal: new AbortController().signal,
  });
  try {
    const measurer = createMeasurer({ state: sandbox.state, config });
    const alarms = sandboxAlarms({ state: sandbox.state, config, jobs, maxConnections: 100 });
    const store = memorySeries();
    const watch = watchAlarms({ alarms, store, notify: async () => {} });
    const measuring: number[] = [];
    const evaluating: number[] = [];
    const logins: number[] = [];
    for (let minute = 0; minute < minutes; minute += 1) {
      const at = minute * 60_000;
      measuring.push(
        await secondsOf(async () => {
          for (const { id, value } of await measurer.measure()) {
            store.add(id, { atMilliseconds: at, value });
          }
        }),
      );
      evaluating.push(await secondsOf(() => watch.evaluate(new Date(at + 60_000))));
      logins.push(await secondsOf(() => logInEverywhere(sandbox)));
    }
    await measurer.close();
    const oursSeconds = median(measuring) + median(evaluating);
    const baselineSeconds = median(logins);
    return {
      name: `a minute of ${alarms.length} alarms in a sandbox with 2 replicas`,
      baseline: "logging in to each server once",
      baselineSeconds,
      oursSeconds,
      ratio: oursSeconds / baselineSeconds,
      limit: `≤ ${limitSeconds} s`,
      ok: oursSeconds <= limitSeconds,
      note: `measuring ${(median(measuring) * 1000).toFixed(0)} ms, evaluating ${(median(evaluating) * 1000).toFixed(1)} ms`,
    };
  } finally {
    await sandbox.stop();
    await rm(homeDirectory, { recursive: true, force: true });
  }
}

async function logInEverywhere({ state }: RunningSandbox): Promise<void> {
  const { monitoring } = state.roles;
  for (const { port } of [state.primary, ...state.replicas]) {
    const session = await connect({ host: "127.0.0.1", port, database: state.database, ...monitoring });
    await session.close();
  }
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}
