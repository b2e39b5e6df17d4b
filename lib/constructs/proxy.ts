import { Fn, Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as rds from "aws-cdk-lib/aws-rds";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { roleNames } from "../install/role-names.ts";
import { admit } from "./admit.ts";
import { databaseUserArn, grantConnect } from "./grant-connect.ts";
import { identifiersOf } from "./identifiers.ts";
import { maxConnectionsOf } from "./instance-classes.ts";
import type { AccessiblePlatform } from "./platform.ts";
import { policyDocument } from "./policy.ts";
import { decryptSecrets } from "./secret-grants.ts";
import { assertProxyServes, connectionsLeftFree } from "./validate.ts";

/** Logins that come through the proxy. Migrations change session state and hold locks: they connect directly. */
export const proxyLogins = ["app", "reporting"] as const;
export type ProxyLogin = (typeof proxyLogins)[number];

export interface PoolingProxyProps {
  platform: AccessiblePlatform;
  /** Secrets of the logins that may come through; none for IAM end to end. */
  loginSecrets?: readonly ISecret[];
  /** A second, read-only endpoint. Default: where the topology has one. */
  readerEndpoint?: boolean;
}

/**
 * RDS Proxy before the writer: TLS required, clients log in by IAM. With secrets the proxy logs in to the database
 * by password, without by IAM too.
 * @throws UsageError (`configuration`) for what RDS Proxy cannot serve, with the alternative
 */
export class PoolingProxy extends Construct {
  readonly endpoint: string;
  readonly readerEndpoint: string | undefined;
  readonly securityGroup: ec2.ISecurityGroup;
  /** Everything that the proxy's role allows. */
  readonly statements: readonly GrantStatement[];
  /** `prx-…`: what `rds-db:connect` of an application names. */
  readonly resourceId: string;
  readonly #config: DatabaseConfig;

  constructor(scope: Construct, id: string, props: PoolingProxyProps) {
    super(scope, id);
    const { platform, loginSecrets = [] } = props;
    const { config } = platform;
    this.#config = config;
    const readers = props.readerEndpoint ?? config.pooling.readerEndpoint ?? hasReaders(config);
    assertProxyServes(config, readers);
    const names = identifiersOf(config);
    this.securityGroup = this.#makeGroup(platform);
    this.statements = statementsOf(this, platform, loginSecrets);
    const proxy = new rds.CfnDBProxy(this, "Proxy", {
      dbProxyName: names.proxy,
      engineFamily: "POSTGRESQL",
      requireTls: true,
      idleClientTimeout: config.pooling.idleClientTimeoutSeconds,
      // It would log statements with their values.
      debugLogging: false,
      roleArn: this.#makeRole(config).roleArn,
      vpcSubnetIds: platform.vpc.selectSubnets(platform.subnets).subnetIds,
      vpcSecurityGroupIds: [this.securityGroup.securityGroupId],
      ...(loginSecrets.length === 0
        ? { defaultAuthScheme: "IAM_AUTH" }
        : {
            auth: loginSecrets.map(({ secretArn }) => ({
              authScheme: "SECRETS",
              iamAuth: "REQUIRED",
              secretArn,
            })),
          }),
    });
    const targets = new rds.CfnDBProxyTargetGroup(this, "Targets", {
      dbProxyName: proxy.ref,
      // RDS knows no other.
      targetGroupName: "default",
      ...(platform.proxyTarget.instanceIdentifiers === undefined
        ? {}
        : { dbInstanceIdentifiers: platform.proxyTarget.instanceIdentifiers }),
      ...(platform.proxyTarget.clusterIdentifiers === undefined
        ? {}
        : { dbClusterIdentifiers: platform.proxyTarget.clusterIdentifiers }),
      connectionPoolConfigurationInfo: poolLimits(config),
    });
    if (Construct.isConstruct(platform)) targets.node.addDependency(platform);
    this.endpoint = proxy.attrEndpoint;
    this.resourceId = resourceIdOf(proxy.attrDbProxyArn);
    this.readerEndpoint = readers ? this.#addReaderEndpoint(proxy, targets, platform) : undefined;
  }

  /**
   * Lets somebody log in through the proxy as one role, and as no other. The group of applications admits to it.
   * @throws UsageError (`configuration`) for migrations: they connect directly
   */
  grantConnect(grantee: iam.IGrantable, login: ProxyLogin): iam.Grant {
    if (!proxyLogins.includes(login)) {
      throw new UsageError(
        `${this.#config.key}: ${login} cannot log in through the proxy, which serves ${proxyLogins.join(" and ")} only`,
        { remedy: "let it connect directly: the database has grantConnect too" },
        "configuration",
      );
    }
    return grantConnect(this, grantee, [this.resourceId], roleNames(this.#config)[login]);
  }

  #makeGroup(platform: AccessiblePlatform): ec2.SecurityGroup {
    const group = new ec2.SecurityGroup(this, "Group", {
      vpc: platform.vpc,
      description: `Proxy of ${platform.config.key}: admits applications, reaches the database`,
      allowAllOutbound: false,
    });
    admit({ to: platform.databaseSecurityGroup, from: group, who: "the proxy" });
    admit({ to: group, from: platform.applicationSecurityGroup, who: "applications", later: "to" });
    return group;
  }

  #makeRole(config: DatabaseConfig): iam.Role {
    return new iam.Role(this, "Role", {
      description: `Lets the proxy of ${config.key} log in to its database`,
      assumedBy: new iam.ServicePrincipal("rds.amazonaws.com", {
        conditions: { StringEquals: { "aws:SourceAccount": Stack.of(this).account } },
      }),
      inlinePolicies: { logins: policyDocument(this.statements) },
    });
  }

  #addReaderEndpoint(
    proxy: rds.CfnDBProxy,
    targets: rds.CfnDBProxyTargetGroup,
    platform: AccessiblePlatform,
  ): string {
    const endpoint = new rds.CfnDBProxyEndpoint(this, "ReaderEndpoint", {
      dbProxyEndpointName: identifiersOf(platform.config).proxyReader,
      dbProxyName: proxy.ref,
      targetRole: "READ_ONLY",
      vpcSubnetIds: platform.vpc.selectSubnets(platform.subnets).subnetIds,
      vpcSecurityGroupIds: [this.securityGroup.securityGroupId],
    });
    endpoint.node.addDependency(targets);
    return endpoint.attrEndpoint;
  }
}

function hasReaders({ database, replicas }: DatabaseConfig): boolean {
  return database.topology === "aurora" && replicas.count > 0;
}

/**
 * RDS Proxy counts in percent of max_connections, for all logins together; the configuration in connections for
 * each. The pools of application and reporting get theirs, and what has to stay free does.
 */
function poolLimits(config: DatabaseConfig) {
  const { poolSize, reservePoolSize, borrowTimeoutSeconds } = config.pooling;
  const connections = maxConnectionsOf(config);
  const percent = (count: number) => Math.ceil((100 * count) / connections);
  const most = Math.floor((100 * (connections - connectionsLeftFree)) / connections);
  const maxConnectionsPercent = Math.max(1, Math.min(percent(2 * poolSize + reservePoolSize), most));
  return {
    connectionBorrowTimeout: borrowTimeoutSeconds,
    maxConnectionsPercent,
    maxIdleConnectionsPercent: Math.min(percent(poolSize), maxConnectionsPercent),
  };
}

function statementsOf(
  scope: Construct,
  platform: AccessiblePlatform,
  secrets: readonly ISecret[],
): GrantStatement[] {
  if (secrets.length > 0) {
    return [
      {
        sid: "ReadLogins",
        actions: ["secretsmanager:GetSecretValue"],
        resources: secrets.map(({ secretArn }) => secretArn),
      },
      decryptSecrets(scope, platform.encryptionKey),
    ];
  }
  const names = roleNames(platform.config);
  return [
    {
      sid: "ConnectAsLogins",
      actions: ["rds-db:connect"],
      resources: platform.resources.resourceIds.flatMap((resourceId) =>
        proxyLogins.map((login) => databaseUserArn(scope, resourceId, names[login])),
      ),
    },
  ];
}

/** Last part of `arn:aws:rds:region:account:db-proxy:prx-…`. */
function resourceIdOf(arn: string): string {
  return Fn.select(6, Fn.split(":", arn));
}
