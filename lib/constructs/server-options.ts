import { RemovalPolicy } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as kms from "aws-cdk-lib/aws-kms";
import * as logs from "aws-cdk-lib/aws-logs";
import * as rds from "aws-cdk-lib/aws-rds";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { admit } from "./admit.ts";
import { databasePort, identifiersOf } from "./identifiers.ts";
import { allowLogs } from "./log-key.ts";
import type { Network } from "./network.ts";
import { parameterFamily, parametersFor } from "./parameters.ts";
import { freshProps, isRestored, masterUserName } from "./restore-source.ts";

/** The certificate authority whose certificates the servers show; valid until 2061. */
const certificateAuthority = "rds-ca-rsa2048-g1";

/** Seconds between two samples of the operating system's metrics. */
const monitoringSeconds = 60;

/** Days that Performance Insights keeps without charge, and those that the advanced mode of Database Insights demands. */
const insightsDays = { standard: 7, advanced: 465 } as const;

/** What the servers of each topology need around them. */
export interface Surroundings {
  key: kms.IKey;
  /** The database's own group. */
  databaseGroup: ec2.SecurityGroup;
  /** Group of the jobs' Lambdas. */
  clientGroup: ec2.SecurityGroup;
  /** Group for applications that connect directly, to replicas for example. */
  applicationGroup: ec2.SecurityGroup;
  subnetGroup: rds.CfnDBSubnetGroup;
  masterSecret: secretsmanager.Secret;
  monitoringRole: iam.Role;
}

/** Key, security groups, subnet group, master secret and logs of one database. */
export function makeSurroundings(scope: Construct, config: DatabaseConfig, network: Network): Surroundings {
  const names = identifiersOf(config);
  const { kmsKeyArn } = config.database.restoreFrom;
  const key =
    kmsKeyArn === undefined
      ? makeKey(scope, names.base, `pgkeep: data, backups, secrets and logs of ${config.key}`)
      : kms.Key.fromKeyArn(scope, "Key", kmsKeyArn);
  return {
    key,
    ...makeGroups(scope, config, network.vpc),
    subnetGroup: makeSubnetGroup(scope, config, network),
    masterSecret: new secretsmanager.Secret(scope, "MasterSecret", {
      description: `pgkeep: master user of ${config.key}`,
      encryptionKey: key,
      generateSecretString: {
        secretStringTemplate: JSON.stringify({ username: masterUserName }),
        generateStringKey: "password",
        passwordLength: 40,
        excludePunctuation: true,
      },
      // A snapshot keeps the password it was taken with.
      removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    }),
    monitoringRole: makeMonitoringRole(scope),
  };
}

/** A customer key that CloudWatch Logs may use too. */
export function makeKey(scope: Construct, alias: string, description: string): kms.Key {
  const key = new kms.Key(scope, "Key", {
    alias,
    description,
    enableKeyRotation: true,
    // Without its key every snapshot is lost: it outlives the stack.
    removalPolicy: RemovalPolicy.RETAIN,
  });
  allowLogs(key);
  return key;
}

export function makeSubnetGroup(
  scope: Construct,
  config: DatabaseConfig,
  { vpc, subnets }: Pick<Network, "vpc" | "subnets">,
): rds.CfnDBSubnetGroup {
  return new rds.CfnDBSubnetGroup(scope, "Subnets", {
    dbSubnetGroupDescription: `pgkeep: isolated subnets of ${config.key}`,
    subnetIds: vpc.selectSubnets(subnets).subnetIds,
  });
}

export function makeMonitoringRole(scope: Construct): iam.Role {
  return new iam.Role(scope, "MonitoringRole", {
    description: "Lets RDS write the metrics of the operating system to CloudWatch Logs",
    assumedBy: new iam.ServicePrincipal("monitoring.rds.amazonaws.com"),
    managedPolicies: [
      iam.ManagedPolicy.fromAwsManagedPolicyName("service-role/AmazonRDSEnhancedMonitoringRole"),
    ],
  });
}

function makeGroups(scope: Construct, config: DatabaseConfig, vpc: ec2.IVpc) {
  const group = (id: string, description: string) =>
    new ec2.SecurityGroup(scope, id, { vpc, description, allowAllOutbound: false });
  const databaseGroup = group(
    "DatabaseGroup",
    `Database ${config.key}: admits its jobs, proxy and applications`,
  );
  const clientGroup = group("ClientGroup", `Jobs of ${config.key}: reach its database and nothing else`);
  const applicationGroup = group(
    "ApplicationGroup",
    `Applications of ${config.key}: give it to whoever may reach the database or its proxy`,
  );
  for (const [client, who] of [
    [clientGroup, "jobs"],
    [applicationGroup, "applications"],
  ] as const) {
    admit({ to: databaseGroup, from: client, who });
  }
  return { databaseGroup, clientGroup, applicationGroup };
}

/**
 * Log groups under the names that RDS writes to, made before it does so that retention and key are ours.
 * @param kind in whose name RDS writes
 */
export function makeLogGroups(
  scope: Construct,
  key: kms.IKey,
  kind: "instance" | "cluster",
  identifier: string,
  logNames: readonly string[],
): logs.LogGroup[] {
  return logNames.map(
    (name) =>
      new logs.LogGroup(scope, `Log-${identifier}-${name}`, {
        logGroupName: `/aws/rds/${kind}/${identifier}/${name}`,
        encryptionKey: key,
        retention: logs.RetentionDays.THREE_MONTHS,
        removalPolicy: RemovalPolicy.DESTROY,
      }),
  );
}

/** Logs that RDS ships; those of an instance and of a cluster have the same names. */
export const exportedLogs = ["postgresql", "upgrade"] as const;
/** Aurora keeps no log of upgrades. */
export const exportedAuroraLogs = ["postgresql"] as const;

export function parameterMap(config: DatabaseConfig): Record<string, string> {
  return Object.fromEntries(parametersFor(config).map(({ name, value }) => [name, value]));
}

export function parameterGroupProps(config: DatabaseConfig) {
  return {
    description: `pgkeep: ${config.key} on PostgreSQL ${config.database.engineVersion}`,
    family: parameterFamily(config),
    parameters: parameterMap(config),
  };
}

/** What the props of instances need of what stands around. */
type Watched = Pick<Surroundings, "key" | "monitoringRole">;

/** What every RDS instance is given, replica or Aurora instance too. */
export function instanceProps(config: DatabaseConfig, around: Watched) {
  return {
    dbInstanceClass: `db.${config.database.instanceClass}`,
    publiclyAccessible: false,
    // The major version is pinned. Minors follow: AWS retires them, and a pinned one then fails to deploy.
    autoMinorVersionUpgrade: true,
    caCertificateIdentifier: certificateAuthority,
    preferredMaintenanceWindow: config.maintenance.window,
    enablePerformanceInsights: config.database.insights !== "off",
    ...insightsRetention(config, around),
    monitoringInterval: monitoringSeconds,
    monitoringRoleArn: around.monitoringRole.roleArn,
  } satisfies Partial<rds.CfnDBInstanceProps>;
}

function insightsRetention({ database: { insights } }: DatabaseConfig, around: Watched) {
  return insights === "off"
    ? {}
    : {
        performanceInsightsKmsKeyId: around.key.keyArn,
        performanceInsightsRetentionPeriod: insightsDays[insights],
      };
}

/** The mode of Database Insights, said once for an instance or a cluster: Aurora's instances take it from theirs. */
export function insightsMode({ database: { insights } }: DatabaseConfig) {
  return { databaseInsightsMode: insights === "advanced" ? "advanced" : "standard" };
}

/** Database Insights as a cluster takes it. */
export function clusterInsightsProps(config: DatabaseConfig, around: Watched) {
  return {
    performanceInsightsEnabled: config.database.insights !== "off",
    ...insightsRetention(config, around),
    ...insightsMode(config),
  } satisfies Partial<rds.CfnDBClusterProps>;
}

/** What holds the data is given this, instance or cluster. */
export function dataProps(config: DatabaseConfig, around: Surroundings) {
  const { database, backups } = config;
  return {
    engineVersion: database.engineVersion,
    // The default enrols, and bills.
    engineLifecycleSupport: "open-source-rds-extended-support-disabled",
    ...freshProps(config, around),
    masterUserPassword: around.masterSecret.secretValueFromJson("password").unsafeUnwrap(),
    enableIamDatabaseAuthentication: true,
    backupRetentionPeriod: backups.pointInTimeRecoveryDays,
    preferredBackupWindow: backups.window,
    deletionProtection: database.deletionProtection,
    // Point-in-time recovery stays possible for its days after the database is gone.
    deleteAutomatedBackups: false,
  };
}

/** A cluster takes what an instance takes of `instanceProps`, under its own names. */
export function clusterProps(config: DatabaseConfig, around: Surroundings) {
  return {
    dbClusterIdentifier: identifiersOf(config).database,
    ...(isRestored(config) ? {} : { databaseName: config.database.name }),
    port: databasePort,
    copyTagsToSnapshot: true,
    preferredMaintenanceWindow: config.maintenance.window,
    dbSubnetGroupName: around.subnetGroup.ref,
    vpcSecurityGroupIds: [around.databaseGroup.securityGroupId],
  } satisfies Partial<rds.CfnDBClusterProps>;
}

/** The final snapshot is taken when the stack goes and when the resource is replaced. */
export function keepData(resource: rds.CfnDBInstance | rds.CfnDBCluster): void {
  resource.applyRemovalPolicy(RemovalPolicy.SNAPSHOT);
}

/** Monitoring of a Multi-AZ cluster is set on the cluster. */
export function clusterMonitoringProps(config: DatabaseConfig, around: Watched) {
  return {
    ...clusterInsightsProps(config, around),
    monitoringInterval: monitoringSeconds,
    monitoringRoleArn: around.monitoringRole.roleArn,
    autoMinorVersionUpgrade: true,
  } satisfies Partial<rds.CfnDBClusterProps>;
}
