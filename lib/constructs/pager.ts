import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import { type IAlarmAction, Alarm as MetricAlarm, TreatMissingData } from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { SnsDestination } from "aws-cdk-lib/aws-lambda-destinations";
import * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import type { Alarm } from "../alarms/alarm.ts";
import { type GrantStatement, grants } from "../aws/grants.ts";
import { withoutCovered } from "../aws/grants-covered.ts";
import { environmentNames } from "../aws/resources.ts";
import { beyondDefaults } from "../config/beyond-defaults.ts";
import type { Json } from "../json.ts";
import { functionCode, pagerCode } from "./bundle.ts";
import { assertCertificates } from "./certificates.ts";
import { functionEnvironment } from "./function-environment.ts";
import { identifiersOf } from "./identifiers.ts";
import { interfaceStatements } from "./interface-grants.ts";
import type { DatabasePlatform } from "./platform.ts";
import { explainWildcards, policyDocument } from "./policy.ts";
import type { Topics } from "./topics.ts";

/** Longer than a login and a look, with the start of a function inside a VPC; the other one waits for 15 seconds. */
const lookTimeout = Duration.seconds(14);
/** That wait, sending, and the start of the function. */
const pageTimeout = Duration.seconds(45);

/** So many look at once: a storm of alarms must not take the last connections of a database in need. */
const looksAtOnce = 2;

/** A message that is older than this says nothing about now; the topic gets the event itself then. */
const oldestEvent = Duration.minutes(10);

export interface PagerProps {
  platform: DatabasePlatform;
  alarms: readonly Alarm[];
  topics: Topics;
  runbook: string;
  /** By default the bundles of this package. */
  code?: { look: lambda.Code; page: lambda.Code } | undefined;
}

/**
 * What alarms invoke instead of a topic: a function outside the VPC that has one inside it look at the database, and
 * tells people what was found. An event that it cannot tell goes to the topic for pages as it is; its failures have
 * an alarm of their own, which goes there directly.
 */
export class Pager extends Construct {
  /** For every alarm of the database, whatever its severity. */
  readonly action: IAlarmAction;
  readonly look: lambda.Function;
  readonly page: lambda.Function;

  constructor(scope: Construct, id: string, props: PagerProps) {
    super(scope, id);
    const { platform, topics } = props;
    const { base } = identifiersOf(platform.config);
    const setting = settingOf(props);
    const code = props.code ?? { look: functionCode("look", platform.config.key), page: pagerCode(setting) };
    assertCertificates(Stack.of(this).region);
    this.look = this.lookFunction(`${base}-look`, platform, code.look);
    this.page = this.pageFunction(`${base}-page`, props, code.page);
    const { account } = Stack.of(this);
    this.page.addPermission("Alarms", {
      principal: new iam.ServicePrincipal("lambda.alarms.cloudwatch.amazonaws.com"),
      sourceAccount: account,
      // One for all alarms: a function's policy has no room for one of each.
      sourceArn: this.alarmArns(base),
    });
    this.action = { bind: () => ({ alarmActionArn: this.page.functionArn }) };
    const failed = new MetricAlarm(this, "Failed", {
      alarmName: `${base}-pager-failed`,
      alarmDescription: `${platform.config.key}: the function that explains alarms fails; alarms arrive as CloudWatch writes them. Its log says why: /aws/lambda/${base}-page`,
      metric: this.page.metricErrors({ period: Duration.minutes(5), statistic: "Sum" }),
      threshold: 1,
      evaluationPeriods: 1,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    failed.addAlarmAction(new SnsAction(topics.page));
    failed.addOkAction(new SnsAction(topics.page));
  }

  private lookFunction(functionName: string, platform: DatabasePlatform, code: lambda.Code): lambda.Function {
    const { resources, vpc, subnets, clientSecurityGroup: securityGroup } = platform;
    const logIn = [grants.primary(resources, "monitoring"), grants.replicas(resources, "monitoring")];
    return this.function("Look", functionName, platform, {
      code,
      description: "Looks for the cause of an alarm in the database",
      memorySize: 512,
      timeout: lookTimeout,
      reservedConcurrentExecutions: looksAtOnce,
      vpc,
      vpcSubnets: subnets,
      securityGroups: [securityGroup],
      environment: functionEnvironment(this, platform, {
        functionName,
        needs: ["primary", "replicas"],
        config: beyondDefaults(platform.config),
        more: {},
      }),
      statements: [
        ...withoutCovered(logIn.flatMap(({ statements }) => statements)),
        ...interfaceStatements(this, { functionName, vpc, subnets, securityGroup }),
      ],
    });
  }

  private pageFunction(
    functionName: string,
    { platform, topics }: PagerProps,
    code: lambda.Code,
  ): lambda.Function {
    const { region, pageTopicArn, ticketTopicArn } = platform.resources;
    const { base } = identifiersOf(platform.config);
    return this.function("Page", functionName, platform, {
      code,
      description: "Tells people of alarms, with what a look at the database found",
      memorySize: 256,
      timeout: pageTimeout,
      maxEventAge: oldestEvent,
      // A minute later, once; then the topic gets the event itself.
      retryAttempts: 1,
      onFailure: new SnsDestination(topics.page),
      environment: {
        [environmentNames.resources]: Stack.of(this).toJsonString({ region, pageTopicArn, ticketTopicArn }),
        [environmentNames.lookFunction]: this.look.functionArn,
      },
      statements: [
        { sid: "Tell", actions: ["sns:Publish"], resources: [topics.page.topicArn, topics.ticket.topicArn] },
        { sid: "AskForALook", actions: ["lambda:InvokeFunction"], resources: [this.look.functionArn] },
        {
          sid: "ReadValues",
          actions: ["cloudwatch:DescribeAlarms"],
          resources: [this.alarmArns(base)],
          reason:
            "the database has too many alarms to name each; it reads the value behind a composite alarm",
        },
      ],
    });
  }

  private function(
    id: string,
    functionName: string,
    platform: DatabasePlatform,
    {
      statements,
      ...props
    }: Omit<lambda.FunctionProps, "runtime" | "handler"> & { statements: readonly GrantStatement[] },
  ): lambda.Function {
    const place = new Construct(this, id);
    const logGroup = new logs.LogGroup(place, "Logs", {
      logGroupName: `/aws/lambda/${functionName}`,
      retention: logs.RetentionDays.THREE_MONTHS,
      encryptionKey: platform.encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const all: GrantStatement[] = [
      ...statements,
      {
        sid: "WriteOwnLogs",
        actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
        resources: [logGroup.logGroupArn],
      },
    ];
    const role = new iam.Role(place, "Role", {
      roleName: functionName,
      description: `${functionName}: ${props.description ?? ""}`,
      assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com"),
      inlinePolicies: { pager: policyDocument(all) },
    });
    explainWildcards(role, all);
    const made = new lambda.Function(place, "Function", {
      ...props,
      functionName,
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      handler: "index.handler",
      // Its policy is complete; nothing adds to it from outside.
      role: role.withoutPolicyUpdates(),
      logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
    });
    made.node.addDependency(role);
    return made;
  }

  private alarmArns(base: string): string {
    const { account, partition, region } = Stack.of(this);
    return `arn:${partition}:cloudwatch:${region}:${account}:alarm:${base}-*`;
  }
}

/** What becomes a part of the function's code: a change of a limit changes it, and nothing of other databases. */
function settingOf({ platform: { config }, alarms, runbook }: PagerProps): Json {
  const { key, database, roles } = config;
  const setting = {
    config: {
      key,
      database: { name: database.name },
      roles: roles.prefix === undefined ? {} : { prefix: roles.prefix },
    },
    alarms: alarms.map(({ source: _, why: __, ...told }) => told),
    runbook,
  };
  return JSON.parse(JSON.stringify(setting)) as Json;
}
