import type { AwsMetricName } from "../../alarms/aws-metrics.ts";

export interface Unmeasured {
  /** Why a sandbox has nothing to measure it from. */
  because: string;
  /** What is tried of its alarm instead, beside its evaluation on series that are made up. */
  instead: string;
}

const cache: Unmeasured = {
  because: "a sandbox has no cache",
  instead: "name, unit and range as AWS documents them; dimensions are asserted in the templates",
};
const ebs: Unmeasured = {
  because: "credits of an instance's EBS bandwidth are AWS's own accounting",
  instead: "what follows from it is measured: latencies of reads and writes, and the queue before the disk",
};
const account: Unmeasured = {
  because: "there is no AWS account to count in",
  instead:
    "name and dimensions as AWS documents them; whether the configuration's own backups fit the quota is checked",
};

/** What alarms of the catalogue read and no measure gives. A table in docs/verification.md is made from it. */
export const unmeasured: Partial<Record<AwsMetricName, Unmeasured>> = {
  AuroraReplicaLag: {
    because: "Aurora's replicas share the writer's storage; those of a sandbox replay its log",
    instead: "`ReplicaLag` of the other topologies is measured on streaming replicas",
  },
  FreeLocalStorage: {
    because: "only Aurora keeps temporary files and logs on storage of their own",
    instead: "`TemporaryBytes`, what fills it, is measured by check-health",
  },
  "EBSIOBalance%": ebs,
  "EBSByteBalance%": ebs,
  DatabaseConnectionsCurrentlySessionPinned: {
    because: "PgBouncer pins no session to a connection",
    instead: "connections, clients and waits are measured of PgBouncer",
  },
  ManualSnapshots: account,
  ManualClusterSnapshots: account,
  EngineCPUUtilization: cache,
  DatabaseMemoryUsagePercentage: cache,
  Evictions: cache,
  CurrConnections: cache,
  AuthenticationFailures: cache,
  CacheReplicationLag: cache,
};
