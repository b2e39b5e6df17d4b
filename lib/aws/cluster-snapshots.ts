import {
  CopyDBClusterSnapshotCommand,
  CreateDBClusterSnapshotCommand,
  type DBClusterSnapshot,
  DeleteDBClusterSnapshotCommand,
  DescribeDBClusterSnapshotsCommand,
  paginateDescribeDBClusterSnapshots,
  type RDSClient,
} from "@aws-sdk/client-rds";
import { type SnapshotCalls, snapshotsBy } from "./snapshot-calls.ts";
import type { Snapshots } from "./snapshots.ts";

/** Snapshots of one Aurora or Multi-AZ DB cluster. */
export function clusterSnapshots(client: RDSClient, region: string, source: string): Snapshots {
  return snapshotsBy(client, region, source, callsFor(client, source));
}

function callsFor(client: RDSClient, source: string): SnapshotCalls<DBClusterSnapshot> {
  return {
    kind: "DBClusterSnapshot",
    async find(id) {
      const found = await client.send(
        new DescribeDBClusterSnapshotsCommand({ DBClusterSnapshotIdentifier: id }),
      );
      return found.DBClusterSnapshots?.[0];
    },
    async *list() {
      const pages = paginateDescribeDBClusterSnapshots(
        { client, pageSize: 100 },
        { DBClusterIdentifier: source },
      );
      for await (const { DBClusterSnapshots = [] } of pages) yield DBClusterSnapshots;
    },
    async create(id, tags) {
      const made = await client.send(
        new CreateDBClusterSnapshotCommand({
          DBClusterSnapshotIdentifier: id,
          DBClusterIdentifier: source,
          Tags: tags,
        }),
      );
      return made.DBClusterSnapshot;
    },
    copy: ({ arn, id, kmsKeyId }, tags) =>
      client.send(
        new CopyDBClusterSnapshotCommand({
          SourceDBClusterSnapshotIdentifier: arn,
          TargetDBClusterSnapshotIdentifier: id,
          KmsKeyId: kmsKeyId,
          Tags: tags,
        }),
      ),
    remove: (id) => client.send(new DeleteDBClusterSnapshotCommand({ DBClusterSnapshotIdentifier: id })),
    described: (snapshot) => ({
      id: snapshot.DBClusterSnapshotIdentifier ?? "",
      arn: snapshot.DBClusterSnapshotArn ?? "",
      source: snapshot.DBClusterIdentifier ?? "",
      encrypted: snapshot.StorageEncrypted === true,
      ...(snapshot.SnapshotCreateTime === undefined ? {} : { takenAt: snapshot.SnapshotCreateTime }),
    }),
  };
}
