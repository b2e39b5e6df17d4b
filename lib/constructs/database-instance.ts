import { RemovalPolicy, Stack } from "aws-cdk-lib";
import * as rds from "aws-cdk-lib/aws-rds";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { databasePort, identifiersOf } from "./identifiers.ts";
import { explainOrigin, instanceOrigin, isRestored } from "./restore-source.ts";
import {
  dataProps,
  exportedLogs,
  insightsMode,
  instanceProps,
  keepData,
  makeLogGroups,
  parameterGroupProps,
  type Surroundings,
} from "./server-options.ts";
import type { Servers } from "./servers.ts";

/** An RDS instance with a standby in another zone, and read replicas, each with an endpoint of its own. */
export function makeInstance(scope: Construct, config: DatabaseConfig, around: Surroundings): Servers {
  const { database } = config;
  const identifier = identifiersOf(config).database;
  const parameters = new rds.CfnDBParameterGroup(scope, "Parameters", parameterGroupProps(config));
  const shared = {
    ...instanceProps(config, around),
    ...insightsMode(config),
    // Of Aurora's instances this is the cluster's to say.
    copyTagsToSnapshot: true,
    dbParameterGroupName: parameters.ref,
    vpcSecurityGroups: [around.databaseGroup.securityGroupId],
    enableIamDatabaseAuthentication: true,
    enableCloudwatchLogsExports: [...exportedLogs],
    port: String(databasePort),
    storageType: "gp3",
    ...(database.maxStorageGigabytes > database.storageGigabytes
      ? { maxAllocatedStorage: database.maxStorageGigabytes }
      : {}),
  };
  const primary = new rds.CfnDBInstance(scope, "Primary", {
    ...shared,
    ...dataProps(config, around),
    ...instanceOrigin(config),
    ...backupReplication(scope, config),
    engine: "postgres",
    dbInstanceIdentifier: identifier,
    ...(isRestored(config) ? {} : { dbName: database.name }),
    allocatedStorage: String(database.storageGigabytes),
    multiAz: true,
    dbSubnetGroupName: around.subnetGroup.ref,
  });
  keepData(primary);
  explainOrigin(primary, config);
  logsBefore(scope, around, primary, identifier);
  const replicas = Array.from({ length: config.replicas.count }, (_, index) =>
    makeReplica(scope, config, around, { number: index + 1, primary, shared }),
  );
  return {
    primary: serverOf("primary", identifier, primary),
    replicas: replicas.map(({ name, identifier: own, resource }) => serverOf(name, own, resource)),
    resourceIds: [primary, ...replicas.map(({ resource }) => resource)].map(
      ({ attrDbiResourceId }) => attrDbiResourceId,
    ),
    parameterGroupName: parameters.ref,
    metricDimensions: {
      primary: { DBInstanceIdentifier: identifier },
      replicas: replicas.map(({ name, identifier: own }) => ({
        name,
        dimensions: { DBInstanceIdentifier: own },
      })),
    },
    data: { kind: "instance", resource: primary },
  };
}

/** AWS's own backups in another region too, under the key that stands there. */
function backupReplication(scope: Construct, config: DatabaseConfig): Partial<rds.CfnDBInstanceProps> {
  const { replicateToRegion: region, replicatedDays, replicationKeyArn, ...backups } = config.backups;
  if (region === undefined) return {};
  return {
    automaticBackupReplicationRegion: region,
    automaticBackupReplicationRetentionPeriod: replicatedDays ?? backups.pointInTimeRecoveryDays,
    automaticBackupReplicationKmsKeyId:
      replicationKeyArn ??
      Stack.of(scope).formatArn({
        service: "kms",
        region,
        resource: "alias",
        resourceName: identifiersOf(config).replicatedBackups,
      }),
  };
}

interface ReplicaPlan {
  number: number;
  primary: rds.CfnDBInstance;
  shared: Partial<rds.CfnDBInstanceProps>;
}

function makeReplica(
  scope: Construct,
  config: DatabaseConfig,
  around: Surroundings,
  { number, primary, shared }: ReplicaPlan,
) {
  const identifier = identifiersOf(config).replica(number);
  // Engine, subnets and encryption with the same key are those of the source, and may not be given again.
  const resource = new rds.CfnDBInstance(scope, `Replica${number}`, {
    ...shared,
    dbInstanceIdentifier: identifier,
    sourceDbInstanceIdentifier: primary.ref,
    deletionProtection: config.database.deletionProtection,
  });
  // A replica holds nothing of its own, and RDS takes no final snapshot of one.
  resource.applyRemovalPolicy(RemovalPolicy.DESTROY);
  logsBefore(scope, around, resource, identifier);
  return { name: `replica-${number}`, identifier, resource };
}

function logsBefore(
  scope: Construct,
  around: Surroundings,
  resource: rds.CfnDBInstance,
  identifier: string,
): void {
  resource.node.addDependency(...makeLogGroups(scope, around.key, "instance", identifier, exportedLogs));
}

function serverOf(name: string, identifier: string, resource: rds.CfnDBInstance) {
  return { name, host: resource.attrEndpointAddress, port: databasePort, identifier };
}
