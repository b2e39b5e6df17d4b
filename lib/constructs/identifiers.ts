import { proxyName } from "../aws/proxy-name.ts";
import type { DatabaseConfig } from "../config/schema.ts";

/** TCP port of every database and proxy. */
export const databasePort = 5432;

/**
 * Names of one database's resources on AWS. They are fixed, so that policies, metric dimensions and alarms can
 * be written without asking AWS, and lower case, as RDS keeps them and CloudWatch compares them.
 * A fixed name also means that AWS refuses to replace the database: its name is taken.
 */
export function identifiersOf({ key }: Pick<DatabaseConfig, "key">) {
  const base = `pgkeep-${key}`.toLowerCase();
  return {
    base,
    /** RDS instance, Multi-AZ cluster or Aurora cluster. */
    database: base,
    /** Read replica of an instance, from 1. */
    replica: (number: number) => `${base}-replica-${number}`,
    /** Instance of an Aurora cluster, from 1; the name that RDS gives the instances of a Multi-AZ cluster. */
    member: (number: number) => `${base}-instance-${number}`,
    /** Replica in another region. */
    recovery: `${base}-recovery`,
    /** Alias of the key of the backups that AWS replicates to another region. */
    replicatedBackups: `${base}-replicated-backups`,
    proxy: proxyName(key),
    proxyReader: `${base}-reader`,
    routingParameter: `/pgkeep/${key}/routing`,
    pageTopic: `${base}-page`,
    ticketTopic: `${base}-ticket`,
    /** ElastiCache replication group and its user group. */
    cache: base,
    cacheUser: `${base}-app`,
    /** Node of the cache, from 1; the name that ElastiCache gives it. */
    cacheNode: (number: number) => `${base}-${String(number).padStart(3, "0")}`,
  };
}
