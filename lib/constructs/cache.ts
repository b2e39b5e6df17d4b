import { RemovalPolicy, Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import { SecurityGroup } from "aws-cdk-lib/aws-ec2";
import * as elasticache from "aws-cdk-lib/aws-elasticache";
import * as iam from "aws-cdk-lib/aws-iam";
import * as kms from "aws-cdk-lib/aws-kms";
import * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { cacheNodes } from "../alarms/cache.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { admit } from "./admit.ts";
import { identifiersOf } from "./identifiers.ts";
import { allowLogs } from "./log-key.ts";
import type { AccessiblePlatform, MeasuredServer } from "./platform.ts";

/** TCP port of every cache. */
export const cachePort = 6379;

/**
 * What an application may do: everything with keys, nothing that stops others (KEYS, FLUSHALL, CONFIG, …). INFO is
 * dangerous to ACLs too, and clients ask for it when they connect.
 */
const accessString = "on ~* &* +@all -@dangerous +info";

/** The nodes of a database's cache as CloudWatch names them. */
export function measuredCache(config: DatabaseConfig): MeasuredServer[] {
  return cacheNodes(config).map(({ name }, index) => ({
    name,
    dimensions: { CacheClusterId: identifiersOf(config).cacheNode(index + 1) },
  }));
}

export interface ValkeyCacheProps {
  platform: Pick<AccessiblePlatform, "config" | "vpc" | "subnets" | "applicationSecurityGroup">;
}

/**
 * ElastiCache for Valkey beside a database: TLS required, encrypted with a key of its own, in isolated subnets,
 * admitting the database's applications only. They log in as one user by IAM; no other user exists, and none has a
 * password.
 */
export class ValkeyCache extends Construct {
  /** Host for writing. */
  readonly endpoint: string;
  /** Host for reading; without replicas the primary's. */
  readonly readerEndpoint: string;
  readonly port = cachePort;
  /** Whom applications log in as, with an IAM token for the replication group as password. */
  readonly userName: string;
  readonly replicationGroupId: string;
  readonly securityGroup: ec2.ISecurityGroup;
  readonly encryptionKey: kms.IKey;

  constructor(scope: Construct, id: string, { platform }: ValkeyCacheProps) {
    super(scope, id);
    const { config } = platform;
    const names = identifiersOf(config);
    this.replicationGroupId = names.cache;
    this.userName = names.cacheUser;
    const key = this.#makeKey(config);
    this.encryptionKey = key;
    this.securityGroup = this.#makeGroup(platform);
    const group = new elasticache.CfnReplicationGroup(this, "Group", {
      ...serverProps(config),
      replicationGroupId: names.cache,
      replicationGroupDescription: `pgkeep: cache of ${config.key}`,
      port: cachePort,
      cacheSubnetGroupName: this.#makeSubnets(platform),
      cacheParameterGroupName: this.#makeParameters(config),
      securityGroupIds: [this.securityGroup.securityGroupId],
      transitEncryptionEnabled: true,
      transitEncryptionMode: "required",
      atRestEncryptionEnabled: true,
      kmsKeyId: key.keyArn,
      userGroupIds: [this.#makeUsers(config)],
      logDeliveryConfigurations: [this.#deliverLog(config, key)],
    });
    group.applyRemovalPolicy(
      config.cache.snapshotRetentionDays > 0 ? RemovalPolicy.SNAPSHOT : RemovalPolicy.DESTROY,
    );
    this.endpoint = group.attrPrimaryEndPointAddress;
    this.readerEndpoint =
      config.cache.replicas > 0 ? group.attrReaderEndPointAddress : group.attrPrimaryEndPointAddress;
  }

  /** Lets an application log in: by IAM, as the one user, to this cache. It also needs the security group. */
  grantConnect(grantee: iam.IGrantable): iam.Grant {
    const arn = (resource: string, resourceName: string) =>
      Stack.of(this).formatArn({
        service: "elasticache",
        resource: `${resource}:${resourceName}`,
      });
    return iam.Grant.addToPrincipal({
      grantee,
      actions: ["elasticache:Connect"],
      resourceArns: [arn("replicationgroup", this.replicationGroupId), arn("user", this.userName)],
    });
  }

  #makeKey({ key: name }: DatabaseConfig): kms.Key {
    const key = new kms.Key(this, "Key", {
      alias: `${this.replicationGroupId}-cache`,
      description: `pgkeep: cache of ${name}, its snapshots and log`,
      enableKeyRotation: true,
      // Without its key every snapshot is lost.
      removalPolicy: RemovalPolicy.RETAIN,
    });
    allowLogs(key);
    return key;
  }

  #makeGroup({ config, vpc, applicationSecurityGroup }: ValkeyCacheProps["platform"]): SecurityGroup {
    const group = new SecurityGroup(this, "SecurityGroup", {
      vpc,
      description: `Cache of ${config.key}: admits its applications`,
      allowAllOutbound: false,
    });
    admit({
      to: group,
      from: applicationSecurityGroup,
      who: "applications of the cache",
      port: cachePort,
      later: "to",
    });
    return group;
  }

  #makeSubnets({ config, vpc, subnets }: ValkeyCacheProps["platform"]): string {
    return new elasticache.CfnSubnetGroup(this, "Subnets", {
      description: `pgkeep: isolated subnets of ${config.key}`,
      subnetIds: vpc.selectSubnets(subnets).subnetIds,
    }).ref;
  }

  #makeParameters({ key, cache }: DatabaseConfig): string {
    return new elasticache.CfnParameterGroup(this, "Parameters", {
      cacheParameterGroupFamily: `valkey${cache.engineVersion.split(".")[0]}`,
      description: `pgkeep: cache of ${key}`,
      properties: { "maxmemory-policy": cache.maxMemoryPolicy },
    }).ref;
  }

  /** A user group of Valkey needs no user `default`, and takes none that logs in without anything. */
  #makeUsers(config: DatabaseConfig): string {
    const user = new elasticache.CfnUser(this, "User", {
      engine: "valkey",
      userId: this.userName,
      // With IAM both are the same.
      userName: this.userName,
      authenticationMode: { Type: "iam" },
      accessString,
    });
    return new elasticache.CfnUserGroup(this, "Users", {
      engine: "valkey",
      userGroupId: identifiersOf(config).cache,
      userIds: [user.ref],
    }).ref;
  }

  #deliverLog(config: DatabaseConfig, key: kms.IKey) {
    const group = new logs.LogGroup(this, "EngineLog", {
      // Under this prefix the service adds no policy of its own for each group; an account has room for ten.
      logGroupName: `/aws/vendedlogs/elasticache/${identifiersOf(config).cache}/engine`,
      encryptionKey: key,
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    return {
      logType: "engine-log",
      logFormat: "json",
      destinationType: "cloudwatch-logs",
      destinationDetails: { cloudWatchLogsDetails: { logGroup: group.logGroupName } },
    };
  }
}

function serverProps({ cache }: DatabaseConfig) {
  const standby = cache.replicas > 0;
  return {
    engine: "valkey",
    engineVersion: cache.engineVersion,
    cacheNodeType: `cache.${cache.nodeType}`,
    clusterMode: "disabled",
    numCacheClusters: 1 + cache.replicas,
    automaticFailoverEnabled: standby,
    multiAzEnabled: standby,
    autoMinorVersionUpgrade: true,
    preferredMaintenanceWindow: cache.maintenanceWindow,
    snapshotRetentionLimit: cache.snapshotRetentionDays,
    ...(cache.snapshotRetentionDays > 0 ? { snapshotWindow: cache.snapshotWindow } : {}),
  } satisfies Partial<elasticache.CfnReplicationGroupProps>;
}
