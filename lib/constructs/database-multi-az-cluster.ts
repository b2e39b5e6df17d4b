import { Validations } from "aws-cdk-lib";
import * as rds from "aws-cdk-lib/aws-rds";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { databasePort, identifiersOf } from "./identifiers.ts";
import { clusterOrigin, explainOrigin } from "./restore-source.ts";
import {
  clusterMonitoringProps,
  clusterProps,
  dataProps,
  exportedLogs,
  keepData,
  makeLogGroups,
  parameterGroupProps,
  type Surroundings,
} from "./server-options.ts";
import type { Servers } from "./servers.ts";

/** From this size RDS stripes gp3 over four volumes, and its baseline is four times as high (Amazon RDS User Guide, gp3). */
const stripedGigabytes = 400;

/**
 * An RDS Multi-AZ DB cluster: a writer and two readable standbys. Roles move between the three, so reads go to the
 * cluster's reader endpoint; metrics come from each instance, under the names that RDS gives them.
 */
export function makeMultiAzCluster(scope: Construct, config: DatabaseConfig, around: Surroundings): Servers {
  const names = identifiersOf(config);
  const identifier = names.database;
  const parameters = new rds.CfnDBClusterParameterGroup(scope, "Parameters", parameterGroupProps(config));
  const cluster = new rds.CfnDBCluster(scope, "Cluster", {
    ...clusterProps(config, around),
    ...dataProps(config, around),
    ...clusterOrigin(config),
    ...clusterMonitoringProps(config, around),
    engine: "postgres",
    dbClusterInstanceClass: `db.${config.database.instanceClass}`,
    // Multi-AZ clusters have no storage autoscaling.
    allocatedStorage: config.database.storageGigabytes,
    storageType: "gp3",
    iops: config.database.storageGigabytes < stripedGigabytes ? 3_000 : 12_000,
    publiclyAccessible: false,
    dbClusterParameterGroupName: parameters.ref,
    enableCloudwatchLogsExports: [...exportedLogs],
  });
  keepData(cluster);
  explainOrigin(cluster, config);
  Validations.of(cluster).acknowledge({
    id: "CloudFormation-Validate::E9006",
    reason:
      "The validator lists minor versions only; the major version alone lets minors follow, as for an instance",
  });
  cluster.node.addDependency(...makeLogGroups(scope, around.key, "cluster", identifier, exportedLogs));
  return {
    primary: { name: "primary", host: cluster.attrEndpointAddress, port: databasePort, identifier },
    replicas: [{ name: "readers", host: cluster.attrReadEndpointAddress, port: databasePort, identifier }],
    resourceIds: [cluster.attrDbClusterResourceId],
    parameterGroupName: parameters.ref,
    metricDimensions: {
      primary: { DBInstanceIdentifier: names.member(1) },
      replicas: [2, 3].map((number) => ({
        name: `instance-${number}`,
        dimensions: { DBInstanceIdentifier: names.member(number) },
      })),
      cluster: { DBClusterIdentifier: identifier },
    },
    data: { kind: "cluster", resource: cluster },
  };
}
