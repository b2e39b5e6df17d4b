import { configDefaults } from "../config/beyond-defaults.ts";
import { deployedConfig } from "../config/deployed.ts";
import { longestPeriodSeconds } from "../config/schedule.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { UsageError } from "../errors.ts";
import { backUp } from "../jobs/back-up.ts";
import type { AnyStep, Job } from "../jobs/job.ts";
import type { DeployedRuns } from "../ports/deployed-runs.ts";
import type { ProxyMetrics } from "../ports/proxy-metrics.ts";
import type { GlobalOptions } from "./cli.ts";

/** A step whose function works with AWS alone, and so is told all that AWS's ports take. */
const informedStep = stepOf(
  backUp,
  ({ where, needs }) => where === "control-plane" && needs.includes("backups"),
);

function stepOf(job: Job, fits: (step: AnyStep) => boolean): string {
  const found = job.steps.find(fits);
  if (found === undefined) throw new RangeError(`${job.name} has no such step`);
  return found.name;
}

/** Which deployed database, and where. */
export interface DeployedDatabase {
  key: string;
  /** By default that of the caller's credentials. */
  region: string | undefined;
}

export function deployedDatabase({ account }: Config, { key }: DatabaseConfig): DeployedDatabase {
  const region = "region" in account ? account.region : undefined;
  return { key, region: typeof region === "string" ? region : undefined };
}

/** @throws UsageError for options that name another target than AWS */
function requireAlone(options: GlobalOptions): void {
  for (const name of ["url", "replica"] as const) {
    if (options[name] === undefined) continue;
    throw new UsageError(`--on aws and --${name} name two targets`, {
      remedy: `leave one of them away; --database NAME chooses the deployed database`,
    });
  }
}

/** Gives the deployed runs of a database to `work`, with the caller's credentials. The SDK is loaded only here. */
export async function withDeployedRuns<T>(
  options: GlobalOptions,
  { key, region }: DeployedDatabase,
  work: (runs: DeployedRuns) => Promise<T>,
): Promise<T> {
  requireAlone(options);
  const [{ asCaller }, { deployedRuns }] = await Promise.all([
    import("../aws/caller.ts"),
    import("../aws/deployed-runs.ts"),
  ]);
  const caller = await asCaller(region);
  try {
    return await work(deployedRuns(caller, key));
  } finally {
    caller.close();
  }
}

/** Gives the measurements of a database's proxy to `work`, with the caller's credentials. */
export async function withProxyMetrics<T>(
  options: GlobalOptions,
  { key, region }: DeployedDatabase,
  work: (metrics: ProxyMetrics) => Promise<T>,
): Promise<T> {
  requireAlone(options);
  const [{ asCaller }, { proxyMetrics }] = await Promise.all([
    import("../aws/caller.ts"),
    import("../aws/pool-metrics.ts"),
  ]);
  const caller = await asCaller(region);
  const metrics = proxyMetrics(key, { region: caller.region });
  try {
    return await work(metrics);
  } finally {
    metrics.close();
    caller.close();
  }
}

/**
 * What is deployed of a database, as far as it can be worked with from outside of its network: everything but SQL.
 * Configuration and resources are those of the deployment; of the file only the key of the database counts.
 */
export async function openDeployed(
  options: GlobalOptions,
  { key, region }: DeployedDatabase,
): Promise<Environment> {
  requireAlone(options);
  const [{ asCaller, deployedPlatform }, { awsEnvironment }] = await Promise.all([
    import("../aws/caller.ts"),
    import("../aws/environment.ts"),
  ]);
  const caller = await asCaller(region);
  try {
    const { resources, config } = await deployedPlatform(caller, key, backUp.name, informedStep);
    const deployed = deployedConfig(config, configDefaults());
    const schedule = deployed.schedules[backUp.name as "back-up"] ?? backUp.schedule;
    return awsEnvironment({
      resources,
      config: deployed,
      backupEverySeconds: schedule === "off" ? undefined : longestPeriodSeconds(schedule),
      metrics: { put: async () => {} },
    });
  } finally {
    caller.close();
  }
}
