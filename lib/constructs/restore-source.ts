import { Validations } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { CfnDBCluster, CfnDBClusterProps, CfnDBInstance, CfnDBInstanceProps } from "aws-cdk-lib/aws-rds";
import type { DatabaseConfig } from "../config/schema.ts";

/** Name of the master user. Neither jobs nor applications use it: it sets roles up. */
export const masterUserName = "pgkeep_master";

/** Whether the database was made from a snapshot or from a moment of another. */
export function isRestored({ database: { restoreFrom } }: DatabaseConfig): boolean {
  return restoreFrom.snapshotId !== undefined || restoreFrom.resourceId !== undefined;
}

/**
 * What only a database without a past is told: a restored one has its encryption and its master user from the
 * source, and CloudFormation would replace it if it were told later. Its password is set anew.
 */
export function freshProps(config: DatabaseConfig, { key }: { key: IKey }) {
  const fresh = { storageEncrypted: true, kmsKeyId: key.keyArn, masterUsername: masterUserName };
  if (!isRestored(config)) return fresh;
  // An instance keeps the key of its source; a cluster may be given another.
  return config.database.topology === "instance" ? {} : { kmsKeyId: fresh.kmsKeyId };
}

/**
 * Where an instance comes from. A moment is named by the source's resource id and never by its identifier:
 * CloudFormation takes an instance with a SourceDBInstanceIdentifier for a replica, and deletes that without a
 * final snapshot.
 */
export function instanceOrigin({ database: { restoreFrom } }: DatabaseConfig): Partial<CfnDBInstanceProps> {
  const { snapshotId, resourceId, time } = restoreFrom;
  if (snapshotId !== undefined) return { dbSnapshotIdentifier: snapshotId };
  if (resourceId === undefined) return {};
  return {
    sourceDbiResourceId: resourceId,
    ...(time === undefined ? { useLatestRestorableTime: true } : { restoreTime: time }),
  };
}

/** Where a cluster comes from, Aurora or Multi-AZ. */
export function clusterOrigin({ database: { restoreFrom } }: DatabaseConfig): Partial<CfnDBClusterProps> {
  const { snapshotId, resourceId, time } = restoreFrom;
  if (snapshotId !== undefined) return { snapshotIdentifier: snapshotId };
  if (resourceId === undefined) return {};
  return {
    sourceDbClusterResourceId: resourceId,
    ...(time === undefined ? { useLatestRestorableTime: true } : { restoreToTime: time }),
  };
}

/** Says why a restored database does not say itself that it is encrypted. */
export function explainOrigin(resource: CfnDBInstance | CfnDBCluster, config: DatabaseConfig): void {
  if (!isRestored(config)) return;
  Validations.of(resource).acknowledge(
    {
      id: "AwsSolutions-RDS2",
      reason: "A restored database has the encryption of its source, and is not told again",
    },
    ...(config.database.topology === "instance"
      ? []
      : [
          {
            id: "CloudFormation-Validate::F3021",
            reason: "A restored cluster has the master user of its source; only the password is set anew",
          },
        ]),
  );
}
