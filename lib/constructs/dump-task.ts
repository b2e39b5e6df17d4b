import { Duration, RemovalPolicy, Stack, Token, Validations } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as ecs from "aws-cdk-lib/aws-ecs";
import * as iam from "aws-cdk-lib/aws-iam";
import * as logs from "aws-cdk-lib/aws-logs";
import * as scheduler from "aws-cdk-lib/aws-scheduler";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { Topic } from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";
import { type TaskSetting, taskSettingName } from "../aws/task-setting.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { roleNames, schemaOwner } from "../install/role-names.ts";
import { admit } from "./admit.ts";
import { assertCertificates } from "./certificates.ts";
import { DumpBucket, dumpBucketActions, dumpObjectActions } from "./dump-bucket.ts";
import { databaseUserArn } from "./grant-connect.ts";
import { identifiersOf } from "./identifiers.ts";
import { periodSeconds, servicePrincipal } from "./job.ts";
import type { Network } from "./network.ts";
import type { AccessiblePlatform } from "./platform.ts";
import { explainWildcards, policyDocument } from "./policy.ts";
import { schedulerExpression } from "./schedule-expression.ts";
import { decryptSecrets } from "./secret-grants.ts";
import { taskImage } from "./task-image.ts";

/** CPU units and MiB (Amazon ECS Developer Guide, task CPU and memory of Fargate). */
const sizes = {
  small: { cpu: 512, memoryLimitMiB: 1024 },
  medium: { cpu: 1024, memoryLimitMiB: 2048 },
  large: { cpu: 4096, memoryLimitMiB: 8192 },
} as const;

const https = 443;
const daySeconds = 86_400;

export interface DumpTaskProps {
  platform: AccessiblePlatform;
  network: Pick<Network, "taskEndpointSecurityGroup">;
  /** Of the reporting login; absent where it logs in by IAM. */
  secret?: ISecret | undefined;
}

/**
 * `pgkeep dump create --prune` on Fargate, on a schedule: as the database's reporting login, which reads and
 * nothing else, in the isolated subnets, into a bucket that keeps every dump for its time. The image and its log
 * come through the network's endpoints.
 * @throws UsageError (`configuration`) for settings that the task cannot follow
 */
export class DumpTask extends Construct {
  readonly dumps: DumpBucket;
  readonly cluster: ecs.Cluster;
  readonly taskDefinition: ecs.FargateTaskDefinition;
  readonly securityGroup: ec2.SecurityGroup;

  constructor(scope: Construct, id: string, { platform, network, secret }: DumpTaskProps) {
    super(scope, id);
    const { config } = platform;
    assertPossible(config, secret);
    assertCertificates(Stack.of(this).region);
    this.dumps = new DumpBucket(this, "Dumps", { config });
    this.securityGroup = this.#makeGroup(platform, network);
    this.cluster = new ecs.Cluster(this, "Cluster", {
      clusterName: `${identifiersOf(config).base}-dumps`,
      vpc: platform.vpc,
      containerInsightsV2: ecs.ContainerInsights.ENABLED,
    });
    const logGroup = new logs.LogGroup(this, "Logs", {
      logGroupName: `/pgkeep/${config.key}/dumps`,
      retention: logs.RetentionDays.THREE_MONTHS,
      encryptionKey: platform.encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.taskDefinition = this.#define(platform, secret, logGroup);
    this.#schedule(platform);
    this.#watch(platform, logGroup);
  }

  #makeGroup(
    { config, vpc, databaseSecurityGroup, endpointSecurityGroup }: AccessiblePlatform,
    { taskEndpointSecurityGroup: endpoints }: DumpTaskProps["network"],
  ): ec2.SecurityGroup {
    const group = new ec2.SecurityGroup(this, "SecurityGroup", {
      vpc,
      description: `Logical backups of ${config.key}`,
      allowAllOutbound: false,
    });
    const who = `the task that takes logical backups of ${config.key}`;
    admit({ to: databaseSecurityGroup, from: group, who });
    if (endpoints !== undefined) admit({ to: endpoints, from: group, who, port: https });
    if (config.roles.logins === "password")
      admit({ to: endpointSecurityGroup, from: group, who, port: https });
    // S3's addresses are the region's, and its prefix list has no name before a look-up. Only the gateway has a route.
    group.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(https), "For S3 through its gateway");
    return group;
  }

  #define(
    platform: AccessiblePlatform,
    secret: ISecret | undefined,
    logGroup: logs.ILogGroup,
  ): ecs.FargateTaskDefinition {
    const { config } = platform;
    const base = `${identifiersOf(config).base}-dumps`;
    const statements = this.#statements(platform, secret);
    const taskRole = new iam.Role(this, "TaskRole", {
      description: `Takes logical backups of ${config.key}`,
      assumedBy: tasksOf(this),
      inlinePolicies: { dump: policyDocument(statements) },
    });
    explainWildcards(taskRole, statements);
    const image = taskImage(this, "Image", Number(config.database.engineVersion));
    const startStatements: GrantStatement[] = [
      {
        sid: "PullImage",
        actions: ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
        resources: [image.repository.repositoryArn],
      },
      {
        sid: "LogInToRegistry",
        actions: ["ecr:GetAuthorizationToken"],
        resources: ["*"],
        reason: "the token is of the registry, which has no ARN",
      },
      {
        sid: "WriteOwnLogs",
        actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
        resources: [logGroup.logGroupArn],
      },
    ];
    const executionRole = new iam.Role(this, "ExecutionRole", {
      description: `Starts the task that takes logical backups of ${config.key}`,
      assumedBy: tasksOf(this),
      inlinePolicies: { start: policyDocument(startStatements) },
    });
    explainWildcards(executionRole, startStatements);
    const definition = new ecs.FargateTaskDefinition(this, "Task", {
      family: base,
      ...sizes[config.logicalBackups.task.size],
      runtimePlatform: {
        cpuArchitecture: ecs.CpuArchitecture.X86_64,
        operatingSystemFamily: ecs.OperatingSystemFamily.LINUX,
      },
      // Their policies are complete; nothing adds to them from outside.
      taskRole: taskRole.withoutPolicyUpdates(),
      executionRole: executionRole.withoutPolicyUpdates(),
    });
    definition.node.addDependency(taskRole, executionRole);
    definition.addContainer("dump", {
      image: ecs.ContainerImage.fromDockerImageAsset(image),
      command: commandOf(config),
      environment: { [taskSettingName]: Stack.of(this).toJsonString(this.#setting(platform, secret)) },
      logging: ecs.LogDrivers.awsLogs({ logGroup, streamPrefix: "dump" }),
      linuxParameters: new ecs.LinuxParameters(this, "Linux", { initProcessEnabled: true }),
      // An interrupted dump takes its draft back.
      stopTimeout: Duration.minutes(2),
    });
    Validations.of(definition).acknowledge({
      id: "AwsSolutions-ECS2",
      reason: "Host, role and settings of the deployment; it logs in by IAM, so nothing in it is secret",
    });
    return definition;
  }

  #setting({ config, resources }: AccessiblePlatform, secret: ISecret | undefined): TaskSetting {
    // The bucket has a key of its own, and the rest is for whoever deploys.
    const { bucketKmsKey: _, task: __, ...logicalBackups } = config.logicalBackups;
    return {
      host: resources.primary.host,
      port: resources.primary.port,
      database: resources.databaseName,
      user: roleNames(config).reporting,
      ...(secret === undefined ? {} : { secretArn: secret.secretArn }),
      region: resources.region,
      config: {
        logicalBackups: { ...logicalBackups, directory: `s3://${this.dumps.bucket.bucketName}` },
      },
    };
  }

  /** What the task itself calls: lib/aws/objects.ts, and for sealed dumps lib/aws/key-service.ts. */
  #statements(
    { config, resources, encryptionKey: databaseKey }: AccessiblePlatform,
    secret: ISecret | undefined,
  ): GrantStatement[] {
    const { bucket, encryptionKey } = this.dumps;
    const { kmsKey } = config.logicalBackups;
    return [
      ...(secret === undefined
        ? [
            {
              sid: "LogIn",
              actions: ["rds-db:connect"],
              resources: resources.resourceIds
                .slice(0, 1)
                .map((resourceId) => databaseUserArn(this, resourceId, roleNames(config).reporting)),
            },
          ]
        : [
            {
              sid: "ReadSecret",
              actions: ["secretsmanager:GetSecretValue"],
              resources: [secret.secretArn],
            },
            decryptSecrets(this, databaseKey),
          ]),
      { sid: "ListDumps", actions: [...dumpBucketActions], resources: [bucket.bucketArn] },
      {
        sid: "KeepDumps",
        actions: [...dumpObjectActions],
        resources: [bucket.arnForObjects("*")],
        reason: "each dump has a name of its own; the bucket holds nothing else",
      },
      {
        sid: "EncryptDumps",
        actions: ["kms:GenerateDataKey", "kms:Decrypt"],
        resources: [encryptionKey.keyArn],
        conditions: { StringEquals: { "kms:ViaService": `s3.${resources.region}.amazonaws.com` } },
      },
      ...(kmsKey === undefined
        ? []
        : [{ sid: "SealDumps", actions: ["kms:GenerateDataKey"], resources: [kmsKey] }]),
    ];
  }

  #schedule({ config, vpc, subnets }: AccessiblePlatform): void {
    const { schedule: fields } = config.logicalBackups.task;
    if (fields === "off") return;
    const stack = Stack.of(this);
    const name = `${identifiersOf(config).base}-dumps`;
    const group = new scheduler.CfnScheduleGroup(this, "Schedules", { name });
    const { taskDefinitionArn, taskRole, executionRole } = this.taskDefinition;
    const role = new iam.Role(this, "ScheduleRole", {
      description: `Schedule of the logical backups of ${config.key}`,
      assumedBy: servicePrincipal(stack, "scheduler.amazonaws.com", group.attrArn),
      inlinePolicies: {
        start: policyDocument([
          {
            sid: "StartTask",
            actions: ["ecs:RunTask"],
            resources: [taskDefinitionArn],
            conditions: { ArnEquals: { "ecs:cluster": this.cluster.clusterArn } },
          },
          {
            sid: "GiveRoles",
            actions: ["iam:PassRole"],
            resources: [taskRole.roleArn, executionRole?.roleArn ?? taskRole.roleArn],
            conditions: { StringEquals: { "iam:PassedToService": "ecs-tasks.amazonaws.com" } },
          },
        ]),
      },
    });
    const schedule = new scheduler.CfnSchedule(this, "Schedule", {
      name,
      groupName: group.ref,
      description: `Takes a logical backup of ${config.key}`,
      scheduleExpression: schedulerExpression(fields, "logicalBackups.task.schedule"),
      scheduleExpressionTimezone: config.schedules.timeZone,
      flexibleTimeWindow: { mode: "FLEXIBLE", maximumWindowInMinutes: 15 },
      target: {
        arn: this.cluster.clusterArn,
        roleArn: role.roleArn,
        ecsParameters: {
          taskDefinitionArn,
          launchType: "FARGATE",
          networkConfiguration: {
            awsvpcConfiguration: {
              subnets: vpc.selectSubnets(subnets).subnetIds,
              securityGroups: [this.securityGroup.securityGroupId],
              assignPublicIp: "DISABLED",
            },
          },
        },
        retryPolicy: { maximumRetryAttempts: 10, maximumEventAgeInSeconds: 3_600 },
      },
    });
    schedule.node.addDependency(role);
  }

  /** A task that fails, and one that never starts, are told by what is missing: the line that a finished one writes. */
  #watch({ config, resources }: AccessiblePlatform, logGroup: logs.LogGroup): void {
    const period = periodSeconds(config.logicalBackups.task.schedule);
    // CloudWatch looks back a week at most (Amazon CloudWatch User Guide, evaluating an alarm).
    const days = Math.ceil(period / daySeconds) + 1;
    if (days > 7) return;
    const { base } = identifiersOf(config);
    const filter = new logs.MetricFilter(this, "Taken", {
      logGroup,
      filterPattern: logs.FilterPattern.all(
        logs.FilterPattern.stringValue("$.pgkeepTask", "=", "succeeded"),
        logs.FilterPattern.stringValue("$.command", "=", "dump create"),
      ),
      metricNamespace: `pgkeep/${config.key}`,
      metricName: "DumpsTaken",
      metricValue: "1",
    });
    const alarm = new cloudwatch.Alarm(this, "Absent", {
      alarmName: `${base}-dump-absent`,
      alarmDescription: `${config.key}: no logical backup was taken in ${days} days. See docs/logical-backups.md#when-no-dump-was-taken`,
      metric: filter.metric({ statistic: "Sum", period: Duration.days(1) }),
      comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
      threshold: 1,
      evaluationPeriods: days,
      treatMissingData: cloudwatch.TreatMissingData.BREACHING,
    });
    const action = new SnsAction(Topic.fromTopicArn(this, "TicketTopic", resources.ticketTopicArn));
    alarm.addAlarmAction(action);
    alarm.addOkAction(action);
  }
}

/** pgkeep's own schema is not for the reporting login, and is installed anew where a dump is restored. */
function commandOf({ logicalBackups: { task } }: DatabaseConfig): string[] {
  const without = [...new Set([schemaOwner, ...task.excludeSchemas])];
  return ["dump", "create", "--prune", ...without.flatMap((schema) => ["--exclude-schema", schema])];
}

/** Tasks of this account only (Amazon ECS Developer Guide, task IAM role). */
function tasksOf(scope: Construct): iam.IPrincipal {
  const stack = Stack.of(scope);
  return servicePrincipal(
    stack,
    "ecs-tasks.amazonaws.com",
    stack.formatArn({ service: "ecs", resource: "*" }),
  );
}

function assertPossible(
  { key, roles, logicalBackups: { kmsKey, keyFile } }: DatabaseConfig,
  secret: ISecret | undefined,
): void {
  const refuse = (problem: string, remedy: string) =>
    new UsageError(`${key}: ${problem}`, { remedy }, "configuration");
  if (roles.logins === "password" && secret === undefined) {
    throw refuse(
      "logicalBackups.task: the reporting login has a password, and no secret with it was given",
      "give the secret of DatabaseAccess, or set roles.logins to iam",
    );
  }
  if (kmsKey !== undefined && !Token.isUnresolved(kmsKey) && !/^arn:[^:]+:kms:[^:]+:\d+:key\//.test(kmsKey)) {
    throw refuse(
      `logicalBackups.kmsKey: ${kmsKey} is no ARN of a key, and the task's policy names nothing else`,
      "write arn:aws:kms:REGION:ACCOUNT:key/ID",
    );
  }
  if (keyFile !== undefined) {
    throw refuse(
      "logicalBackups.keyFile: the task has no files; its bucket is encrypted",
      "use logicalBackups.kmsKey instead",
    );
  }
}
