import type { DatabaseConfig } from "../config/schema.ts";
import { identifiersOf } from "./identifiers.ts";
import type { DatabasePlatform, MeasuredServer, MetricDimensions } from "./platform.ts";

/** Whose metrics are meant: the servers of one database as alarms and the dashboard look at them. */
export interface Measured extends Omit<MetricDimensions, "primary" | "cluster"> {
  /** The database's key in the configuration: dimension `Database` of pgkeep's own metrics. */
  databaseKey: string;
  /** One of these is the writer. */
  writers: Record<string, string>[];
  /** Every server that is always there, by its own identifier. */
  servers: MeasuredServer[];
  /** Where RDS writes the log of PostgreSQL. */
  logGroups: string[];
}

/** RDS makes three instances of a Multi-AZ cluster. */
const membersOfMultiAzCluster = 3;

/**
 * An Aurora cluster has metrics under the role of the writer. For a Multi-AZ cluster AWS documents metrics of its
 * instances only, whose roles move with a failover: each of them may be the writer, and each a standby.
 */
export function measuredOf({
  config,
  metricDimensions: { primary, cluster: _, replicas, ...others },
}: Pick<DatabasePlatform, "config" | "metricDimensions">): Measured {
  const names = identifiersOf(config);
  const common = { ...others, databaseKey: config.key };
  const log = (kind: "instance" | "cluster", identifier: string) =>
    `/aws/rds/${kind}/${identifier}/postgresql`;
  if (config.database.topology === "instance") {
    const servers = [{ name: "primary", dimensions: primary }, ...replicas];
    const identifiers = [names.database, ...replicas.map((_replica, index) => names.replica(index + 1))];
    return {
      ...common,
      writers: [primary],
      replicas,
      servers,
      logGroups: identifiers.map((identifier) => log("instance", identifier)),
    };
  }
  const servers = membersOf(config);
  return {
    ...common,
    ...(config.database.topology === "aurora"
      ? { writers: [primary], replicas }
      : { writers: servers.map(({ dimensions }) => dimensions), replicas: servers }),
    servers,
    logGroups: [log("cluster", names.database)],
  };
}

/** Instances of a cluster; readers that autoscaling adds have names that nobody knows before. */
function membersOf(config: DatabaseConfig): MeasuredServer[] {
  const { member } = identifiersOf(config);
  const count = config.database.topology === "aurora" ? 1 + config.replicas.count : membersOfMultiAzCluster;
  return Array.from({ length: count }, (_, index) => ({
    name: `instance-${index + 1}`,
    dimensions: { DBInstanceIdentifier: member(index + 1) },
  }));
}
