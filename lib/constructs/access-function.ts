import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import type { ISecurityGroup } from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";
import { environmentNames } from "../aws/resources.ts";
import { beyondDefaultsForAccess } from "../config/beyond-defaults.ts";
import { functionEnvironment } from "./function-environment.ts";
import { identifiersOf } from "./identifiers.ts";
import { interfaceStatements } from "./interface-grants.ts";
import type { AccessiblePlatform } from "./platform.ts";
import { explainWildcards, policyDocument } from "./policy.ts";

/** Longer than any lock that an installation or a change of password waits for. */
const timeout = Duration.minutes(5);

export interface AccessFunctionProps {
  platform: AccessiblePlatform;
  /** Ends the function's name. */
  name: string;
  description: string;
  code: lambda.Code;
  securityGroup: ISecurityGroup;
  /** Secrets of the logins, by login. */
  secrets: Readonly<Record<string, ISecret>>;
  /** What it needs beside its logs and its place in the VPC. */
  statements: readonly GrantStatement[];
}

/** A function inside the VPC that works as the master user: sets roles up, or rotates passwords. */
export class AccessFunction extends Construct {
  readonly function: lambda.Function;
  /** Everything that the role allows and denies. */
  readonly statements: readonly GrantStatement[];

  constructor(scope: Construct, id: string, props: AccessFunctionProps) {
    super(scope, id);
    const { platform, securityGroup } = props;
    const functionName = `${identifiersOf(platform.config).base}-${props.name}`;
    const logGroup = new logs.LogGroup(this, "Logs", {
      logGroupName: `/aws/lambda/${functionName}`,
      encryptionKey: platform.encryptionKey,
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.statements = [
      ...props.statements,
      {
        sid: "WriteOwnLogs",
        actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
        resources: [logGroup.logGroupArn],
      },
      ...interfaceStatements(this, {
        functionName,
        vpc: platform.vpc,
        subnets: platform.subnets,
        securityGroup,
      }),
    ];
    const role = new iam.Role(this, "Role", {
      roleName: functionName,
      description: `${props.name} of ${platform.config.key}`,
      assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com"),
      inlinePolicies: { access: policyDocument(this.statements) },
    });
    explainWildcards(role, this.statements);
    this.function = new lambda.Function(this, "Function", {
      functionName,
      description: props.description,
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      handler: "index.handler",
      code: props.code,
      memorySize: 512,
      timeout,
      // Its policy is complete; nothing adds to it from outside.
      role: role.withoutPolicyUpdates(),
      logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      vpc: platform.vpc,
      vpcSubnets: platform.subnets,
      securityGroups: [securityGroup],
      environment: functionEnvironment(this, platform, {
        functionName,
        needs: [],
        config: beyondDefaultsForAccess(platform.config),
        more: {
          [environmentNames.masterSecret]: platform.masterSecret.secretArn,
          [environmentNames.loginSecrets]: Stack.of(this).toJsonString(
            Object.fromEntries(
              Object.entries(props.secrets).map(([login, { secretArn }]) => [login, secretArn]),
            ),
          ),
        },
      }),
    });
    this.function.node.addDependency(role);
  }
}
