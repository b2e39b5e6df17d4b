/** One server that jobs connect to. */
export interface ServerResource {
  /** `primary`, `replica-1`, …: the names that routing and metrics use. */
  name: string;
  host: string;
  port: number;
  /** RDS instance or cluster identifier, lower case. */
  identifier: string;
}

/**
 * What of a deployed platform the jobs of one database work with. Plain data: at synthesis the strings may be
 * CDK tokens, in a Lambda they come from its environment. Grants turn it into IAM statements and environment
 * variables; adapters read it.
 */
export interface PlatformResources {
  partition: string;
  account: string;
  region: string;
  /** Key of the database in the configuration; part of every name. */
  key: string;
  databaseName: string;
  topology: "instance" | "multi-az-cluster" | "aurora";
  primary: ServerResource;
  replicas: ServerResource[];
  /**
   * What `rds-db:connect` names: `db-…` of the primary and then of each replica in their order, or one
   * `cluster-…` for all servers of a cluster.
   */
  resourceIds: string[];
  /** Where a restored instance is put, so that it is as private as the original. */
  restore: {
    subnetGroupName: string;
    securityGroupIds: string[];
    parameterGroupName: string;
    instanceClass: string;
  };
  kmsKeyArn: string;
  /** SSM parameter with the routing document, e.g. `/pgkeep/shop/routing`. */
  routingParameterName: string;
  /** Private hosted zone and record for readers; absent without replicas. */
  readerDns?: { hostedZoneId: string; recordName: string };
  pageTopicArn: string;
  ticketTopicArn: string;
  /** Regions that snapshots are copied to. */
  copyToRegions: string[];
}

/** Tag on everything that a drill or a restore makes; IAM allows deleting nothing without it. */
export const restoredTag = { key: "pgkeep:restored-for", values: ["drill", "person"] } as const;

/** Tag on every snapshot that pgkeep takes, with the configuration's key as value. */
export const snapshotTag = "pgkeep:database";

/** Tag on a pinned snapshot, with the reason as value; IAM denies deleting one that has it. */
export const pinnedTag = "pgkeep:pinned";

/** Environment variables of every Lambda. */
export const environmentNames = {
  /** JSON of PlatformResources. */
  resources: "PGKEEP_RESOURCES",
  /** JSON of what the configuration says about this database beyond the defaults. */
  config: "PGKEEP_CONFIG",
  job: "PGKEEP_JOB",
  step: "PGKEEP_STEP",
  /** Of the function that tells people of alarms: ARN of the one that looks at the database. */
  lookFunction: "PGKEEP_LOOK_FUNCTION",
  /** Of the functions that set roles up and rotate passwords: ARN of the master user's secret. */
  masterSecret: "PGKEEP_MASTER_SECRET",
  /** Of the same: JSON, the ARN of the secret for each login that has a password (`app`, `reporting`, `migrations`). */
  loginSecrets: "PGKEEP_LOGIN_SECRETS",
} as const;

/**
 * File beside the code of a function that reads `config.suppressions`: JSON of them. They may be many, and a function's
 * environment holds 4 KB.
 */
export const suppressionsFile = "suppressions.json";
