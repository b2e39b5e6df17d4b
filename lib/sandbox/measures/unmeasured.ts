import type { AwsMetricName } from "../../alarms/aws-metrics.ts";

export interface Unmeasured {
  /** Why a sandbox has nothing to measure it from. */
  because: string;
  /** What was tried of its alarm instead. */
  instead: string;
}

const madeUp = "the alarm is evaluated on made-up series, on both sides of its threshold";

const cache: Unmeasured = { because: "a sandbox has no cache", instead: madeUp };
const aurora: Unmeasured = {
  because: "only Aurora has it; a sandbox is PostgreSQL with streaming replicas",
  instead: madeUp,
};
const ebs: Unmeasured = {
  because: "the burst of an EBS volume's instance is AWS's own accounting",
  instead: madeUp,
};
const account: Unmeasured = { because: "there is no AWS account to count in", instead: madeUp };

/** What alarms of the catalogue read and no measure gives. A table in docs/verification.md is made from it. */
export const unmeasured: Partial<Record<AwsMetricName, Unmeasured>> = {
  AuroraReplicaLag: aurora,
  FreeLocalStorage: aurora,
  "EBSIOBalance%": ebs,
  "EBSByteBalance%": ebs,
  DatabaseConnectionsCurrentlySessionPinned: {
    because: "PgBouncer pins no session: what would pin one in RDS Proxy is refused or shared there",
    instead: madeUp,
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
