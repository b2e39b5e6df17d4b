import { systemClock } from "../clock.ts";
import type { JobConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { PgkeepError } from "../errors.ts";
import type { Metrics } from "../ports/metrics.ts";
import { type AwsClients, awsClients } from "./clients.ts";
import { controlPlanePorts } from "./control-plane.ts";
import { awsDatabases, type DatabaseAccess } from "./databases.ts";
import type { PlatformResources } from "./resources.ts";

export interface AwsEnvironmentOptions {
  resources: PlatformResources;
  config: JobConfig;
  /** Where measurements go. */
  metrics: Metrics;
  /** The longest time between two scheduled backups; without it their age is not judged. */
  backupEverySeconds?: number | undefined;
  clients?: AwsClients;
  /** Without it there are no ports that speak SQL: from outside of the VPC no database can be reached. */
  databases?: DatabaseAccess;
}

/** A deployed database, for whoever may reach all of it: a person with credentials, or a test. */
export function awsEnvironment(options: AwsEnvironmentOptions): Environment {
  const { resources, config, metrics, databases } = options;
  const clients = options.clients ?? awsClients({ region: resources.region });
  return {
    description: `${resources.key} in ${resources.region} of account ${resources.account}`,
    config,
    ports: {
      ...(databases === undefined ? {} : awsDatabases(resources, databases)),
      ...controlPlanePorts(clients, resources, { scheduledEverySeconds: options.backupEverySeconds }),
      metrics,
      clock: systemClock,
    },
    connectAsMaster: async () => {
      throw new PgkeepError("refused", "on AWS nobody but the deployment logs in as the master user", {
        remedy: "run `cdk deploy`: it installs roles and schema",
      });
    },
    close: async () => {
      // Clients that were given belong to whoever made them.
      if (options.clients === undefined) clients.close();
    },
  };
}
