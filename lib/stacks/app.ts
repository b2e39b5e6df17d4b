import { App, type AppProps, type Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import type { Config } from "../config/schema.ts";
import type { DatabaseAccess } from "../constructs/access.ts";
import { functionCode } from "../constructs/bundle.ts";
import type { Network } from "../constructs/network.ts";
import type { AccessiblePlatform } from "../constructs/platform.ts";
import { AccessStack } from "./access.ts";
import { acknowledgeFindings } from "./acknowledged.ts";
import { CacheStack } from "./cache.ts";
import { DatabaseStack } from "./database.ts";
import { DumpsStack } from "./dumps.ts";
import { addStacksElsewhere } from "./elsewhere.ts";
import { FilesStack } from "./files.ts";
import { MaintenanceStack } from "./maintenance.ts";
import { NetworkStack } from "./network.ts";
import { ObservabilityStack } from "./observability.ts";

/**
 * Puts the stacks of a whole configuration into an app or stage: one network, and for each database stacks that
 * live and change apart. References go from the network to the database and from there to the others.
 * @throws UsageError (`configuration`) for what AWS would refuse
 */
export function addStacks(scope: Construct, config: Config): void {
  const home = homeOf(config);
  const { network } = new NetworkStack(scope, "pgkeep-network", {
    ...home,
    config,
    description: "pgkeep: the network that the databases share",
  });
  for (const database of config.databases) {
    const { key } = database;
    const data = new DatabaseStack(scope, `pgkeep-${key}-database`, {
      ...home,
      config: database,
      network,
      description: `pgkeep: the database ${key} and its data`,
    });
    const { platform } = data;
    const access = new AccessStack(scope, `pgkeep-${key}-access`, {
      ...home,
      platform,
      code: { bootstrap: functionCode("bootstrap"), rotate: functionCode("rotate") },
      description: `pgkeep: logins, roles and proxy of the database ${key}`,
    });
    const maintenance = new MaintenanceStack(scope, `pgkeep-${key}-maintenance`, {
      ...home,
      platform,
      description: `pgkeep: the jobs of the database ${key}`,
    });
    const observability = new ObservabilityStack(scope, `pgkeep-${key}-observability`, {
      ...home,
      platform,
      config,
      explain: { platform },
      description: `pgkeep: alarms, dashboard and notifications of the database ${key}`,
    });
    // It reads logs by their names, so nothing else says that these come first.
    observability.addStackDependency(data);
    const optional = [
      ...optionalStacks(scope, { platform, network, access: access.access }, home),
      ...addStacksElsewhere(scope, config, data),
    ];
    for (const stack of [data, access, maintenance, observability, ...optional]) acknowledgeFindings(stack);
  }
}

/** Where the database's own stacks go. Synthesis asks nobody: without `account.region` they fit any region. */
function homeOf({ account: { region } }: Config): StackProps {
  return region === undefined ? {} : { env: { region } };
}

/** What stands beside a database only where it is asked for. */
function optionalStacks(
  scope: Construct,
  { platform, network, access }: { platform: AccessiblePlatform; network: Network; access: DatabaseAccess },
  home: StackProps,
): Stack[] {
  const { config } = platform;
  return [
    ...(config.files.enabled
      ? [
          new FilesStack(scope, `pgkeep-${config.key}-files`, {
            ...home,
            config,
            description: `pgkeep: the files that belong with the database ${config.key}`,
          }),
        ]
      : []),
    ...(config.logicalBackups.task.enabled
      ? [
          new DumpsStack(scope, `pgkeep-${config.key}-dumps`, {
            ...home,
            platform,
            network,
            secret: access.secrets.reporting,
            description: `pgkeep: scheduled logical backups of the database ${config.key}`,
          }),
        ]
      : []),
    ...(config.cache.enabled
      ? [
          new CacheStack(scope, `pgkeep-${config.key}-cache`, {
            ...home,
            platform,
            description: `pgkeep: the cache beside the database ${config.key}`,
          }),
        ]
      : []),
  ];
}

/** An app with the stacks of a configuration, not yet synthesized. */
export function buildApp(config: Config, props: AppProps = {}): App {
  const app = new App({ analyticsReporting: false, autoSynth: false, ...props });
  addStacks(app, config);
  return app;
}
