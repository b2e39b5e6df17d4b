import { mkdirSync, writeFileSync } from "node:fs";
import Table from "cli-table3";
import { benchAlarms } from "./alarms.ts";
import type { BenchResult } from "./bench.ts";
import { benchDump, benchDumpRestore } from "./dump.ts";
import { benchHealth } from "./health.ts";
import { benchHistory } from "./history.ts";
import { benchLambda } from "./lambda.ts";
import { benchPruning } from "./pruning.ts";
import { benchReady } from "./ready.ts";
import { benchReindex } from "./reindex.ts";
import { benchRestore } from "./restore.ts";
import { benchReview } from "./review.ts";
import { benchVacuum } from "./vacuum.ts";

/** `npm run bench [name…]`: each figure against a baseline of the same run; exits with 1 when a bound is broken. */
const benches: Record<string, () => Promise<BenchResult>> = {
  ready: benchReady,
  vacuum: benchVacuum,
  reindex: benchReindex,
  health: benchHealth,
  history: benchHistory,
  alarms: benchAlarms,
  review: benchReview,
  pruning: benchPruning,
  lambda: benchLambda,
  dump: benchDump,
  "dump-restore": benchDumpRestore,
  restore: benchRestore,
};

const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => benches[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`no benchmark ${unknown.join(", ")}; there are: ${Object.keys(benches).join(", ")}\n`);
  process.exit(2);
}

const results: BenchResult[] = [];
for (const [name, bench] of Object.entries(benches)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  process.stderr.write(`${name} …\n`);
  results.push(await bench());
}

const table = new Table({
  head: ["benchmark", "ours", "baseline", "ratio", "bound", "holds"],
  style: { head: [], border: [] },
});
for (const result of results) {
  table.push([
    result.name,
    `${result.oursSeconds.toFixed(3)} s`,
    `${result.baselineSeconds.toFixed(3)} s (${result.baseline})`,
    result.ratio === null ? "" : result.ratio.toFixed(3),
    result.limit,
    result.ok ? "yes" : "NO",
  ]);
}
process.stdout.write(`${table.toString()}\n`);
for (const result of results)
  if (result.note !== undefined) process.stdout.write(`${result.name}: ${result.note}\n`);
mkdirSync("coverage", { recursive: true });
writeFileSync("coverage/bench.json", `${JSON.stringify(results, null, 2)}\n`);
process.exitCode = results.every((result) => result.ok) ? 0 : 1;
