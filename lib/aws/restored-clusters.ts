import {
  CreateDBInstanceCommand,
  type DBCluster,
  DeleteDBClusterCommand,
  DescribeDBClustersCommand,
  DescribeDBInstancesCommand,
  paginateDescribeDBClusters,
  type RDSClient,
  RestoreDBClusterFromSnapshotCommand,
  RestoreDBClusterToPointInTimeCommand,
} from "@aws-sdk/client-rds";
import { calling, isNamed } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";
import type { RestoredDatabase, RestoredDatabases } from "./restore.ts";
import { dbClass, removeInstance } from "./restored-instances.ts";
import { tagList, tagsOf } from "./tags.ts";

/** Capacity of a restored serverless cluster, in Aurora capacity units: enough to read everything once. */
const serverlessCapacity = { MinCapacity: 0.5, MaxCapacity: 16 };

/**
 * Restores of a cluster. A Multi-AZ DB cluster comes with its instances; an Aurora cluster is storage only, and
 * gets one instance, `<id>-1`, as soon as it is asked about again.
 */
export function restoredClusters(client: RDSClient, resources: PlatformResources): RestoredDatabases {
  const aurora = resources.topology === "aurora";
  const instanceClass = dbClass(resources.restore.instanceClass);
  const engine = aurora ? "aurora-postgresql" : "postgres";
  const settings = (tags: Record<string, string>) => ({
    DBSubnetGroupName: resources.restore.subnetGroupName,
    VpcSecurityGroupIds: resources.restore.securityGroupIds,
    DBClusterParameterGroupName: resources.restore.parameterGroupName,
    EnableIAMDatabaseAuthentication: true,
    DeletionProtection: false,
    CopyTagsToSnapshot: false,
    Tags: tagList(tags),
    ...(aurora ? {} : { DBClusterInstanceClass: instanceClass, PubliclyAccessible: false }),
    ...(aurora && instanceClass === "db.serverless"
      ? { ServerlessV2ScalingConfiguration: serverlessCapacity }
      : {}),
  });
  const instanceOf = (id: string) => `${id}-1`;
  const instanceStatus = async (id: string): Promise<string | undefined> => {
    try {
      const { DBInstances = [] } = await client.send(
        new DescribeDBInstancesCommand({ DBInstanceIdentifier: instanceOf(id) }),
      );
      return DBInstances[0]?.DBInstanceStatus;
    } catch (error) {
      if (isNamed(error, "DBInstanceNotFound")) return undefined;
      throw error;
    }
  };
  return {
    find: (id) =>
      calling(`look at the cluster ${id}`, async () => {
        try {
          const { DBClusters = [] } = await client.send(
            new DescribeDBClustersCommand({ DBClusterIdentifier: id }),
          );
          const cluster = DBClusters.map(described)[0];
          if (cluster === undefined || !aurora || cluster.status !== "available") return cluster;
          // Available storage answers nobody: the instance decides.
          return { ...cluster, status: (await instanceStatus(id)) ?? "without an instance" };
        } catch (error) {
          if (isNamed(error, "DBClusterNotFound")) return undefined;
          throw error;
        }
      }),
    list: () =>
      calling("list the clusters", async () => {
        const found: RestoredDatabase[] = [];
        for await (const page of paginateDescribeDBClusters({ client, pageSize: 100 }, {})) {
          found.push(...(page.DBClusters ?? []).map(described));
        }
        return found;
      }),
    fromSnapshot: (id, snapshot, tags) =>
      calling(`restore ${snapshot.id} as ${id}`, async () => {
        await client.send(
          new RestoreDBClusterFromSnapshotCommand({
            DBClusterIdentifier: id,
            SnapshotIdentifier: snapshot.id,
            Engine: engine,
            ...settings(tags),
          }),
        );
      }),
    toTime: (id, time, tags) =>
      calling(`restore ${resources.primary.identifier} as ${id}`, async () => {
        await client.send(
          new RestoreDBClusterToPointInTimeCommand({
            SourceDBClusterIdentifier: resources.primary.identifier,
            DBClusterIdentifier: id,
            ...(time === undefined ? { UseLatestRestorableTime: true } : { RestoreToTime: time }),
            ...settings(tags),
          }),
        );
      }),
    ...(aurora
      ? {
          advance: async ({ id, status }: RestoredDatabase, tags: Record<string, string>) => {
            if (status !== "without an instance") return;
            await calling(`make the instance of ${id}`, async () => {
              try {
                await client.send(
                  new CreateDBInstanceCommand({
                    DBInstanceIdentifier: instanceOf(id),
                    DBClusterIdentifier: id,
                    DBInstanceClass: instanceClass,
                    Engine: engine,
                    PubliclyAccessible: false,
                    AutoMinorVersionUpgrade: false,
                    Tags: tagList(tags),
                  }),
                );
              } catch (error) {
                if (!isNamed(error, "DBInstanceAlreadyExists")) throw error;
              }
            });
          },
        }
      : {}),
    async remove({ id }) {
      // The instances of a Multi-AZ DB cluster go with it; Aurora deletes a cluster once its own are going.
      if (aurora) await removeInstance(client, instanceOf(id), false);
      await calling(`delete the cluster ${id}`, async () => {
        try {
          await client.send(
            new DeleteDBClusterCommand({
              DBClusterIdentifier: id,
              SkipFinalSnapshot: true,
              DeleteAutomatedBackups: true,
            }),
          );
        } catch (error) {
          if (!isNamed(error, "DBClusterNotFound")) throw error;
        }
      });
    },
  };
}

function described(cluster: DBCluster): RestoredDatabase {
  const endpoint = cluster.Endpoint;
  return {
    id: cluster.DBClusterIdentifier ?? "",
    status: cluster.Status ?? "",
    tags: tagsOf(cluster.TagList),
    ...(endpoint === undefined ? {} : { endpoint: { host: endpoint, port: cluster.Port ?? 5432 } }),
  };
}
