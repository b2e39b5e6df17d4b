import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beyondDefaults } from "../lib/config/beyond-defaults.ts";
import { defaultConfig } from "../lib/config/load.ts";
import { bundleSource, bundleStep } from "../lib/constructs/bundle.ts";
import { checkHealth } from "../lib/jobs/check-health.ts";
import type { AnyStep } from "../lib/jobs/job.ts";
import { functionResources } from "../test/helpers/function-setting.ts";
import { startFunction, whyNoLambda } from "../test/helpers/lambda.ts";
import { type BenchResult, median } from "./bench.ts";

const rounds = 21;
const limit = 1.5;
const megabyte = 1_000_000;

/** What a function that does nothing but talk to PostgreSQL could not do without. */
const bare = `
import pg from "pg";
export const handler = async (event) => {
  const client = new pg.Client(event);
  await client.connect();
  const { rows } = await client.query("select 1");
  await client.end();
  return rows;
};
`;

/**
 * From the start of Lambda's Node to the question for the first event: the function of check-health, bundled as it
 * is deployed, against one that only loads `pg`. Taken in turns, so that both see the same machine.
 */
export async function benchLambda(): Promise<BenchResult> {
  const name = "start of a function (check-health)";
  const baseline = "a function with pg alone";
  if (whyNoLambda !== undefined) {
    const nothing = { baselineSeconds: Number.NaN, oursSeconds: Number.NaN, ratio: null };
    return { name, baseline, ...nothing, limit: "not measured", ok: true, note: whyNoLambda };
  }
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-bench-lambda-"));
  try {
    const ours = join(directory, "ours");
    const theirs = join(directory, "theirs");
    const { bytes } = bundleStep(checkHealth, checkHealth.steps[0] as AnyStep, ours);
    const { bytes: bareBytes } = bundleSource(bare, theirs);
    const seconds: Record<string, number[]> = { [ours]: [], [theirs]: [] };
    for (let round = 0; round < rounds; round += 1) {
      for (const bundle of [theirs, ours]) seconds[bundle]?.push(await startSeconds(bundle));
    }
    const [oursSeconds, baselineSeconds] = [median(seconds[ours] ?? []), median(seconds[theirs] ?? [])];
    const ratio = oursSeconds / baselineSeconds;
    return {
      name,
      baseline,
      baselineSeconds,
      oursSeconds,
      ratio,
      limit: `ratio ≤ ${limit}, ≤ 1 MB`,
      ok: ratio <= limit && bytes <= megabyte,
      note: `minified ${(bytes / 1000).toFixed(0)} kB; with pg alone ${(bareBytes / 1000).toFixed(0)} kB`,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function startSeconds(directory: string): Promise<number> {
  const [config] = defaultConfig().databases;
  if (config === undefined) throw new Error("the default configuration has a database");
  const started = await startFunction(directory, {
    PGKEEP_RESOURCES: JSON.stringify(functionResources("app", { port: 5432 })),
    PGKEEP_CONFIG: beyondDefaults(config),
  });
  await started.ready;
  await started.stop();
  return started.startSeconds();
}
