import type { Stack } from "aws-cdk-lib";
import type { Construct } from "constructs";
import type { Config } from "../config/schema.ts";
import type { DatabaseStack } from "./database.ts";
import { RecoveryObservabilityStack, RecoveryStack } from "./recovery.ts";
import { ReplicatedBackupsStack } from "./replicated-backups.ts";

/** What of one database stands in other regions. Nothing refers across regions: names that are fixed do. */
export function addStacksElsewhere(scope: Construct, all: Config, data: DatabaseStack): Stack[] {
  return [...addReplicatedBackups(scope, data), ...addRecovery(scope, all, data)];
}

function addReplicatedBackups(scope: Construct, data: DatabaseStack): Stack[] {
  const { config } = data.platform;
  const { replicateToRegion: region, replicationKeyArn } = config.backups;
  if (region === undefined || replicationKeyArn !== undefined) return [];
  const backups = new ReplicatedBackupsStack(scope, `pgkeep-${config.key}-replicated-backups`, {
    env: { region },
    config,
    description: `pgkeep: the key of the backups of ${config.key} in another region`,
  });
  data.addDependency(backups, "its backups are encrypted there with the key");
  return [backups];
}

function addRecovery(scope: Construct, all: Config, data: DatabaseStack): Stack[] {
  const { config } = data.platform;
  const { region, promoted } = config.replicas.disasterRecovery;
  const sourceRegion = all.account.region;
  if (region === undefined || sourceRegion === undefined) return [];
  const name = `pgkeep-${config.key}-recovery`;
  const recovery = new RecoveryStack(scope, name, {
    env: { region },
    config,
    sourceRegion,
    availabilityZones: all.network.availabilityZones,
    description: `pgkeep: the replica of ${config.key} for disaster recovery`,
  });
  // On the day that it is promoted, what it was a replica of cannot be deployed.
  if (promoted) return [recovery];
  recovery.addDependency(data, "it is a replica of the database there");
  if (!config.alarms.enabled) return [recovery];
  const observability = new RecoveryObservabilityStack(scope, `${name}-observability`, {
    env: { region },
    config,
    notifications: all.notifications,
    replica: recovery.replica.measured,
    description: `pgkeep: alarms on the replica of ${config.key} for disaster recovery`,
  });
  return [recovery, observability];
}
