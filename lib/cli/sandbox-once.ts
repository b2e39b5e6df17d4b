import { jobs } from "../jobs/index.ts";
import type { Job, JobResult, Outcome } from "../jobs/job.ts";
import { runJob } from "../jobs/runner.ts";
import type { RunningSandbox } from "../sandbox/sandbox.ts";

/** What `pgkeep sandbox --once --json` prints. */
export interface OnceReport {
  ready: { seconds: number; primary: string; replicas: string[]; pooler: string };
  faults: { name: string; report: unknown }[];
  jobs: JobResult[];
  workload: unknown;
  outcome: Outcome;
}

/**
 * Every job once while the workload runs: first the watching ones, then the backup, then the faults (and the
 * watching ones again, to show what they make of them), then maintenance and the drill.
 */
export async function runOnce(
  sandbox: RunningSandbox,
  options: { faults: readonly string[]; signal: AbortSignal; onProgress: (line: string) => void },
): Promise<OnceReport> {
  const results: JobResult[] = [];
  const faults: OnceReport["faults"] = [];
  const run = async (job: Job) => {
    options.signal.throwIfAborted();
    options.onProgress(`${job.name} …`);
    const { ports, config } = sandbox.environment;
    const result = await runJob(job, { ports, config, signal: options.signal });
    results.push(result);
    options.onProgress(describeOutcome(result));
  };
  const backUp = jobs.findIndex((job) => job.name === "back-up");
  const before = jobs.slice(0, backUp + 1);
  const after = jobs.slice(backUp + 1);
  for (const job of before) await run(job);
  for (const name of options.faults) {
    options.onProgress(`fault ${name} …`);
    const report = await sandbox.applyFault(name, false);
    faults.push({ name, report });
  }
  if (options.faults.length > 0) for (const job of before.slice(0, -1)) await run(job);
  for (const job of after) await run(job);
  const { state } = sandbox;
  return {
    ready: {
      seconds: sandbox.readySeconds,
      primary: `127.0.0.1:${state.primary.port}`,
      replicas: state.replicas.map((replica) => `127.0.0.1:${replica.port}`),
      pooler: sandbox.poolerNote,
    },
    faults,
    jobs: results,
    workload: await sandbox.stopWorkload(),
    outcome: results.some((result) => result.outcome === "failed") ? "failed" : "succeeded",
  };
}

/** `back-up: succeeded in 1.2 s`, with the reason when there is one. */
export function describeOutcome(result: JobResult): string {
  const reason = result.reason === undefined ? "" : `: ${result.reason}`;
  return `${result.job} ${result.outcome} in ${result.seconds} s${reason}`;
}
