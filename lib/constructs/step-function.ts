import { Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import type { GrantStatement, Grants } from "../aws/grants.ts";
import { withoutCovered } from "../aws/grants-covered.ts";
import { jobResourceName } from "../aws/job-names.ts";
import { environmentNames, type PlatformResources, suppressionsFile } from "../aws/resources.ts";
import { beyondDefaults } from "../config/beyond-defaults.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import type { AnyStep, Job } from "../jobs/job.ts";
import type { FilesBeside } from "./bundle.ts";
import { assertCertificates } from "./certificates.ts";
import { functionEnvironment } from "./function-environment.ts";
import { interfaceStatements } from "./interface-grants.ts";
import type { DatabasePlatform } from "./platform.ts";
import { explainWildcards, policyDocument } from "./policy.ts";

/** The longest that a Lambda runs (AWS Lambda quotas). A step that may take longer stops there and says what is left. */
const longestSeconds = 900;

/** Time limit of the function of a step. */
export function functionTimeoutSeconds(step: AnyStep): number {
  return Math.min(step.timeoutSeconds, longestSeconds);
}

/** The bundled code of one step, with the files that it reads beside it; its handler is `index.handler`. */
export type CodeFor = (job: Job, step: AnyStep, beside: FilesBeside) => lambda.Code;

export interface StepFunctionProps {
  platform: DatabasePlatform;
  job: Job;
  step: AnyStep;
  codeFor: CodeFor;
  grants: Grants;
}

/**
 * The Lambda of one step: inside the VPC without a way out for `database` steps, outside it for `control-plane`
 * steps; with a role that allows what the step's ports need and nothing else, and a log group of its own.
 */
export class StepFunction extends Construct {
  readonly function: lambda.Function;
  /** Everything that the role allows and denies. */
  readonly statements: readonly GrantStatement[];

  constructor(scope: Construct, id: string, { platform, job, step, codeFor, grants }: StepFunctionProps) {
    super(scope, id);
    const { resources } = platform;
    if (step.where === "database") assertCertificates(Stack.of(this).region);
    const functionName = functionNameOf(resources.key, job, step);
    const logGroup = new logs.LogGroup(this, "Logs", {
      logGroupName: `/aws/lambda/${functionName}`,
      retention: logs.RetentionDays.THREE_MONTHS,
      encryptionKey: platform.encryptionKey,
      // Runs and reports are recorded in the database; a name that is left behind would stop the next deployment.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.statements = [
      ...portStatements(resources, job, step, grants),
      ...serviceStatements(this, platform, step, functionName, logGroup),
    ];
    const role = new iam.Role(this, "Role", {
      roleName: functionName,
      description: `${job.name}/${step.name} of ${resources.key}`,
      assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com"),
      inlinePolicies: { step: policyDocument(this.statements) },
    });
    explainWildcards(role, this.statements);
    this.function = new lambda.Function(this, "Function", {
      functionName,
      description: `${job.summary} (${step.name})`,
      runtime: lambda.Runtime.NODEJS_24_X,
      architecture: lambda.Architecture.ARM_64,
      handler: "index.handler",
      code: codeFor(job, step, filesBeside(platform.config, step)),
      // A share of a CPU comes with the memory: this much starts in good time, and hashing tables happens in the server.
      memorySize: step.where === "database" ? 512 : 256,
      timeout: Duration.seconds(functionTimeoutSeconds(step)),
      // Its policy is complete; nothing adds to it from outside.
      role: role.withoutPolicyUpdates(),
      logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      tracing: lambda.Tracing.ACTIVE,
      environment: functionEnvironment(this, platform, {
        functionName,
        needs: step.needs,
        config: beyondDefaults(platform.config),
        more: { [environmentNames.job]: job.name, [environmentNames.step]: step.name },
      }),
      ...(job.lock === "required" ? { reservedConcurrentExecutions: 1 } : {}),
      ...(step.where === "database"
        ? {
            vpc: platform.vpc,
            vpcSubnets: platform.subnets,
            securityGroups: [platform.clientSecurityGroup],
          }
        : {}),
    });
    this.function.node.addDependency(role);
  }
}

/** @throws UsageError (`configuration`) when the configuration names a file and came without what is in it */
function filesBeside({ key, review, suppressions }: DatabaseConfig, step: AnyStep): FilesBeside {
  if (step.readsSuppressions !== true || review.suppressions === undefined) return {};
  if (suppressions === undefined) {
    throw new UsageError(
      `${key}: review.suppressions: the content of ${review.suppressions} did not come with the configuration`,
      { remedy: "load the configuration from its file, which reads the files that it names too" },
      "configuration",
    );
  }
  return { [suppressionsFile]: `${JSON.stringify(suppressions, null, 2)}\n` };
}

/** A job with one step has one function, named like the job. */
function functionNameOf(key: string, job: Job, step: AnyStep): string {
  return jobResourceName(key, job.name, job.steps.length === 1 ? undefined : step.name);
}

/** What the step's ports need, each statement once although two ports or logins may ask for it. */
function portStatements(
  resources: PlatformResources,
  job: Job,
  step: AnyStep,
  grants: Grants,
): GrantStatement[] {
  // The run is locked and recorded as the job's role, whatever the step itself logs in as.
  const roles = step.where === "database" ? [...new Set([job.role, step.role ?? job.role])] : [job.role];
  const statements = step.needs.flatMap((need) =>
    roles.flatMap((role) => grants[need](resources, role, step.calls?.[need]).statements),
  );
  const known = new Set<string>();
  const distinct = statements.filter((statement) => {
    const text = JSON.stringify({ ...statement, sid: "" });
    return !known.has(text) && known.add(text);
  });
  return withoutCovered(distinct);
}

/** What Lambda itself needs to run the function: logs, traces, and network interfaces inside the VPC. */
function serviceStatements(
  scope: Construct,
  platform: DatabasePlatform,
  step: AnyStep,
  functionName: string,
  logGroup: logs.ILogGroup,
): GrantStatement[] {
  const statements: GrantStatement[] = [
    {
      sid: "WriteOwnLogs",
      actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
      resources: [logGroup.logGroupArn],
    },
    {
      sid: "SendTraces",
      actions: ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
      resources: ["*"],
      reason: "X-Ray has no resource to name in these calls",
    },
  ];
  return step.where === "database"
    ? [
        ...statements,
        ...interfaceStatements(scope, {
          functionName,
          vpc: platform.vpc,
          subnets: platform.subnets,
          securityGroup: platform.clientSecurityGroup,
        }),
      ]
    : statements;
}
