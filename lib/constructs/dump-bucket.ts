import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as kms from "aws-cdk-lib/aws-kms";
import * as s3 from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { abandonedUploadDays, foreignKeyDenials, logInto, privateBucket } from "./files-bucket.ts";
import { identifiersOf } from "./identifiers.ts";

/** What lib/aws/objects.ts does with objects, to take dumps and to prune them. */
export const dumpObjectActions = [
  "s3:GetObject",
  "s3:PutObject",
  "s3:DeleteObject",
  "s3:AbortMultipartUpload",
  // Without these a HEAD says nothing about the lock.
  "s3:GetObjectRetention",
  "s3:GetObjectLegalHold",
] as const;
/** The same of the bucket. */
export const dumpBucketActions = ["s3:ListBucket", "s3:ListBucketMultipartUploads"] as const;

const accessLogDays = 90;

/** Name of the bucket of one database's logical backups: fixed, so that policies elsewhere can name it. */
export function dumpBucketName(scope: Construct, config: DatabaseConfig): string {
  const { account, region } = Stack.of(scope);
  return `${identifiersOf(config).base}-dumps-${account}-${region}`;
}

export function dumpBucketArn(scope: Construct, config: DatabaseConfig): string {
  const resource = dumpBucketName(scope, config);
  return Stack.of(scope).formatArn({ service: "s3", region: "", account: "", resource });
}

/**
 * The bucket of one database's logical backups: private, versioned, locked, encrypted with a key of its own, and
 * kept with its key and its log when the stack goes. What pgkeep prunes stays as an earlier version for as long as
 * it is locked.
 */
export class DumpBucket extends Construct {
  readonly bucket: s3.Bucket;
  readonly encryptionKey: kms.Key;

  constructor(scope: Construct, id: string, { config }: { config: DatabaseConfig }) {
    super(scope, id);
    const { base } = identifiersOf(config);
    const { lockMode, lockDays } = config.logicalBackups.task;
    const locked = Duration.days(lockDays);
    this.encryptionKey = new kms.Key(this, "Key", {
      alias: `${base}-dumps`,
      description: `pgkeep: logical backups of ${config.key}`,
      enableKeyRotation: true,
      // Without its key every dump is lost.
      removalPolicy: RemovalPolicy.RETAIN,
    });
    const log = new s3.Bucket(this, "LogBucket", {
      ...privateBucket,
      // S3 delivers logs to no bucket that is encrypted with a key of KMS by default.
      encryption: s3.BucketEncryption.S3_MANAGED,
      versioned: true,
      lifecycleRules: [
        {
          expiration: Duration.days(accessLogDays),
          noncurrentVersionExpiration: Duration.days(1),
          abortIncompleteMultipartUploadAfter: Duration.days(abandonedUploadDays),
        },
      ],
    });
    this.bucket = new s3.Bucket(this, "Bucket", {
      bucketName: dumpBucketName(this, config),
      ...privateBucket,
      encryption: s3.BucketEncryption.KMS,
      encryptionKey: this.encryptionKey,
      bucketKeyEnabled: true,
      versioned: true,
      objectLockEnabled: true,
      objectLockDefaultRetention:
        lockMode === "compliance"
          ? s3.ObjectLockRetention.compliance(locked)
          : s3.ObjectLockRetention.governance(locked),
      lifecycleRules: [
        {
          id: "versions-and-uploads",
          noncurrentVersionExpiration: locked,
          expiredObjectDeleteMarker: true,
          abortIncompleteMultipartUploadAfter: Duration.days(abandonedUploadDays),
        },
      ],
    });
    logInto(log, this.bucket, dumpBucketArn(this, config));
    for (const statement of foreignKeyDenials(this.bucket, this.encryptionKey))
      this.bucket.addToResourcePolicy(statement);
  }
}
