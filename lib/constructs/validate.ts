import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { affordableConnections, capacityOf, maxConnectionsOf } from "./instance-classes.ts";

/** Connections that the pool leaves free, as the configuration's rules demand: AWS's 6, and 4 for jobs and people. */
export const connectionsLeftFree = 10;

/**
 * Refuses at synthesis what AWS, or the database once it runs, would refuse. The rules of the configuration file
 * say most of this earlier; whoever makes the constructs in an app of their own gets it here.
 * @throws UsageError (`configuration`) with the path of the setting, the reason and what to do
 */
export function assertDeployable(config: DatabaseConfig): void {
  const { database, replicas, pooling, backups } = config;
  const refuse = (path: string, reason: string, remedy: string): never => {
    throw new UsageError(`${config.key}: ${path}: ${reason}`, { remedy }, "configuration");
  };
  capacityOf(config);
  if (!/^[A-Za-z]\w{0,62}$/.test(database.name)) {
    refuse(
      "database.name",
      `RDS cannot create a database named ${JSON.stringify(database.name)}`,
      "use a letter, then letters, digits and underscores",
    );
  }
  if (!/^[a-z](?:-?[a-z0-9])*$/.test(config.key) || config.key.length > 40) {
    refuse(
      "databases",
      `${JSON.stringify(config.key)} cannot be part of an identifier`,
      "use at most 40 lower-case letters, digits and single hyphens, beginning with a letter",
    );
  }
  if (database.topology !== "aurora" && database.instanceClass === "serverless") {
    refuse("database.instanceClass", "only Aurora is serverless", "set database.topology to aurora");
  }
  if (database.topology === "multi-az-cluster" && replicas.count !== 2) {
    refuse(
      "replicas.count",
      `a multi-az-cluster has exactly 2 readable standbys and takes no replica of its own, not ${replicas.count}`,
      "leave it out, or set database.topology to instance or aurora",
    );
  }
  if (replicas.maxCount !== undefined && database.topology !== "aurora") {
    refuse("replicas.maxCount", "only Aurora adds readers by itself", "leave it out");
  }
  if (backups.pointInTimeRecoveryDays < 1) {
    refuse(
      "backups.pointInTimeRecoveryDays",
      "0 switches off backups, point-in-time recovery and replicas",
      "give 1 to 35 days",
    );
  }
  const affordable = affordableConnections(config);
  if (database.maxConnections !== undefined && database.maxConnections > affordable) {
    refuse(
      "database.maxConnections",
      `${database.maxConnections} connections do not fit into the memory of ${database.instanceClass}, which has room for ${affordable}`,
      "ask for fewer and let the pooler share them, or choose a larger database.instanceClass",
    );
  }
  const wanted = pooling.poolSize + pooling.reservePoolSize;
  const connections = maxConnectionsOf(config);
  if (pooling.enabled && wanted > connections - connectionsLeftFree) {
    refuse(
      "pooling.poolSize",
      `${pooling.poolSize} and ${pooling.reservePoolSize} in reserve do not fit into the ${connections} connections of ${database.instanceClass}, of which ${connectionsLeftFree} stay free`,
      "make the pool smaller, or choose a larger database.instanceClass",
    );
  }
}

/**
 * Refuses what RDS Proxy cannot serve, with what can.
 * @throws UsageError (`configuration`)
 */
export function assertProxyServes(config: DatabaseConfig, readerEndpoint: boolean): void {
  const { database, pooling } = config;
  if (pooling.mode === "session") {
    throw new UsageError(
      `${config.key}: pooling.mode: RDS Proxy gives a connection back after each transaction and has no session mode`,
      {
        remedy:
          "set pooling.mode to transaction, or pooling.enabled to false and run PgBouncer: `pgkeep` writes its configuration from the same settings",
      },
      "configuration",
    );
  }
  if (readerEndpoint && database.topology !== "aurora") {
    throw new UsageError(
      `${config.key}: database.topology: a proxy before ${database.topology === "instance" ? "an RDS instance" : "a Multi-AZ cluster"} serves its writer only and can have no reader endpoint`,
      {
        remedy:
          "read from the replicas that the routing document names, with PgBouncer before each where connections are many, or set database.topology to aurora",
      },
      "configuration",
    );
  }
}
