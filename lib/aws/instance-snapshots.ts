import {
  CopyDBSnapshotCommand,
  CreateDBSnapshotCommand,
  type DBSnapshot,
  DeleteDBSnapshotCommand,
  DescribeDBSnapshotsCommand,
  paginateDescribeDBSnapshots,
  type RDSClient,
} from "@aws-sdk/client-rds";
import { type SnapshotCalls, snapshotsBy } from "./snapshot-calls.ts";
import type { Snapshots } from "./snapshots.ts";

/** Snapshots of one RDS instance. */
export function instanceSnapshots(client: RDSClient, region: string, source: string): Snapshots {
  return snapshotsBy(client, region, source, callsFor(client, source));
}

function callsFor(client: RDSClient, source: string): SnapshotCalls<DBSnapshot> {
  return {
    kind: "DBSnapshot",
    async find(id) {
      const found = await client.send(new DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: id }));
      return found.DBSnapshots?.[0];
    },
    async *list() {
      const pages = paginateDescribeDBSnapshots({ client, pageSize: 100 }, { DBInstanceIdentifier: source });
      for await (const { DBSnapshots = [] } of pages) yield DBSnapshots;
    },
    async create(id, tags) {
      const made = await client.send(
        new CreateDBSnapshotCommand({ DBSnapshotIdentifier: id, DBInstanceIdentifier: source, Tags: tags }),
      );
      return made.DBSnapshot;
    },
    copy: ({ arn, id, kmsKeyId }, tags) =>
      client.send(
        new CopyDBSnapshotCommand({
          SourceDBSnapshotIdentifier: arn,
          TargetDBSnapshotIdentifier: id,
          KmsKeyId: kmsKeyId,
          Tags: tags,
        }),
      ),
    remove: (id) => client.send(new DeleteDBSnapshotCommand({ DBSnapshotIdentifier: id })),
    described(snapshot) {
      // A copy is younger than what it is a copy of.
      const takenAt = snapshot.OriginalSnapshotCreateTime ?? snapshot.SnapshotCreateTime;
      return {
        id: snapshot.DBSnapshotIdentifier ?? "",
        arn: snapshot.DBSnapshotArn ?? "",
        source: snapshot.DBInstanceIdentifier ?? "",
        encrypted: snapshot.Encrypted === true,
        ...(takenAt === undefined ? {} : { takenAt }),
      };
    },
  };
}
