import { ArnFormat, Stack, Validations } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as rds from "aws-cdk-lib/aws-rds";
import { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { admit } from "./admit.ts";
import { databasePort, identifiersOf } from "./identifiers.ts";
import { affordableConnections, maxConnectionsOf } from "./instance-classes.ts";
import type { Network } from "./network.ts";
import type { MeasuredServer } from "./platform.ts";
import {
  exportedLogs,
  insightsMode,
  instanceProps,
  keepData,
  makeKey,
  makeLogGroups,
  makeMonitoringRole,
  makeSubnetGroup,
  parameterGroupProps,
} from "./server-options.ts";

export interface RecoveryReplicaProps {
  config: DatabaseConfig;
  /** Isolated subnets in the region of the replica. */
  network: Pick<Network, "vpc" | "subnets">;
  /** Region of the database that it follows. */
  sourceRegion: string;
}

/**
 * A replica of an instance in the region of its stack, with a key, a network and parameters of its own there: what
 * is left when the other region is lost. With `replicas.disasterRecovery.promoted` it is a database of its own, with
 * a standby and backups.
 * @throws UsageError (`configuration`) when its class has no memory for the connections of the primary
 */
export class RecoveryReplica extends Construct {
  readonly resource: rds.CfnDBInstance;
  /** For applications: admitted to the replica. */
  readonly applicationSecurityGroup: ec2.ISecurityGroup;
  readonly measured: MeasuredServer;

  constructor(scope: Construct, id: string, { config, network, sourceRegion }: RecoveryReplicaProps) {
    super(scope, id);
    const own = configOfReplica(config);
    const { promoted } = config.replicas.disasterRecovery;
    const names = identifiersOf(config);
    const identifier = names.recovery;
    const key = makeKey(this, identifier, `pgkeep: the replica of ${config.key} for disaster recovery`);
    const groups = this.#makeGroups(config, network.vpc);
    this.resource = new rds.CfnDBInstance(this, "Replica", {
      ...instanceProps(own, { key, monitoringRole: makeMonitoringRole(this) }),
      ...insightsMode(own),
      dbInstanceIdentifier: identifier,
      // Without it CloudFormation promotes. What else says where it came from stays, or it would be replaced.
      ...(promoted ? {} : { sourceDbInstanceIdentifier: this.#sourceArn(names.database, sourceRegion) }),
      sourceRegion,
      kmsKeyId: key.keyArn,
      dbParameterGroupName: new rds.CfnDBParameterGroup(this, "Parameters", parameterGroupProps(own)).ref,
      dbSubnetGroupName: makeSubnetGroup(this, config, network).ref,
      vpcSecurityGroups: [groups.database.securityGroupId],
      enableIamDatabaseAuthentication: true,
      enableCloudwatchLogsExports: [...exportedLogs],
      copyTagsToSnapshot: true,
      port: String(databasePort),
      storageType: "gp3",
      ...(own.database.maxStorageGigabytes > own.database.storageGigabytes
        ? { maxAllocatedStorage: own.database.maxStorageGigabytes }
        : {}),
      deletionProtection: config.database.deletionProtection,
      ...(promoted
        ? {
            multiAz: true,
            backupRetentionPeriod: config.backups.pointInTimeRecoveryDays,
            preferredBackupWindow: config.backups.window,
            deleteAutomatedBackups: false,
          }
        : {}),
    });
    // Heeded once it is promoted: before, it holds nothing of its own.
    keepData(this.resource);
    this.resource.node.addDependency(...makeLogGroups(this, key, "instance", identifier, exportedLogs));
    explain(this.resource, promoted);
    this.applicationSecurityGroup = groups.application;
    this.measured = { name: "recovery", dimensions: { DBInstanceIdentifier: identifier } };
  }

  #sourceArn(identifier: string, region: string): string {
    return Stack.of(this).formatArn({
      service: "rds",
      region,
      resource: "db",
      resourceName: identifier,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
  }

  #makeGroups({ key }: DatabaseConfig, vpc: ec2.IVpc) {
    const group = (id: string, description: string) =>
      new ec2.SecurityGroup(this, id, { vpc, description, allowAllOutbound: false });
    const database = group("DatabaseGroup", `Replica of ${key}: admits applications`);
    const application = group("ApplicationGroup", `Applications of ${key} that may reach its replica here`);
    admit({ to: database, from: application, who: "applications" });
    return { database, application };
  }
}

/** The configuration as the replica has it: its class, and as many connections as the primary, or it would stop. */
function configOfReplica(config: DatabaseConfig): DatabaseConfig {
  const { instanceClass = config.database.instanceClass } = config.replicas.disasterRecovery;
  const maxConnections = maxConnectionsOf(config);
  const own: DatabaseConfig = {
    ...config,
    database: { ...config.database, instanceClass, maxConnections },
  };
  const affordable = affordableConnections(own);
  if (maxConnections > affordable) {
    throw new UsageError(
      `${config.key}: replicas.disasterRecovery.instanceClass: ${instanceClass} has memory for ${affordable} connections, and a replica must take the ${maxConnections} of its primary`,
      { remedy: "choose a larger class, or set database.maxConnections to what both have memory for" },
      "configuration",
    );
  }
  return own;
}

function explain(resource: rds.CfnDBInstance, promoted: boolean): void {
  const reasons: Record<string, string> = {
    RDS2: "A replica of an encrypted database is encrypted, here with the key that is named",
    RDS11: "Only named security groups reach the port; another number would hide nothing from them",
    ...(promoted ? {} : { RDS3: "It stands by for a region; promoted it gets a standby of its own" }),
  };
  for (const [rule, reason] of Object.entries(reasons)) {
    Validations.of(resource).acknowledge({ id: `AwsSolutions-${rule}`, reason });
  }
}
