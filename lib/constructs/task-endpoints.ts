import { Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import type { Construct } from "constructs";
import { dumpBucketActions, dumpObjectActions } from "./dump-bucket.ts";
import type { TaskNeeds } from "./network.ts";

/** What a task's role and the service that starts it ask each endpoint for. */
const pullActions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/**
 * The interface endpoints that Fargate needs where no route leads out (Amazon ECR User Guide, "Amazon ECR interface
 * VPC endpoints"): for images, logs and, where dumps are sealed with a key of KMS, for that.
 * @returns their security group, which admits nobody yet
 */
export function addTaskEndpoints(
  scope: Construct,
  { vpc, subnets, tasks }: { vpc: ec2.IVpc; subnets: ec2.SubnetSelection; tasks: TaskNeeds },
): ec2.SecurityGroup {
  const stack = Stack.of(scope);
  const group = new ec2.SecurityGroup(scope, "TaskEndpointsGroup", {
    vpc,
    description: "Endpoints for tasks on Fargate: admits the tasks that take logical backups",
    allowAllOutbound: false,
  });
  const add = (id: string, service: ec2.InterfaceVpcEndpointAwsService, allowed: [string[], string[]][]) => {
    const endpoint = new ec2.InterfaceVpcEndpoint(scope, id, {
      vpc,
      service,
      subnets,
      securityGroups: [group],
      privateDnsEnabled: true,
      open: false,
    });
    for (const [actions, resources] of allowed) {
      endpoint.addToPolicy(
        new iam.PolicyStatement({
          principals: [new iam.AnyPrincipal()],
          actions,
          resources,
          conditions: { StringEquals: { "aws:PrincipalAccount": stack.account } },
        }),
      );
    }
  };
  const repositories = stack.formatArn({ service: "ecr", resource: "repository", resourceName: "*" });
  const { ECR, ECR_DOCKER, CLOUDWATCH_LOGS, KMS } = ec2.InterfaceVpcEndpointAwsService;
  add("ImagesEndpoint", ECR, [
    [["ecr:GetAuthorizationToken"], ["*"]],
    [pullActions, [repositories]],
  ]);
  add("RegistryEndpoint", ECR_DOCKER, [
    [["ecr:GetAuthorizationToken"], ["*"]],
    [pullActions, [repositories]],
  ]);
  add("LogsEndpoint", CLOUDWATCH_LOGS, [
    [
      ["logs:CreateLogStream", "logs:PutLogEvents"],
      [stack.formatArn({ service: "logs", resource: "log-group:/pgkeep/*" })],
    ],
  ]);
  if (tasks.keys.length > 0) add("KeysEndpoint", KMS, [[["kms:GenerateDataKey"], [...tasks.keys]]]);
  return group;
}

/** What tasks reach through the gateway of S3: their buckets, and the layers of images, which are in a bucket of AWS. */
export function taskStorageStatements(
  { account, partition, region }: Stack,
  { buckets }: TaskNeeds,
): iam.PolicyStatement[] {
  const statement = (actions: readonly string[], resources: string[], conditions = {}) =>
    new iam.PolicyStatement({
      principals: [new iam.AnyPrincipal()],
      actions: [...actions],
      resources,
      conditions,
    });
  const ownAccount = { StringEquals: { "aws:ResourceAccount": account } };
  return [
    statement(
      dumpObjectActions,
      buckets.map((arn) => `${arn}/*`),
      ownAccount,
    ),
    statement(dumpBucketActions, [...buckets], ownAccount),
    statement(["s3:GetObject"], [`arn:${partition}:s3:::prod-${region}-starport-layer-bucket/*`], {
      StringEquals: { "aws:PrincipalAccount": account },
    }),
  ];
}
