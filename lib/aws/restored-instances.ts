import {
  type DBInstance,
  DeleteDBInstanceCommand,
  DescribeDBInstancesCommand,
  paginateDescribeDBInstances,
  type RDSClient,
  RestoreDBInstanceFromDBSnapshotCommand,
  RestoreDBInstanceToPointInTimeCommand,
} from "@aws-sdk/client-rds";
import { calling, isNamed } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";
import type { RestoredDatabase, RestoredDatabases } from "./restore.ts";
import { tagList, tagsOf } from "./tags.ts";

/** Restores of an RDS instance: instances as private as the original, in one zone, deletable. */
export function restoredInstances(client: RDSClient, resources: PlatformResources): RestoredDatabases {
  const settings = (tags: Record<string, string>) => ({
    DBInstanceClass: dbClass(resources.restore.instanceClass),
    DBSubnetGroupName: resources.restore.subnetGroupName,
    VpcSecurityGroupIds: resources.restore.securityGroupIds,
    DBParameterGroupName: resources.restore.parameterGroupName,
    EnableIAMDatabaseAuthentication: true,
    PubliclyAccessible: false,
    MultiAZ: false,
    DeletionProtection: false,
    CopyTagsToSnapshot: false,
    AutoMinorVersionUpgrade: false,
    Tags: tagList(tags),
  });
  return {
    find: (id) =>
      calling(`look at the instance ${id}`, async () => {
        try {
          const { DBInstances = [] } = await client.send(
            new DescribeDBInstancesCommand({ DBInstanceIdentifier: id }),
          );
          return DBInstances.map(described)[0];
        } catch (error) {
          if (isNamed(error, "DBInstanceNotFound")) return undefined;
          throw error;
        }
      }),
    list: () =>
      calling("list the instances", async () => {
        const found: RestoredDatabase[] = [];
        for await (const page of paginateDescribeDBInstances({ client, pageSize: 100 }, {})) {
          found.push(...(page.DBInstances ?? []).map(described));
        }
        return found;
      }),
    fromSnapshot: (id, snapshot, tags) =>
      calling(`restore ${snapshot.id} as ${id}`, async () => {
        await client.send(
          new RestoreDBInstanceFromDBSnapshotCommand({
            DBInstanceIdentifier: id,
            DBSnapshotIdentifier: snapshot.id,
            ...settings(tags),
          }),
        );
      }),
    toTime: (id, time, tags) =>
      calling(`restore ${resources.primary.identifier} as ${id}`, async () => {
        await client.send(
          new RestoreDBInstanceToPointInTimeCommand({
            SourceDBInstanceIdentifier: resources.primary.identifier,
            TargetDBInstanceIdentifier: id,
            ...(time === undefined ? { UseLatestRestorableTime: true } : { RestoreTime: time }),
            ...settings(tags),
          }),
        );
      }),
    remove: ({ id }) => removeInstance(client, id),
  };
}

/** Deletes without a last snapshot, and with the automated backups that RDS began by itself. Fine when it is gone. */
export function removeInstance(client: RDSClient, id: string, automatedBackups = true): Promise<void> {
  return calling(`delete the instance ${id}`, async () => {
    try {
      await client.send(
        new DeleteDBInstanceCommand({
          DBInstanceIdentifier: id,
          SkipFinalSnapshot: true,
          ...(automatedBackups ? { DeleteAutomatedBackups: true } : {}),
        }),
      );
    } catch (error) {
      if (!isNamed(error, "DBInstanceNotFound")) throw error;
    }
  });
}

export function dbClass(instanceClass: string): string {
  return instanceClass.startsWith("db.") ? instanceClass : `db.${instanceClass}`;
}

function described(instance: DBInstance): RestoredDatabase {
  const { Address: host, Port: port } = instance.Endpoint ?? {};
  return {
    id: instance.DBInstanceIdentifier ?? "",
    status: instance.DBInstanceStatus ?? "",
    tags: tagsOf(instance.TagList),
    ...(host === undefined ? {} : { endpoint: { host, port: port ?? 5432 } }),
  };
}
