import {
  AddTagsToResourceCommand,
  CopyDBClusterSnapshotCommand,
  CreateDBClusterSnapshotCommand,
  type DBClusterSnapshot,
  DeleteDBClusterSnapshotCommand,
  DescribeDBClusterSnapshotsCommand,
  paginateDescribeDBClusterSnapshots,
  type RDSClient,
  RemoveTagsFromResourceCommand,
} from "@aws-sdk/client-rds";
import { calling, isNamed } from "./errors.ts";
import type { Snapshot, Snapshots } from "./snapshots.ts";
import { tagList, tagsOf } from "./tags.ts";

/** Snapshots of one Aurora or Multi-AZ DB cluster. */
export function clusterSnapshots(client: RDSClient, region: string, source: string): Snapshots {
  return {
    region,
    find: (id) =>
      calling(`look at the snapshot ${id} in ${region}`, async () => {
        try {
          const { DBClusterSnapshots = [] } = await client.send(
            new DescribeDBClusterSnapshotsCommand({ DBClusterSnapshotIdentifier: id }),
          );
          return DBClusterSnapshots.map(described)[0];
        } catch (error) {
          if (isNamed(error, "DBClusterSnapshotNotFound")) return undefined;
          throw error;
        }
      }),
    list: () =>
      calling(`list the snapshots of ${source}`, async () => {
        const found: Snapshot[] = [];
        const pages = paginateDescribeDBClusterSnapshots(
          { client, pageSize: 100 },
          { DBClusterIdentifier: source },
        );
        for await (const page of pages) found.push(...(page.DBClusterSnapshots ?? []).map(described));
        return found;
      }),
    create: (id, tags) =>
      calling(`take the snapshot ${id} of ${source}`, async () => {
        try {
          const { DBClusterSnapshot } = await client.send(
            new CreateDBClusterSnapshotCommand({
              DBClusterSnapshotIdentifier: id,
              DBClusterIdentifier: source,
              Tags: tagList(tags),
            }),
          );
          return DBClusterSnapshot === undefined ? undefined : described(DBClusterSnapshot);
        } catch (error) {
          if (isNamed(error, "DBClusterSnapshotAlreadyExists")) return undefined;
          throw error;
        }
      }),
    copy: ({ snapshot, region: from, kmsKeyId }, tags) =>
      calling(`copy the snapshot ${snapshot.id} from ${from} to ${region}`, async () => {
        try {
          await client.send(
            new CopyDBClusterSnapshotCommand({
              SourceDBClusterSnapshotIdentifier: snapshot.arn,
              TargetDBClusterSnapshotIdentifier: snapshot.id,
              KmsKeyId: kmsKeyId,
              Tags: tagList(tags),
            }),
          );
        } catch (error) {
          if (!isNamed(error, "DBClusterSnapshotAlreadyExists")) throw error;
        }
      }),
    remove: (id) =>
      calling(`delete the snapshot ${id} in ${region}`, async () => {
        try {
          await client.send(new DeleteDBClusterSnapshotCommand({ DBClusterSnapshotIdentifier: id }));
        } catch (error) {
          if (!isNamed(error, "DBClusterSnapshotNotFound")) throw error;
        }
      }),
    tag: (snapshot, tags) =>
      calling(`tag the snapshot ${snapshot.id}`, async () => {
        await client.send(new AddTagsToResourceCommand({ ResourceName: snapshot.arn, Tags: tagList(tags) }));
      }),
    untag: (snapshot, keys) =>
      calling(`untag the snapshot ${snapshot.id}`, async () => {
        await client.send(new RemoveTagsFromResourceCommand({ ResourceName: snapshot.arn, TagKeys: keys }));
      }),
  };
}

function described(snapshot: DBClusterSnapshot): Snapshot {
  const takenAt = snapshot.SnapshotCreateTime;
  return {
    id: snapshot.DBClusterSnapshotIdentifier ?? "",
    arn: snapshot.DBClusterSnapshotArn ?? "",
    source: snapshot.DBClusterIdentifier ?? "",
    type: snapshot.SnapshotType ?? "",
    status: snapshot.Status ?? "",
    encrypted: snapshot.StorageEncrypted === true,
    tags: tagsOf(snapshot.TagList),
    ...(takenAt === undefined ? {} : { takenAt }),
    ...(snapshot.AllocatedStorage === undefined ? {} : { allocatedGibibytes: snapshot.AllocatedStorage }),
    ...(snapshot.EngineVersion === undefined ? {} : { engineVersion: snapshot.EngineVersion }),
  };
}
