/** Units as AWS's documentation gives them; RDS Proxy measures in microseconds, Aurora's lag in milliseconds. */
export type AwsUnit =
  | "Percent"
  | "Count"
  | "Bytes"
  | "Seconds"
  | "Milliseconds"
  | "Microseconds"
  | "Ratio"
  | "TransactionIds";

/** A level (`gauge`), a level between fixed bounds (`ratio`), or what happened in a period (`delta`). */
export type AwsMetricKind = "gauge" | "ratio" | "delta";

export type Topology = "instance" | "multi-az-cluster" | "aurora";

/** Whose dimensions the metric has. `proxy-writer` is the writer behind the proxy. */
export type MeasuredThing = "server" | "proxy" | "proxy-writer" | "cache-node" | "account";

export interface AwsMetricDefinition {
  namespace: "AWS/RDS" | "AWS/ElastiCache" | "AWS/Usage";
  /** Name in CloudWatch, where it is not the key. */
  metricName?: string;
  unit: AwsUnit;
  kind: AwsMetricKind;
  /** Smallest and largest value that the metric can have. */
  range: readonly [number, number];
  of: MeasuredThing;
  topologies: readonly Topology[];
  /** Dimensions beside those of the measured thing. */
  dimensions?: Readonly<Record<string, string>>;
  source: string;
}

const all: readonly Topology[] = ["instance", "multi-az-cluster", "aurora"];
const rds: readonly Topology[] = ["instance", "multi-az-cluster"];
const unbounded = [0, Number.POSITIVE_INFINITY] as const;
const percent = [0, 100] as const;

const rdsGuide = "Amazon RDS User Guide, CloudWatch instance-level metrics";
const auroraGuide = "Amazon Aurora User Guide, CloudWatch metrics";
const bothGuides = `${rdsGuide}; ${auroraGuide}`;
const insightsGuide = "Amazon RDS User Guide, CloudWatch metrics for Performance Insights";
const proxyGuide = "Amazon RDS User Guide, Monitoring RDS Proxy metrics";
const usageGuide = "Amazon RDS User Guide, CloudWatch usage metrics";

const server = { namespace: "AWS/RDS", of: "server", kind: "gauge" } as const;
const proxy = {
  namespace: "AWS/RDS",
  of: "proxy",
  kind: "gauge",
  topologies: all,
  source: proxyGuide,
} as const;
const cacheNode = {
  namespace: "AWS/ElastiCache",
  of: "cache-node",
  kind: "gauge",
  range: unbounded,
  topologies: all,
  source: "Amazon ElastiCache User Guide, Metrics for Valkey and Redis OSS",
} as const;
const usage = { namespace: "AWS/Usage", metricName: "ResourceCount", of: "account", kind: "gauge" } as const;

/** Every metric of AWS that an alarm, the dashboard or a command uses. */
export const awsMetrics = {
  CPUUtilization: {
    ...server,
    unit: "Percent",
    kind: "ratio",
    range: percent,
    topologies: all,
    source: bothGuides,
  },
  DatabaseConnections: { ...server, unit: "Count", range: unbounded, topologies: all, source: bothGuides },
  FreeableMemory: { ...server, unit: "Bytes", range: unbounded, topologies: all, source: bothGuides },
  FreeStorageSpace: { ...server, unit: "Bytes", range: unbounded, topologies: rds, source: rdsGuide },
  /** Not published for serverless. */
  FreeLocalStorage: {
    ...server,
    unit: "Bytes",
    range: unbounded,
    topologies: ["aurora"],
    source: auroraGuide,
  },
  ReadLatency: { ...server, unit: "Seconds", range: unbounded, topologies: all, source: bothGuides },
  WriteLatency: { ...server, unit: "Seconds", range: unbounded, topologies: all, source: bothGuides },
  /** Published for each instance, of clusters too, and under no cluster's dimensions. */
  DBLoadRelativeToNumVCPUs: {
    ...server,
    unit: "Ratio",
    range: unbounded,
    topologies: all,
    source: insightsGuide,
  },
  MaximumUsedTransactionIDs: {
    ...server,
    unit: "TransactionIds",
    // Writes end a million ids before 2^31 (Aurora) and three million before it (PostgreSQL 14 and later).
    range: [0, 2 ** 31 - 3_000_000],
    topologies: all,
    source: bothGuides,
  },
  /** −1 when replication is stopped. */
  ReplicaLag: {
    ...server,
    unit: "Seconds",
    range: [-1, Number.POSITIVE_INFINITY],
    topologies: rds,
    source: rdsGuide,
  },
  AuroraReplicaLag: {
    ...server,
    unit: "Milliseconds",
    range: unbounded,
    topologies: ["aurora"],
    source: auroraGuide,
  },
  "EBSIOBalance%": {
    ...server,
    unit: "Percent",
    kind: "ratio",
    range: percent,
    topologies: rds,
    source: rdsGuide,
  },
  "EBSByteBalance%": {
    ...server,
    unit: "Percent",
    kind: "ratio",
    range: percent,
    topologies: rds,
    source: rdsGuide,
  },
  OldestReplicationSlotLag: {
    ...server,
    unit: "Bytes",
    range: [-1, Number.POSITIVE_INFINITY],
    topologies: all,
    source: bothGuides,
  },
  ReplicationSlotDiskUsage: {
    ...server,
    unit: "Bytes",
    range: unbounded,
    topologies: all,
    source: bothGuides,
  },
  /** Aurora has it only with logical replication, and −1 otherwise. */
  TransactionLogsDiskUsage: {
    ...server,
    unit: "Bytes",
    range: unbounded,
    topologies: rds,
    source: rdsGuide,
  },
  CheckpointLag: { ...server, unit: "Seconds", range: unbounded, topologies: rds, source: rdsGuide },
  /** Not published for Aurora's r7g classes. */
  SwapUsage: { ...server, unit: "Bytes", range: unbounded, topologies: rds, source: bothGuides },
  DiskQueueDepth: { ...server, unit: "Count", range: unbounded, topologies: rds, source: bothGuides },
  DatabaseConnectionsBorrowLatency: { ...proxy, unit: "Microseconds", range: unbounded },
  DatabaseConnectionsCurrentlySessionPinned: { ...proxy, unit: "Count", range: unbounded },
  ProxyDatabaseConnections: {
    ...proxy,
    metricName: "DatabaseConnections",
    unit: "Count",
    range: unbounded,
  },
  MaxDatabaseConnectionsAllowed: { ...proxy, unit: "Count", range: unbounded },
  ClientConnections: { ...proxy, unit: "Count", range: unbounded },
  ClientConnectionsSetupSucceeded: { ...proxy, kind: "delta", unit: "Count", range: unbounded },
  DatabaseConnectionsCurrentlyBorrowed: { ...proxy, unit: "Count", range: unbounded },
  QueryRequests: { ...proxy, kind: "delta", unit: "Count", range: unbounded },
  AvailabilityPercentage: {
    ...proxy,
    of: "proxy-writer",
    kind: "ratio",
    unit: "Percent",
    range: percent,
    dimensions: { TargetGroup: "default", TargetRole: "READ_WRITE" },
  },
  EngineCPUUtilization: { ...cacheNode, unit: "Percent", kind: "ratio", range: percent },
  DatabaseMemoryUsagePercentage: { ...cacheNode, unit: "Percent", kind: "ratio", range: percent },
  Evictions: { ...cacheNode, unit: "Count", kind: "delta" },
  CurrConnections: { ...cacheNode, unit: "Count" },
  AuthenticationFailures: { ...cacheNode, unit: "Count", kind: "delta" },
  /** Sent by replicas only. */
  CacheReplicationLag: { ...cacheNode, metricName: "ReplicationLag", unit: "Seconds" },
  ManualSnapshots: {
    ...usage,
    unit: "Count",
    range: unbounded,
    topologies: ["instance"],
    dimensions: { Service: "RDS", Type: "Resource", Resource: "ManualSnapshots", Class: "None" },
    source: usageGuide,
  },
  ManualClusterSnapshots: {
    ...usage,
    unit: "Count",
    range: unbounded,
    topologies: ["multi-az-cluster", "aurora"],
    dimensions: { Service: "RDS", Type: "Resource", Resource: "ManualClusterSnapshots", Class: "None" },
    source: usageGuide,
  },
} as const satisfies Record<string, AwsMetricDefinition>;

export type AwsMetricName = keyof typeof awsMetrics;

/** The same entry with its optional fields visible. */
export function awsMetric(name: AwsMetricName): AwsMetricDefinition {
  return awsMetrics[name];
}
