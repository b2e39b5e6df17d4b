import {
  AddTagsToResourceCommand,
  CopyDBSnapshotCommand,
  CreateDBSnapshotCommand,
  type DBSnapshot,
  DeleteDBSnapshotCommand,
  DescribeDBSnapshotsCommand,
  paginateDescribeDBSnapshots,
  type RDSClient,
  RemoveTagsFromResourceCommand,
} from "@aws-sdk/client-rds";
import { calling, isNamed } from "./errors.ts";
import type { Snapshot, Snapshots } from "./snapshots.ts";
import { tagList, tagsOf } from "./tags.ts";

/** Snapshots of one RDS instance. */
export function instanceSnapshots(client: RDSClient, region: string, source: string): Snapshots {
  return {
    region,
    find: (id) =>
      calling(`look at the snapshot ${id} in ${region}`, async () => {
        try {
          const { DBSnapshots = [] } = await client.send(
            new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: id }),
          );
          return DBSnapshots.map(described)[0];
        } catch (error) {
          if (isNamed(error, "DBSnapshotNotFound")) return undefined;
          throw error;
        }
      }),
    list: () =>
      calling(`list the snapshots of ${source}`, async () => {
        const found: Snapshot[] = [];
        const pages = paginateDescribeDBSnapshots(
          { client, pageSize: 100 },
          { DBInstanceIdentifier: source },
        );
        for await (const page of pages) found.push(...(page.DBSnapshots ?? []).map(described));
        return found;
      }),
    create: (id, tags) =>
      calling(`take the snapshot ${id} of ${source}`, async () => {
        try {
          const { DBSnapshot } = await client.send(
            new CreateDBSnapshotCommand({
              DBSnapshotIdentifier: id,
              DBInstanceIdentifier: source,
              Tags: tagList(tags),
            }),
          );
          return DBSnapshot === undefined ? undefined : described(DBSnapshot);
        } catch (error) {
          if (isNamed(error, "DBSnapshotAlreadyExists")) return undefined;
          throw error;
        }
      }),
    copy: ({ snapshot, region: from, kmsKeyId }, tags) =>
      calling(`copy the snapshot ${snapshot.id} from ${from} to ${region}`, async () => {
        try {
          await client.send(
            new CopyDBSnapshotCommand({
              SourceDBSnapshotIdentifier: snapshot.arn,
              TargetDBSnapshotIdentifier: snapshot.id,
              KmsKeyId: kmsKeyId,
              Tags: tagList(tags),
            }),
          );
        } catch (error) {
          if (!isNamed(error, "DBSnapshotAlreadyExists")) throw error;
        }
      }),
    remove: (id) =>
      calling(`delete the snapshot ${id} in ${region}`, async () => {
        try {
          await client.send(new DeleteDBSnapshotCommand({ DBSnapshotIdentifier: id }));
        } catch (error) {
          if (!isNamed(error, "DBSnapshotNotFound")) throw error;
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

function described(snapshot: DBSnapshot): Snapshot {
  const takenAt = snapshot.OriginalSnapshotCreateTime ?? snapshot.SnapshotCreateTime;
  return {
    id: snapshot.DBSnapshotIdentifier ?? "",
    arn: snapshot.DBSnapshotArn ?? "",
    source: snapshot.DBInstanceIdentifier ?? "",
    type: snapshot.SnapshotType ?? "",
    status: snapshot.Status ?? "",
    encrypted: snapshot.Encrypted === true,
    tags: tagsOf(snapshot.TagList),
    ...(takenAt === undefined ? {} : { takenAt }),
    ...(snapshot.AllocatedStorage === undefined ? {} : { allocatedGibibytes: snapshot.AllocatedStorage }),
    ...(snapshot.EngineVersion === undefined ? {} : { engineVersion: snapshot.EngineVersion }),
  };
}
