import type { ISecurityGroup, IVpc, SubnetSelection } from "aws-cdk-lib/aws-ec2";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import type { PlatformResources } from "../aws/resources.ts";
import type { DatabaseConfig } from "../config/schema.ts";

/** One server as CloudWatch names it: the dimensions of its metrics in AWS/RDS, with lower-cased identifiers. */
export interface MeasuredServer {
  /** `primary`, `replica-1`, …: the names that routing and pgkeep's own metrics use. */
  name: string;
  dimensions: Record<string, string>;
}

/** Dimensions under which CloudWatch keeps the metrics of one database. Values may be CDK tokens. */
export interface MetricDimensions {
  /** `DBInstanceIdentifier` of the writer; of a cluster, `DBClusterIdentifier` and `Role: WRITER`. */
  primary: Record<string, string>;
  replicas: MeasuredServer[];
  /** `DBClusterIdentifier`; absent for an instance. */
  cluster?: Record<string, string>;
  /** `ProxyName`; absent without a proxy. */
  proxy?: Record<string, string>;
  /** `CacheClusterId` of each node, `node-1` first; absent without a cache. */
  cache?: MeasuredServer[];
}

/** What the database construct offers to the constructs of access, jobs and alarms. */
export interface DatabasePlatform {
  readonly config: DatabaseConfig;
  /** What jobs are told; its strings may be CDK tokens. */
  readonly resources: PlatformResources;
  readonly vpc: IVpc;
  /** Isolated subnets, without any route out. */
  readonly subnets: SubnetSelection;
  /** The Lambdas of jobs get this security group; the database admits it. */
  readonly clientSecurityGroup: ISecurityGroup;
  readonly encryptionKey: IKey;
  readonly metricDimensions: MetricDimensions;
}

/** What else the constructs of access need: whoever sets roles up, and the proxy. */
export interface AccessiblePlatform extends DatabasePlatform {
  /** Of the master user, with host and port. */
  readonly masterSecret: ISecret;
  readonly databaseSecurityGroup: ISecurityGroup;
  /** For applications: admitted to the database and its proxy. */
  readonly applicationSecurityGroup: ISecurityGroup;
  /** Of the endpoint for Secrets Manager. */
  readonly endpointSecurityGroup: ISecurityGroup;
  /** What a proxy serves: exactly one identifier. */
  readonly proxyTarget: { instanceIdentifiers?: string[]; clusterIdentifiers?: string[] };
}
