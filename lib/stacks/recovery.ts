import { CfnOutput, Duration, Fn, Stack, type StackProps } from "aws-cdk-lib";
import { Alarm, ComparisonOperator, Metric, TreatMissingData } from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import type { Construct } from "constructs";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import { identifiersOf } from "../constructs/identifiers.ts";
import { IsolatedSubnets } from "../constructs/network.ts";
import type { MeasuredServer } from "../constructs/platform.ts";
import { RecoveryReplica } from "../constructs/recovery-replica.ts";
import { Topics } from "../constructs/topics.ts";

export interface RecoveryStackProps extends StackProps {
  config: DatabaseConfig;
  /** Region of the database that the replica follows. */
  sourceRegion: string;
  availabilityZones: number;
}

/** The replica of one database in another region, and the network that it stands in there. */
export class RecoveryStack extends Stack {
  readonly replica: RecoveryReplica;
  readonly #zones: number;

  constructor(scope: Construct, id: string, props: RecoveryStackProps) {
    const { config, sourceRegion, availabilityZones, ...stackProps } = props;
    super(scope, id, { terminationProtection: config.database.deletionProtection, ...stackProps });
    this.#zones = availabilityZones;
    const network = new IsolatedSubnets(this, "Network", {
      config: { ...config.replicas.disasterRecovery, availabilityZones },
      path: `${config.key}: replicas.disasterRecovery`,
    });
    this.replica = new RecoveryReplica(this, "Database", { config, network, sourceRegion });
    new CfnOutput(this, "Endpoint", {
      description: `Host of the replica of ${config.key}`,
      value: this.replica.resource.attrEndpointAddress,
    });
    new CfnOutput(this, "Clients", {
      description: "Security group for whoever may reach it",
      value: this.replica.applicationSecurityGroup.securityGroupId,
    });
  }

  /** By number, as in the stack of the network at home. */
  override get availabilityZones(): string[] {
    return Array.from({ length: this.#zones }, (_, index) => Fn.select(index, Fn.getAzs()));
  }
}

export interface RecoveryObservabilityStackProps extends StackProps {
  config: DatabaseConfig;
  notifications: Config["notifications"];
  replica: MeasuredServer;
  runbook?: string;
}

/** Alarms on the replica in another region: CloudWatch evaluates where the metrics are. */
export class RecoveryObservabilityStack extends Stack {
  constructor(scope: Construct, id: string, props: RecoveryObservabilityStackProps) {
    const { config, notifications, replica, runbook = "docs/runbook.md", ...stackProps } = props;
    super(scope, id, stackProps);
    const topics = new Topics(this, "Topics", { databaseKey: config.key, notifications });
    const { base } = identifiersOf(config);
    const lag = new Metric({
      namespace: "AWS/RDS",
      metricName: "ReplicaLag",
      dimensionsMap: replica.dimensions,
      statistic: "Maximum",
      period: Duration.minutes(1),
    });
    const common = { metric: lag, evaluationPeriods: 10 };
    const stopped = new Alarm(this, "Stopped", {
      ...common,
      alarmName: `${base}-recovery-stopped`,
      alarmDescription: `${config.key}: replication to the other region has stopped. Runbook: ${runbook}#replication-stopped`,
      threshold: 0,
      comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
      treatMissingData: TreatMissingData.BREACHING,
    });
    const behind = new Alarm(this, "Behind", {
      ...common,
      alarmName: `${base}-recovery-behind`,
      alarmDescription: `${config.key}: the replica in the other region is too far behind. Runbook: ${runbook}#replica-lag`,
      threshold: config.alarms.replicaLagSeconds,
      comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
      treatMissingData: TreatMissingData.MISSING,
    });
    for (const [alarm, topic] of [
      [stopped, topics.page],
      [behind, topics.ticket],
    ] as const) {
      const action = new SnsAction(topic);
      alarm.addAlarmAction(action);
      alarm.addOkAction(action);
    }
  }
}
