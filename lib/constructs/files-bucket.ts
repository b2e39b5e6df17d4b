import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as kms from "aws-cdk-lib/aws-kms";
import * as s3 from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { identifiersOf } from "./identifiers.ts";

/** What stands below which prefix; who may use one may not use the others. */
export const filePrefixes = ["exports", "dumps", "media"] as const;
export type FilePrefix = (typeof filePrefixes)[number];

const readActions = ["s3:GetObject", "s3:GetObjectVersion"];
const writeActions = [
  "s3:PutObject",
  "s3:DeleteObject",
  "s3:AbortMultipartUpload",
  "s3:ListMultipartUploadParts",
];
/** What is done with objects, by whoever may read or write. */
export const objectActions = [...readActions, ...writeActions];
/** What is done with the bucket, by the same. */
export const bucketActions = ["s3:ListBucket"];

/** Days after which the parts of an upload that never ended are removed. */
export const abandonedUploadDays = 7;

/** Name of the bucket of one database: fixed, so that policies elsewhere can name it. */
export function filesBucketName(scope: Construct, config: DatabaseConfig): string {
  const { account, region } = Stack.of(scope);
  return config.files.bucketName ?? `${identifiersOf(config).base}-files-${account}-${region}`;
}

export function filesBucketArn(scope: Construct, config: DatabaseConfig): string {
  return Stack.of(scope).formatArn({
    service: "s3",
    region: "",
    account: "",
    resource: filesBucketName(scope, config),
  });
}

export interface FilesBucketProps {
  config: DatabaseConfig;
}

/**
 * The bucket for what belongs with one database: private, versioned, encrypted with a key of its own, reached by
 * TLS only, and kept with its key and its log when the stack goes. `exports/`, `dumps/` and `media/` are what its
 * grants and lifecycles speak about.
 */
export class FilesBucket extends Construct {
  readonly bucket: s3.Bucket;
  readonly encryptionKey: kms.IKey;
  /** Where the log of requests is. */
  readonly logBucket: s3.Bucket;

  constructor(scope: Construct, id: string, { config }: FilesBucketProps) {
    super(scope, id);
    const { base } = identifiersOf(config);
    this.encryptionKey = new kms.Key(this, "Key", {
      alias: `${base}-files`,
      description: `pgkeep: files of ${config.key}`,
      enableKeyRotation: true,
      // Without its key every file is lost.
      removalPolicy: RemovalPolicy.RETAIN,
    });
    this.logBucket = this.#makeLogBucket(config);
    this.bucket = this.#makeBucket(config);
  }

  /**
   * Reading, also of earlier versions.
   * @param prefix what is read; by default everything
   */
  grantRead(grantee: iam.IGrantable, prefix?: FilePrefix): void {
    this.#grant(grantee, readActions, ["kms:Decrypt"], prefix);
  }

  /**
   * Writing and deleting, without reading. What is deleted or overwritten stays as an earlier version, which no
   * grant of this construct removes.
   * @param prefix where; by default everywhere
   */
  grantWrite(grantee: iam.IGrantable, prefix?: FilePrefix): void {
    // The parts of a large upload are decrypted to be joined.
    this.#grant(grantee, writeActions, ["kms:GenerateDataKey", "kms:Decrypt"], prefix);
  }

  #grant(grantee: iam.IGrantable, actions: string[], keyActions: string[], prefix?: FilePrefix): void {
    const { region } = Stack.of(this);
    const add = (statement: iam.PolicyStatementProps) =>
      grantee.grantPrincipal.addToPrincipalPolicy(new iam.PolicyStatement(statement));
    const objects = prefix === undefined ? "*" : `${prefix}/*`;
    add({ actions, resources: [this.bucket.arnForObjects(objects)] });
    add({
      actions: bucketActions,
      resources: [this.bucket.bucketArn],
      ...(prefix === undefined ? {} : { conditions: { StringLike: { "s3:prefix": objects } } }),
    });
    add({
      actions: keyActions,
      resources: [this.encryptionKey.keyArn],
      conditions: { StringEquals: { "kms:ViaService": `s3.${region}.amazonaws.com` } },
    });
  }

  #makeBucket(config: DatabaseConfig): s3.Bucket {
    const { files } = config;
    const locked = files.objectLock.mode !== "off";
    // Two ids: with the lock switched on or off, CloudFormation makes another bucket, and its name is taken. So the
    // deployment fails before anything changes, instead of leaving the bucket as it was without a word.
    const bucket = new s3.Bucket(this, locked ? "LockedBucket" : "Bucket", {
      bucketName: filesBucketName(this, config),
      ...privateBucket,
      encryption: s3.BucketEncryption.KMS,
      encryptionKey: this.encryptionKey,
      bucketKeyEnabled: true,
      versioned: true,
      lifecycleRules: lifecycleRules(files),
      ...(locked ? { objectLockEnabled: true, objectLockDefaultRetention: retention(files.objectLock) } : {}),
      ...(files.corsOrigins.length === 0 ? {} : { cors: [corsRule(files.corsOrigins)] }),
    });
    logInto(this.logBucket, bucket, filesBucketArn(this, config));
    for (const statement of foreignKeyDenials(bucket, this.encryptionKey))
      bucket.addToResourcePolicy(statement);
    return bucket;
  }

  #makeLogBucket({ files }: DatabaseConfig): s3.Bucket {
    return new s3.Bucket(this, "LogBucket", {
      ...privateBucket,
      // S3 delivers logs to no bucket that is encrypted with a key of KMS by default.
      encryption: s3.BucketEncryption.S3_MANAGED,
      versioned: true,
      lifecycleRules: [
        {
          expiration: Duration.days(files.accessLogDays),
          noncurrentVersionExpiration: Duration.days(1),
          abortIncompleteMultipartUploadAfter: Duration.days(abandonedUploadDays),
        },
      ],
    });
  }
}

export const privateBucket = {
  blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
  objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
  enforceSSL: true,
  minimumTLSVersion: 1.2,
  removalPolicy: RemovalPolicy.RETAIN,
} as const satisfies s3.BucketProps;

/** S3 itself delivers the log. Said here in full: the CDK does it by access lists unless an app's context says otherwise. */
export function logInto(log: s3.Bucket, bucket: s3.Bucket, bucketArn: string): void {
  log.addToResourcePolicy(
    new iam.PolicyStatement({
      sid: "DeliverLog",
      principals: [new iam.ServicePrincipal("logging.s3.amazonaws.com")],
      actions: ["s3:PutObject"],
      resources: [log.arnForObjects("*")],
      conditions: {
        ArnLike: { "aws:SourceArn": bucketArn },
        StringEquals: { "aws:SourceAccount": Stack.of(log).account },
      },
    }),
  );
  (bucket.node.defaultChild as s3.CfnBucket).loggingConfiguration = { destinationBucketName: log.bucketName };
}

function lifecycleRules(files: DatabaseConfig["files"]): s3.LifecycleRule[] {
  const whole: s3.LifecycleRule = {
    id: "versions-and-uploads",
    noncurrentVersionExpiration: Duration.days(files.noncurrentDays),
    expiredObjectDeleteMarker: true,
    abortIncompleteMultipartUploadAfter: Duration.days(abandonedUploadDays),
  };
  return [whole, ...filePrefixes.flatMap((prefix) => prefixRule(prefix, files[prefix]))];
}

function prefixRule(prefix: FilePrefix, given: DatabaseConfig["files"][FilePrefix]): s3.LifecycleRule[] {
  const { infrequentAccessAfterDays: rare, archiveAfterDays: archive, expireAfterDays: expire } = given;
  const transitions = [
    ...(rare === undefined
      ? []
      : [{ storageClass: s3.StorageClass.INFREQUENT_ACCESS, transitionAfter: Duration.days(rare) }]),
    ...(archive === undefined
      ? []
      : [
          {
            storageClass: s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
            transitionAfter: Duration.days(archive),
          },
        ]),
  ];
  if (transitions.length === 0 && expire === undefined) return [];
  return [
    {
      id: prefix,
      prefix: `${prefix}/`,
      ...(transitions.length === 0 ? {} : { transitions }),
      ...(expire === undefined ? {} : { expiration: Duration.days(expire) }),
    },
  ];
}

function retention({ mode, days }: DatabaseConfig["files"]["objectLock"]): s3.ObjectLockRetention {
  const duration = Duration.days(days);
  return mode === "compliance"
    ? s3.ObjectLockRetention.compliance(duration)
    : s3.ObjectLockRetention.governance(duration);
}

/** What signed URLs in a page need, and no more. */
function corsRule(origins: readonly string[]): s3.CorsRule {
  return {
    allowedOrigins: [...origins],
    allowedMethods: [s3.HttpMethods.GET, s3.HttpMethods.HEAD, s3.HttpMethods.PUT],
    allowedHeaders: ["*"],
    exposedHeaders: ["ETag", "x-amz-version-id"],
    maxAge: 3600,
  };
}

/** Nobody leaves a file that is encrypted with anything but the bucket's key: it could not be read here. */
export function foreignKeyDenials(bucket: s3.Bucket, key: kms.IKey): iam.PolicyStatement[] {
  const deny = (sid: string, conditions: Record<string, Record<string, unknown>>) =>
    new iam.PolicyStatement({
      sid,
      effect: iam.Effect.DENY,
      principals: [new iam.AnyPrincipal()],
      actions: ["s3:PutObject"],
      resources: [bucket.arnForObjects("*")],
      conditions,
    });
  return [
    deny("DenyOtherEncryption", {
      StringNotEquals: { "s3:x-amz-server-side-encryption": "aws:kms" },
      Null: { "s3:x-amz-server-side-encryption": "false" },
    }),
    deny("DenyOtherKeys", {
      StringNotEquals: { "s3:x-amz-server-side-encryption-aws-kms-key-id": key.keyArn },
      Null: { "s3:x-amz-server-side-encryption-aws-kms-key-id": "false" },
    }),
    deny("DenyKeysOfCustomers", {
      Null: { "s3:x-amz-server-side-encryption-customer-algorithm": "false" },
    }),
  ];
}
