import { Stack } from "aws-cdk-lib";
import type { ISecurityGroup, IVpc, SubnetSelection } from "aws-cdk-lib/aws-ec2";
import type { Grant, IGrantable } from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { PrivateHostedZone } from "aws-cdk-lib/aws-route53";
import { AttachmentTargetType, type ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import type { PlatformResources } from "../aws/resources.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { roleNames } from "../install/role-names.ts";
import type { PasswordLogin } from "./access.ts";
import { measuredCache } from "./cache.ts";
import { makeAurora } from "./database-aurora.ts";
import { makeInstance } from "./database-instance.ts";
import { makeMultiAzCluster } from "./database-multi-az-cluster.ts";
import { grantConnect } from "./grant-connect.ts";
import { identifiersOf } from "./identifiers.ts";
import type { Network } from "./network.ts";
import type { AccessiblePlatform, MetricDimensions } from "./platform.ts";
import { makeSurroundings, type Surroundings } from "./server-options.ts";
import type { Servers } from "./servers.ts";
import { assertDeployable } from "./validate.ts";

export interface PostgresDatabaseProps {
  config: DatabaseConfig;
  network: Network;
}

const topologies = {
  instance: makeInstance,
  "multi-az-cluster": makeMultiAzCluster,
  aurora: makeAurora,
} as const;

/**
 * PostgreSQL in the topology that the configuration names, with everything that keeps its data: a key of its own,
 * point-in-time recovery, final snapshots, forced TLS, and no way in but from the security groups it offers.
 * @throws UsageError (`configuration`) for what AWS would refuse
 */
export class PostgresDatabase extends Construct implements AccessiblePlatform {
  readonly config: DatabaseConfig;
  readonly resources: PlatformResources;
  readonly vpc: IVpc;
  readonly subnets: SubnetSelection;
  readonly clientSecurityGroup: ISecurityGroup;
  /** For applications that connect directly, to replicas for example. */
  readonly applicationSecurityGroup: ISecurityGroup;
  readonly databaseSecurityGroup: ISecurityGroup;
  readonly endpointSecurityGroup: ISecurityGroup;
  readonly encryptionKey: IKey;
  readonly masterSecret: ISecret;
  readonly metricDimensions: MetricDimensions;
  /** What a proxy may serve. */
  readonly proxyTarget: { instanceIdentifiers?: string[]; clusterIdentifiers?: string[] };

  constructor(scope: Construct, id: string, { config, network }: PostgresDatabaseProps) {
    super(scope, id);
    assertDeployable(config);
    const around = makeSurroundings(this, config, network);
    const servers = topologies[config.database.topology](this, config, around);
    this.config = config;
    this.vpc = network.vpc;
    this.subnets = network.subnets;
    this.clientSecurityGroup = around.clientGroup;
    this.applicationSecurityGroup = around.applicationGroup;
    this.databaseSecurityGroup = around.databaseGroup;
    this.endpointSecurityGroup = network.endpointSecurityGroup;
    this.encryptionKey = around.key;
    this.masterSecret = attachSecret(around, servers);
    this.metricDimensions = {
      ...servers.metricDimensions,
      ...(config.pooling.enabled ? { proxy: { ProxyName: identifiersOf(config).proxy } } : {}),
      ...(config.cache.enabled ? { cache: measuredCache(config) } : {}),
    };
    this.proxyTarget =
      servers.data.kind === "instance"
        ? { instanceIdentifiers: [servers.data.resource.ref] }
        : { clusterIdentifiers: [servers.data.resource.ref] };
    this.resources = this.#describe(around, servers);
  }

  /**
   * Lets somebody log in directly by IAM, to the writer and the readers, as one role and as no other.
   * @throws UsageError (`configuration`) where that role logs in with a password
   */
  grantConnect(grantee: IGrantable, login: PasswordLogin): Grant {
    if (this.config.roles.logins !== "iam") {
      throw new UsageError(
        `${this.config.key}: roles.logins: ${login} logs in to the database with a password, and IAM is refused`,
        { remedy: "set roles.logins to iam, or connect through the proxy: it has grantConnect too" },
        "configuration",
      );
    }
    return grantConnect(this, grantee, this.resources.resourceIds, roleNames(this.config)[login]);
  }

  #describe(around: Surroundings, servers: Servers): PlatformResources {
    const stack = Stack.of(this);
    const { config } = this;
    const names = identifiersOf(config);
    const topic = (resource: string) => stack.formatArn({ service: "sns", resource });
    const readerDns = this.#readerZone();
    return {
      partition: stack.partition,
      account: stack.account,
      region: stack.region,
      key: config.key,
      databaseName: config.database.name,
      topology: config.database.topology,
      primary: servers.primary,
      replicas: servers.replicas,
      resourceIds: servers.resourceIds,
      restore: {
        subnetGroupName: around.subnetGroup.ref,
        securityGroupIds: [around.databaseGroup.securityGroupId],
        parameterGroupName: servers.parameterGroupName,
        instanceClass: `db.${config.database.instanceClass}`,
      },
      kmsKeyArn: around.key.keyArn,
      routingParameterName: names.routingParameter,
      ...(readerDns === undefined ? {} : { readerDns }),
      pageTopicArn: topic(names.pageTopic),
      ticketTopicArn: topic(names.ticketTopic),
      copyToRegions: config.backups.copyToRegions,
    };
  }

  /** Where route-replicas keeps the weighted records; clusters have a reader endpoint of their own. */
  #readerZone(): PlatformResources["readerDns"] {
    if (this.config.database.topology !== "instance" || this.config.replicas.count === 0) return undefined;
    const zone = new PrivateHostedZone(this, "ReaderZone", {
      zoneName: `${identifiersOf(this.config).base}.internal`,
      vpc: this.vpc,
      comment: `pgkeep: replicas of ${this.config.key} that may serve reads now`,
    });
    return { hostedZoneId: zone.hostedZoneId, recordName: `readers.${zone.zoneName}` };
  }
}

/** Adds host, port and engine to the secret: rotation reads them there. */
function attachSecret(around: Surroundings, { data }: Servers): ISecret {
  return around.masterSecret.attach({
    asSecretAttachmentTarget: () => ({
      targetId: data.resource.ref,
      targetType:
        data.kind === "instance" ? AttachmentTargetType.RDS_DB_INSTANCE : AttachmentTargetType.RDS_DB_CLUSTER,
    }),
  });
}
