import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as iam from "aws-cdk-lib/aws-iam";
import { describe, expect, it } from "vitest";
import type { FilePrefix } from "../../lib/constructs/files-bucket.ts";
import { FilesStack } from "../../lib/stacks/files.ts";
import { configFor } from "../helpers/config.ts";
import { resourcesOf, type TemplateResource } from "../helpers/stacks.ts";

function filesStack(files: Record<string, unknown> = {}): FilesStack {
  return new FilesStack(new App(), "files", {
    config: configFor("shop", { files: { enabled: true, ...files } }),
  });
}

/** The bucket of the files, not that of its log. */
function bucketOf(template: Template): TemplateResource & { id: string } {
  const found = Object.entries(template.findResources("AWS::S3::Bucket")).find(
    ([, { Properties }]) => Properties.LoggingConfiguration !== undefined,
  );
  if (found === undefined) throw new Error("no bucket has a log");
  return { id: found[0], ...(found[1] as TemplateResource) };
}

const bucket = (files: Record<string, unknown> = {}) => bucketOf(Template.fromStack(filesStack(files)));

interface Statement {
  Sid?: string;
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: Record<string, Record<string, unknown>>;
}

describe("the bucket for files", () => {
  const template = Template.fromStack(filesStack());
  const { Properties, DeletionPolicy, UpdateReplacePolicy } = bucketOf(template);

  it("is kept with its key and its log when the stack goes or replaces it", () => {
    expect({ DeletionPolicy, UpdateReplacePolicy }).toEqual({
      DeletionPolicy: "Retain",
      UpdateReplacePolicy: "Retain",
    });
    for (const type of ["AWS::S3::Bucket", "AWS::KMS::Key"]) {
      const resources = resourcesOf(template, type);
      expect(resources.length).toBeGreaterThan(0);
      for (const resource of resources) {
        expect(resource).toMatchObject({ DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain" });
      }
    }
  });

  it("has a name that policies elsewhere can compose, or the one that is given", () => {
    expect(Properties.BucketName).toEqual({
      "Fn::Join": ["", ["pgkeep-test-files-", { Ref: "AWS::AccountId" }, "-", { Ref: "AWS::Region" }]],
    });
    expect(bucket({ bucketName: "shop-media" }).Properties.BucketName).toBe("shop-media");
  });

  it("keeps versions and encrypts with a rotating key of its own, once for many objects", () => {
    expect(Properties.VersioningConfiguration).toEqual({ Status: "Enabled" });
    expect(Properties.BucketEncryption).toEqual({
      ServerSideEncryptionConfiguration: [
        {
          BucketKeyEnabled: true,
          ServerSideEncryptionByDefault: {
            SSEAlgorithm: "aws:kms",
            KMSMasterKeyID: { "Fn::GetAtt": [expect.stringContaining("Key"), "Arn"] },
          },
        },
      ],
    });
    template.hasResourceProperties("AWS::KMS::Key", { EnableKeyRotation: true });
  });

  it("and its log are private, whatever an object's own settings say", () => {
    for (const { Properties: each } of resourcesOf(template, "AWS::S3::Bucket")) {
      expect(each.PublicAccessBlockConfiguration).toEqual({
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      });
      expect(each.OwnershipControls).toEqual({ Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] });
    }
  });

  it("and its log are reached by TLS 1.2 or later only", () => {
    const policies = resourcesOf(template, "AWS::S3::BucketPolicy");
    expect(policies).toHaveLength(2);
    for (const { Properties: policy } of policies) {
      const { Statement } = policy.PolicyDocument as { Statement: Statement[] };
      const denied = Statement.filter(({ Effect, Action }) => Effect === "Deny" && Action === "s3:*");
      expect(denied.map(({ Condition }) => Condition)).toEqual([
        { Bool: { "aws:SecureTransport": "false" } },
        { NumericLessThan: { "s3:TlsVersion": 1.2 } },
      ]);
    }
  });

  it("takes no object that is encrypted with anything but its key", () => {
    const denied = resourcesOf(template, "AWS::S3::BucketPolicy")
      .flatMap(({ Properties: policy }) => (policy.PolicyDocument as { Statement: Statement[] }).Statement)
      .filter(({ Effect, Action }) => Effect === "Deny" && Action === "s3:PutObject");
    expect(denied.map(({ Condition }) => Condition)).toEqual([
      {
        StringNotEquals: { "s3:x-amz-server-side-encryption": "aws:kms" },
        Null: { "s3:x-amz-server-side-encryption": "false" },
      },
      {
        StringNotEquals: {
          "s3:x-amz-server-side-encryption-aws-kms-key-id": { "Fn::GetAtt": [expect.any(String), "Arn"] },
        },
        Null: { "s3:x-amz-server-side-encryption-aws-kms-key-id": "false" },
      },
      { Null: { "s3:x-amz-server-side-encryption-customer-algorithm": "false" } },
    ]);
  });

  it("logs each request into a bucket that lets it go after a while", () => {
    const target = (Properties.LoggingConfiguration as { DestinationBucketName: { Ref: string } })
      .DestinationBucketName.Ref;
    const log = template.findResources("AWS::S3::Bucket")[target];
    expect(log?.Properties.BucketEncryption).toMatchObject({
      ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
    });
    expect(log?.Properties.LifecycleConfiguration.Rules).toMatchObject([{ ExpirationInDays: 90 }]);
  });

  it("keeps objects, drops versions and abandoned uploads, and lets no page of another origin in", () => {
    expect((Properties.LifecycleConfiguration as { Rules: unknown }).Rules).toEqual([
      {
        Id: "versions-and-uploads",
        Status: "Enabled",
        NoncurrentVersionExpiration: { NoncurrentDays: 90 },
        ExpiredObjectDeleteMarker: true,
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      },
    ]);
    expect(Properties.CorsConfiguration).toBeUndefined();
    expect(Properties.ObjectLockEnabled).toBeUndefined();
  });
});

describe("what is configured for files", () => {
  it("moves and expires what is below a prefix", () => {
    const { Properties } = bucket({
      exports: { infrequentAccessAfterDays: 30, archiveAfterDays: 60, expireAfterDays: 61 },
      media: { archiveAfterDays: 10 },
      noncurrentDays: 7,
    });
    const { Rules } = Properties.LifecycleConfiguration as { Rules: Record<string, unknown>[] };
    expect(Rules.slice(1)).toEqual([
      {
        Id: "exports",
        Prefix: "exports/",
        Status: "Enabled",
        ExpirationInDays: 61,
        Transitions: [
          { StorageClass: "STANDARD_IA", TransitionInDays: 30 },
          { StorageClass: "GLACIER_IR", TransitionInDays: 60 },
        ],
      },
      {
        Id: "media",
        Prefix: "media/",
        Status: "Enabled",
        Transitions: [{ StorageClass: "GLACIER_IR", TransitionInDays: 10 }],
      },
    ]);
    expect(Rules[0]?.NoncurrentVersionExpiration).toEqual({ NoncurrentDays: 7 });
  });

  it.each([
    ["governance", "GOVERNANCE"],
    ["compliance", "COMPLIANCE"],
  ])("locks each new version: %s", (mode, expected) => {
    const { Properties } = bucket({ objectLock: { mode, days: 20 } });
    expect(Properties.ObjectLockEnabled).toBe(true);
    expect(Properties.ObjectLockConfiguration).toEqual({
      ObjectLockEnabled: "Enabled",
      Rule: { DefaultRetention: { Mode: expected, Days: 20 } },
    });
  });

  it("makes another bucket of the taken name when the lock is switched, and the same one when it is changed", () => {
    const [off, on, longer] = [
      bucket(),
      bucket({ objectLock: { mode: "governance", days: 1 } }),
      bucket({ objectLock: { mode: "compliance", days: 2 } }),
    ];
    expect(on.id).not.toBe(off.id);
    expect(on.Properties.BucketName).toEqual(off.Properties.BucketName);
    expect(longer.id).toBe(on.id);
  });

  it("lets in only the origins that are named", () => {
    const { CorsRules } = bucket({ corsOrigins: ["https://a.example", "https://b.example:8443"] }).Properties
      .CorsConfiguration as { CorsRules: Record<string, unknown>[] };
    expect(CorsRules).toHaveLength(1);
    expect(CorsRules[0]).toMatchObject({
      AllowedOrigins: ["https://a.example", "https://b.example:8443"],
      AllowedMethods: ["GET", "HEAD", "PUT"],
    });
  });
});

describe("what an application is granted", () => {
  function granted(grant: "grantRead" | "grantWrite", prefix?: FilePrefix): Statement[] {
    const stack = filesStack();
    const other = new Stack(stack, "application");
    const role = new iam.Role(other, "Role", {
      assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
    });
    stack.files[grant](role, prefix);
    const policy = Object.values(Template.fromStack(other).findResources("AWS::IAM::Policy"))[0];
    return policy?.Properties.PolicyDocument.Statement as Statement[];
  }
  const actions = (statements: Statement[]) => statements.flatMap(({ Action }) => Action).toSorted();

  it("reads, and writes nothing", () => {
    expect(actions(granted("grantRead"))).toEqual([
      "kms:Decrypt",
      "s3:GetObject",
      "s3:GetObjectVersion",
      "s3:ListBucket",
    ]);
  });

  it("writes, and neither reads nor removes a version", () => {
    expect(actions(granted("grantWrite"))).toEqual([
      "kms:Decrypt",
      "kms:GenerateDataKey",
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:ListBucket",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]);
  });

  it("is below one prefix, and through S3 only", () => {
    const statements = granted("grantWrite", "media");
    const objects = statements.find(({ Action }) => Action.includes("s3:PutObject"));
    expect(JSON.stringify(objects?.Resource)).toContain('"/media/*"');
    const list = statements.find(({ Action }) => Action === "s3:ListBucket");
    expect(list?.Condition).toEqual({ StringLike: { "s3:prefix": "media/*" } });
    const key = statements.find(({ Action }) => Action.includes("kms:Decrypt"));
    expect(Object.keys(key?.Condition?.StringEquals ?? {})).toEqual(["kms:ViaService"]);
  });
});
