import { Fn, RemovalPolicy, Stack, Validations } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as kms from "aws-cdk-lib/aws-kms";
import * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import type { Config } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { bucketActions, objectActions } from "./files-bucket.ts";
import { allowLogs } from "./log-key.ts";
import { addTaskEndpoints, taskStorageStatements } from "./task-endpoints.ts";

/** The part of a network that databases live in. */
export interface Network {
  readonly vpc: ec2.IVpc;
  /** Subnets without any route out, in at least two zones. */
  readonly subnets: ec2.SubnetSelection;
  /**
   * Security group of the endpoint for Secrets Manager. Whoever sets roles up or rotates passwords is admitted
   * by its own security group; nobody else is.
   */
  readonly endpointSecurityGroup: ec2.ISecurityGroup;
  /** Of the endpoints that tasks on Fargate start through; absent without such tasks, and in a VPC of others. */
  readonly taskEndpointSecurityGroup?: ec2.ISecurityGroup | undefined;
}

/** What tasks on Fargate reach from the isolated subnets. */
export interface TaskNeeds {
  /** ARNs of the buckets that they read and write. */
  buckets: readonly string[];
  /** ARNs of keys of KMS that they ask for data keys. */
  keys: readonly string[];
}

type SubnetsConfig = Pick<
  Config["network"],
  "cidr" | "availabilityZones" | "existingVpcId" | "existingSubnetIds"
>;

export interface IsolatedSubnetsProps {
  config: SubnetsConfig;
  /** ARNs of the only buckets that the gateway of S3 leads to. Default: every one of this account named pgkeep-… */
  buckets?: readonly string[];
  /** Default: no tasks run there. */
  tasks?: TaskNeeds | undefined;
  /** Path of the section in the configuration, for messages. Default `network`. */
  path?: string;
}

/**
 * Isolated subnets and nothing that leads out: no NAT, no internet gateway; the gateway endpoint of S3. With
 * `existingVpcId`, the VPC and subnets that are named; nothing is looked up, so synthesis needs no credentials.
 */
export class IsolatedSubnets extends Construct {
  readonly vpc: ec2.IVpc;
  readonly subnets: ec2.SubnetSelection;

  constructor(
    scope: Construct,
    id: string,
    { config, buckets = [], tasks, path = "network" }: IsolatedSubnetsProps,
  ) {
    super(scope, id);
    this.vpc =
      config.existingVpcId === undefined
        ? this.#make(config, buckets, tasks)
        : this.#adopt(config.existingVpcId, config, path);
    this.subnets = { subnets: this.vpc.isolatedSubnets };
  }

  #make(config: SubnetsConfig, buckets: readonly string[], tasks: TaskNeeds | undefined): ec2.IVpc {
    const vpc = new ec2.Vpc(this, "Vpc", {
      ipAddresses: ec2.IpAddresses.cidr(config.cidr),
      maxAzs: config.availabilityZones,
      natGateways: 0,
      createInternetGateway: false,
      // The default group admits only itself, nothing here uses it, and closing it would take a Lambda.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [{ name: "database", subnetType: ec2.SubnetType.PRIVATE_ISOLATED }],
    });
    const endpoint = vpc.addGatewayEndpoint("Storage", { service: ec2.GatewayVpcEndpointAwsService.S3 });
    // What a compromised function could reach through it: buckets of this account that are pgkeep's, nothing else.
    for (const statement of this.#reachable(buckets)) endpoint.addToPolicy(statement);
    if (tasks !== undefined) {
      for (const statement of taskStorageStatements(Stack.of(this), tasks)) endpoint.addToPolicy(statement);
    }
    this.#logFlows(vpc);
    return vpc as ec2.IVpc;
  }

  #reachable(buckets: readonly string[]): iam.PolicyStatement[] {
    const ownAccount = { StringEquals: { "aws:ResourceAccount": Stack.of(this).account } };
    const allow = (actions: string[], resources: string[]) =>
      new iam.PolicyStatement({
        principals: [new iam.AnyPrincipal()],
        actions,
        resources,
        conditions: ownAccount,
      });
    if (buckets.length === 0) {
      const all = Stack.of(this).formatArn({ service: "s3", region: "", account: "", resource: "pgkeep-*" });
      return [allow(["s3:GetObject", "s3:PutObject"], [all])];
    }
    return [
      allow(
        objectActions,
        buckets.map((arn) => `${arn}/*`),
      ),
      allow(bucketActions, [...buckets]),
    ];
  }

  #adopt(vpcId: string, { existingSubnetIds: subnetIds }: SubnetsConfig, path: string): ec2.IVpc {
    if (subnetIds.length < 2) {
      throw new UsageError(
        `${path}.existingSubnetIds: ${vpcId} is to be used, and ${subnetIds.length} of its subnets are named`,
        { remedy: "name at least 2 isolated subnets, in zones of their own" },
        "configuration",
      );
    }
    Validations.of(this).acknowledge({
      id: "@aws-cdk/aws-ec2:noSubnetRouteTableId",
      reason: "Nothing here routes: the VPC's owner keeps its route tables",
    });
    return ec2.Vpc.fromVpcAttributes(this, "Vpc", {
      vpcId,
      // Only their number matters: nothing here is placed by the name of a zone.
      availabilityZones: subnetIds.map((_, index) => Fn.select(index, Fn.getAzs())),
      isolatedSubnetIds: subnetIds,
    });
  }

  /** Refused connections are what tells of an attempt, and of a forgotten rule. */
  #logFlows(vpc: ec2.Vpc): void {
    const key = new kms.Key(this, "LogKey", {
      description: "pgkeep: logs of the network",
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    allowLogs(key);
    const group = new logs.LogGroup(this, "FlowLog", {
      encryptionKey: key,
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    vpc.addFlowLog("Flows", {
      destination: ec2.FlowLogDestination.toCloudWatchLogs(group),
      trafficType: ec2.FlowLogTrafficType.REJECT,
    });
  }
}

export interface IsolatedNetworkProps {
  config: Config["network"];
  /** ARNs of the only buckets that the gateway of S3 leads to. Default: every one of this account named pgkeep-… */
  buckets?: readonly string[];
  /** Default: no tasks run there. */
  tasks?: TaskNeeds | undefined;
}

/** The network of databases with their jobs: isolated subnets with one interface endpoint, for Secrets Manager. */
export class IsolatedNetwork extends IsolatedSubnets implements Network {
  readonly endpointSecurityGroup: ec2.ISecurityGroup;
  readonly taskEndpointSecurityGroup: ec2.ISecurityGroup | undefined;

  constructor(scope: Construct, id: string, props: IsolatedNetworkProps) {
    super(scope, id, props);
    const { existingEndpointSecurityGroupId: existing } = props.config;
    this.endpointSecurityGroup =
      existing === undefined
        ? this.#addSecretsEndpoint()
        : ec2.SecurityGroup.fromSecurityGroupId(this, "EndpointSecurityGroup", existing);
    this.taskEndpointSecurityGroup =
      props.tasks === undefined || props.config.existingVpcId !== undefined
        ? undefined
        : addTaskEndpoints(this, { vpc: this.vpc, subnets: this.subnets, tasks: props.tasks });
  }

  #addSecretsEndpoint(): ec2.SecurityGroup {
    const group = new ec2.SecurityGroup(this, "SecretsEndpointGroup", {
      vpc: this.vpc,
      description: "Endpoint for Secrets Manager: admits who sets roles up and rotates passwords",
      allowAllOutbound: false,
    });
    const endpoint = new ec2.InterfaceVpcEndpoint(this, "SecretsEndpoint", {
      vpc: this.vpc,
      service: ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
      subnets: this.subnets,
      securityGroups: [group],
      privateDnsEnabled: true,
      open: false,
    });
    endpoint.addToPolicy(
      new iam.PolicyStatement({
        principals: [new iam.AnyPrincipal()],
        actions: [
          "secretsmanager:DescribeSecret",
          "secretsmanager:GetSecretValue",
          "secretsmanager:PutSecretValue",
          "secretsmanager:UpdateSecretVersionStage",
        ],
        resources: ["*"],
        conditions: { StringEquals: { "aws:PrincipalAccount": Stack.of(this).account } },
      }),
    );
    return group;
  }
}
