import { configDefaults } from "../config/beyond-defaults.ts";
import { deployedConfig } from "../config/deployed.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { UsageError } from "../errors.ts";
import { checkHealth } from "../jobs/check-health.ts";
import type { DeployedRuns } from "../ports/deployed-runs.ts";
import type { GlobalOptions } from "./cli.ts";

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
  { key }: Pick<DatabaseConfig, "key">,
  work: (runs: DeployedRuns) => Promise<T>,
): Promise<T> {
  requireAlone(options);
  const [{ asCaller }, { deployedRuns }] = await Promise.all([
    import("../aws/caller.ts"),
    import("../aws/deployed-runs.ts"),
  ]);
  const caller = await asCaller();
  try {
    return await work(deployedRuns(caller, key));
  } finally {
    caller.close();
  }
}

/**
 * What is deployed of a database, as far as it can be worked with from outside of its network: everything but SQL.
 * Configuration and resources are those of the deployment; of the file only the key of the database counts.
 */
export async function openDeployed(
  options: GlobalOptions,
  { key }: Pick<DatabaseConfig, "key">,
): Promise<Environment> {
  requireAlone(options);
  const [{ asCaller, deployedPlatform }, { awsEnvironment }] = await Promise.all([
    import("../aws/caller.ts"),
    import("../aws/environment.ts"),
  ]);
  const caller = await asCaller();
  try {
    // Each function is told the same; every database has this one.
    const { resources, config } = await deployedPlatform(caller, key, checkHealth.name);
    return awsEnvironment({
      resources,
      config: deployedConfig(config, configDefaults()),
      metrics: { put: async () => {} },
    });
  } finally {
    caller.close();
  }
}
