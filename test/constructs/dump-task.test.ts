import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Template } from "aws-cdk-lib/assertions";
import { afterAll, describe, expect, it } from "vitest";
import { taskSettingName } from "../../lib/aws/task-setting.ts";
import { bundleTaskImage } from "../../lib/constructs/task-image.ts";
import { DumpsStack } from "../../lib/stacks/dumps.ts";
import { configFor } from "../helpers/config.ts";
import {
  foundationStacks,
  foundationTemplates,
  onlyResource,
  resourcesOf,
  thrownBy,
} from "../helpers/stacks.ts";

const key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const withTask = (task = "", more = "", rest = "") =>
  `{ database: { name: shop, engineVersion: "16" }, logicalBackups: { task: { enabled: true ${task} } ${more} } ${rest} }`;

function dumpsTemplate(text: string): { dumps: Template; network: Template } {
  const { app, network, database, access } = foundationStacks(text);
  const dumps = new DumpsStack(app, "Dumps", {
    platform: database.platform,
    network: network.network,
    secret: access.access.secrets.reporting,
  });
  return { dumps: Template.fromStack(dumps), network: Template.fromStack(network) };
}

interface Statement {
  Sid: string;
  Action: string | string[];
  Resource: unknown;
}

/** What the role with this purpose allows. */
function allowed(template: Template, purpose: string): Statement[] {
  const role = resourcesOf(template, "AWS::IAM::Role").find(({ Properties }) =>
    String(Properties.Description).startsWith(purpose),
  );
  const policies = role?.Properties.Policies as { PolicyDocument: { Statement: Statement[] } }[];
  return policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
}
const actionsOf = (statements: Statement[]) => statements.flatMap(({ Action }) => Action).sort();
const services = (network: Template) =>
  resourcesOf(network, "AWS::EC2::VPCEndpoint")
    .map(({ Properties }) =>
      JSON.stringify(Properties.ServiceName)
        .match(/(?:\.|")([a-z0-9.]+)"/g)
        ?.at(-1),
    )
    .map((name) => name?.replaceAll(/^[."]+|"$/g, ""))
    .sort();

describe("scheduled logical backups", () => {
  const { dumps, network } = dumpsTemplate(withTask(", excludeSchemas: [scratch]"));
  const container = () =>
    (
      onlyResource(dumps, "AWS::ECS::TaskDefinition").Properties.ContainerDefinitions as {
        Command: string[];
        Environment: { Name: string; Value: unknown }[];
        Image: unknown;
      }[]
    )[0];

  it("are off by default, without endpoints but that of Secrets Manager and the gateway", () => {
    expect(configFor("shop").logicalBackups.task.enabled).toBe(false);
    expect(services(foundationTemplates("database: { name: shop }").network)).toEqual([
      "s3",
      "secretsmanager",
    ]);
  });

  it("run the same command as a person, without the schemas that the reporting login does not read", () => {
    expect(container()?.Command).toEqual([
      "dump",
      "create",
      "--prune",
      "--exclude-schema",
      "pgkeep",
      "--exclude-schema",
      "scratch",
    ]);
    const setting = JSON.stringify(container()?.Environment);
    expect(container()?.Environment.map(({ Name }) => Name)).toEqual([taskSettingName]);
    for (const part of ["shop_reporting", "secretArn", "keepDaily", "s3://"]) expect(setting).toContain(part);
    expect(setting).not.toMatch(/password|SecretString/i);
  });

  it("start with PostgreSQL's programs of the server's own version", () => {
    expect(readFileSync("docker/Dockerfile", "utf8")).toMatch(/FROM postgres:\$\{POSTGRES_MAJOR\}/);
    const { app, network: foundation, database, access } = foundationStacks(withTask());
    new DumpsStack(app, "Dumps", {
      platform: database.platform,
      network: foundation.network,
      secret: access.access.secrets.reporting,
    });
    const { directory } = app.synth();
    const { dockerImages } = JSON.parse(readFileSync(join(directory, "Dumps.assets.json"), "utf8")) as {
      dockerImages: Record<string, { source: { dockerBuildArgs: unknown } }>;
    };
    expect(Object.values(dockerImages).map(({ source }) => source.dockerBuildArgs)).toEqual([
      { POSTGRES_MAJOR: "16" },
    ]);
  });

  it("may read their login's secret, keep dumps in their bucket, and nothing else", () => {
    expect(actionsOf(allowed(dumps, "Takes"))).toEqual(
      [
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:GetObjectLegalHold",
        "s3:GetObjectRetention",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:PutObject",
        "secretsmanager:GetSecretValue",
      ].sort(),
    );
    expect(actionsOf(allowed(dumps, "Starts"))).toEqual([
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "logs:CreateLogStream",
      "logs:PutLogEvents",
    ]);
    expect(actionsOf(allowed(dumps, "Schedule"))).toEqual(["ecs:RunTask", "iam:PassRole"]);
  });

  it("log in by IAM, as that one user of the primary, where logins have no passwords", () => {
    const { dumps: iam } = dumpsTemplate(withTask("", `, kmsKey: "${key}"`, ", roles: { logins: iam }"));
    const statements = allowed(iam, "Takes");
    expect(actionsOf(statements)).not.toContain("secretsmanager:GetSecretValue");
    expect(JSON.stringify(statements.find(({ Sid }) => Sid === "LogIn")?.Resource)).toContain(
      "/shop_reporting",
    );
    // It seals what it takes, and cannot open what it took.
    expect(statements.find(({ Sid }) => Sid === "SealDumps")).toMatchObject({
      Action: "kms:GenerateDataKey",
      Resource: key,
    });
  });

  it("go into a bucket that is versioned, locked, encrypted with its own key, and kept", () => {
    const bucket = resourcesOf(dumps, "AWS::S3::Bucket").find(
      ({ Properties }) => Properties.ObjectLockEnabled === true,
    );
    expect(bucket).toMatchObject({
      DeletionPolicy: "Retain",
      UpdateReplacePolicy: "Retain",
      Properties: {
        VersioningConfiguration: { Status: "Enabled" },
        ObjectLockConfiguration: {
          ObjectLockEnabled: "Enabled",
          Rule: { DefaultRetention: { Mode: "GOVERNANCE", Days: 30 } },
        },
        PublicAccessBlockConfiguration: { BlockPublicAcls: true, RestrictPublicBuckets: true },
      },
    });
    expect(JSON.stringify(bucket?.Properties.BucketEncryption)).toContain("aws:kms");
    expect(onlyResource(dumps, "AWS::KMS::Key")).toMatchObject({ DeletionPolicy: "Retain" });
    const { dumps: strict } = dumpsTemplate(withTask(", lockMode: compliance, lockDays: 90"));
    expect(JSON.stringify(strict.toJSON())).toContain('{"Days":90,"Mode":"COMPLIANCE"}');
  });

  it("reach images, logs and their bucket through endpoints that exist only for them", () => {
    expect(services(network)).toEqual(["ecr.api", "ecr.dkr", "logs", "s3", "secretsmanager"]);
    expect(services(dumpsTemplate(withTask("", `, kmsKey: "${key}"`)).network)).toContain("kms");
    expect(resourcesOf(network, "AWS::EC2::NatGateway")).toEqual([]);
    const policies = JSON.stringify(
      resourcesOf(network, "AWS::EC2::VPCEndpoint").map(({ Properties }) => Properties.PolicyDocument),
    );
    expect(policies).toContain("starport-layer-bucket/*");
    expect(policies).toContain("pgkeep-shop-dumps-");
    expect(onlyResource(dumps, "AWS::Scheduler::Schedule").Properties.Target).toMatchObject({
      EcsParameters: { NetworkConfiguration: { AwsvpcConfiguration: { AssignPublicIp: "DISABLED" } } },
    });
  });

  it("need an existing VPC to have the endpoints", () => {
    const { network: adopted } = dumpsTemplate(
      withTask(
        "",
        "",
        ", network: { existingVpcId: vpc-0123456789abcdef0, existingSubnetIds: [subnet-0123456789abcdef0, subnet-0123456789abcdef1] }",
      ),
    );
    expect(services(adopted)).toEqual(["secretsmanager"]);
  });

  it("are missed after a period and a day", () => {
    const alarmOf = (template: Template) => onlyResource(template, "AWS::CloudWatch::Alarm").Properties;
    expect(alarmOf(dumps)).toMatchObject({ EvaluationPeriods: 2, TreatMissingData: "breaching" });
    const filter = onlyResource(dumps, "AWS::Logs::MetricFilter").Properties;
    const [metric] = filter.MetricTransformations as { MetricName: string; MetricNamespace: string }[];
    expect(alarmOf(dumps)).toMatchObject({
      MetricName: metric?.MetricName,
      Namespace: metric?.MetricNamespace,
    });
    const { dumps: byHand } = dumpsTemplate(withTask(', schedule: "off"'));
    expect(resourcesOf(byHand, "AWS::Scheduler::Schedule")).toEqual([]);
    expect(resourcesOf(byHand, "AWS::CloudWatch::Alarm")).toEqual([]);
  });

  it.each([
    [', kmsKey: "alias/dumps"', "alias/dumps is no ARN of a key"],
    [", keyFile: secret.key", "the task has no files"],
  ])("refuse %s", (more, words) => {
    expect(String(thrownBy(() => dumpsTemplate(withTask("", more))))).toContain(words);
  });
});

describe("the image of tasks", () => {
  const directory = mkdtempSync(join(tmpdir(), "task-image-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const run = (setting?: object) => {
    bundleTaskImage(directory);
    return spawnSync(process.execPath, [join(directory, "index.mjs"), "dump", "list"], {
      encoding: "utf8",
      cwd: directory,
      env: {
        PATH: process.env.PATH,
        AWS_ACCESS_KEY_ID: "testing",
        AWS_SECRET_ACCESS_KEY: "testing",
        ...(setting === undefined ? {} : { [taskSettingName]: JSON.stringify(setting) }),
      },
    });
  };

  it("holds all of pgkeep, takes its settings from the task, and says when a command succeeded", () => {
    const { status, stdout, stderr } = run({
      host: "db.example.com",
      port: 5432,
      database: "shop",
      user: "shop_reporting",
      region: "eu-west-1",
      config: { logicalBackups: { directory: join(directory, "kept-here") } },
    });
    expect(status, stderr).toBe(0);
    expect(stdout.trim().split("\n")).toEqual([
      expect.stringContaining("kept-here"),
      JSON.stringify({ pgkeepTask: "succeeded", command: "dump list" }),
    ]);
  });

  it("fails, and says nothing of success, without a setting", () => {
    const { status, stdout, stderr } = run();
    expect(status).toBe(3);
    expect(stdout).toBe("");
    expect(stderr).toContain(`${taskSettingName} is not set`);
  });
});
