import { RemovalPolicy } from "aws-cdk-lib";
import * as scaling from "aws-cdk-lib/aws-applicationautoscaling";
import * as rds from "aws-cdk-lib/aws-rds";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { databasePort, identifiersOf } from "./identifiers.ts";
import { clusterOrigin, explainOrigin } from "./restore-source.ts";
import {
  clusterInsightsProps,
  clusterProps,
  dataProps,
  exportedAuroraLogs,
  instanceProps,
  keepData,
  makeLogGroups,
  parameterGroupProps,
  type Surroundings,
} from "./server-options.ts";
import type { Servers } from "./servers.ts";

/** Average CPU use of the readers that autoscaling aims for. */
const readerCpuPercent = 60;

/**
 * Aurora PostgreSQL, provisioned or serverless v2. Any instance may become the writer, so the writer and the
 * readers are known by the cluster's endpoints, and their metrics by role.
 */
export function makeAurora(scope: Construct, config: DatabaseConfig, around: Surroundings): Servers {
  const { database, replicas } = config;
  const identifier = identifiersOf(config).database;
  const parameters = new rds.CfnDBClusterParameterGroup(scope, "Parameters", parameterGroupProps(config));
  const cluster = new rds.CfnDBCluster(scope, "Cluster", {
    ...clusterProps(config, around),
    ...dataProps(config, around),
    ...clusterOrigin(config),
    ...clusterInsightsProps(config, around),
    engine: "aurora-postgresql",
    storageType: "aurora",
    dbClusterParameterGroupName: parameters.ref,
    enableCloudwatchLogsExports: [...exportedAuroraLogs],
    ...(database.instanceClass === "serverless"
      ? {
          serverlessV2ScalingConfiguration: {
            minCapacity: database.serverless.minCapacityUnits,
            maxCapacity: database.serverless.maxCapacityUnits,
          },
        }
      : {}),
  });
  keepData(cluster);
  explainOrigin(cluster, config);
  cluster.node.addDependency(...makeLogGroups(scope, around.key, "cluster", identifier, exportedAuroraLogs));
  const members = makeMembers(scope, config, around, cluster);
  if (replicas.maxCount !== undefined) scaleReaders(scope, config, members, replicas.maxCount);
  const readers = replicas.count > 0;
  return {
    primary: { name: "primary", host: cluster.attrEndpointAddress, port: databasePort, identifier },
    replicas: readers
      ? [{ name: "readers", host: cluster.attrReadEndpointAddress, port: databasePort, identifier }]
      : [],
    resourceIds: [cluster.attrDbClusterResourceId],
    parameterGroupName: parameters.ref,
    metricDimensions: {
      primary: { DBClusterIdentifier: identifier, Role: "WRITER" },
      replicas: readers
        ? [{ name: "readers", dimensions: { DBClusterIdentifier: identifier, Role: "READER" } }]
        : [],
      cluster: { DBClusterIdentifier: identifier },
    },
    data: { kind: "cluster", resource: cluster },
  };
}

/** The first is the writer when the cluster is made. All may be promoted: a reader of the same class, at once. */
function makeMembers(
  scope: Construct,
  config: DatabaseConfig,
  around: Surroundings,
  cluster: rds.CfnDBCluster,
): rds.CfnDBInstance[] {
  const members = Array.from({ length: 1 + config.replicas.count }, (_, index) => {
    const member = new rds.CfnDBInstance(scope, `Instance${index + 1}`, {
      ...instanceProps(config, around),
      engine: "aurora-postgresql",
      dbInstanceIdentifier: identifiersOf(config).member(index + 1),
      dbClusterIdentifier: cluster.ref,
      dbSubnetGroupName: around.subnetGroup.ref,
      promotionTier: index === 0 ? 0 : 1,
    });
    // The data is the cluster's, and so is its final snapshot.
    member.applyRemovalPolicy(RemovalPolicy.DESTROY);
    return member;
  });
  for (const [index, member] of members.entries()) {
    // Made at the same time, any of them might become the writer.
    const first = members[0];
    if (index > 0 && first !== undefined) member.node.addDependency(first);
  }
  return members;
}

function scaleReaders(
  scope: Construct,
  config: DatabaseConfig,
  members: rds.CfnDBInstance[],
  most: number,
): void {
  const target = new scaling.ScalableTarget(scope, "Readers", {
    serviceNamespace: scaling.ServiceNamespace.RDS,
    scalableDimension: "rds:cluster:ReadReplicaCount",
    resourceId: `cluster:${identifiersOf(config).database}`,
    minCapacity: config.replicas.count,
    maxCapacity: most,
  });
  target.scaleToTrackMetric("ReaderCpu", {
    predefinedMetric: scaling.PredefinedMetric.RDS_READER_AVERAGE_CPU_UTILIZATION,
    targetValue: readerCpuPercent,
  });
  target.node.addDependency(...members);
}
