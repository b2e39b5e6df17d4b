/** Units as CloudWatch names them. */
export type MetricUnit = "Count" | "Seconds" | "Bytes" | "Percent" | "None";

/**
 * `gauge`: a level at that moment (average, minimum, maximum make sense).
 * `delta`: how much happened since the last datum (sum makes sense).
 */
export type MetricKind = "gauge" | "delta";

export interface MetricDefinition {
  unit: MetricUnit;
  kind: MetricKind;
  /** Dimensions beyond `Database`. */
  dimensions: readonly string[];
  help: string;
}

/** CloudWatch namespace of everything that pgkeep measures itself. */
export const metricNamespace = "pgkeep";

/** Every metric that pgkeep emits: name, unit and dimensions, written once. */
export const metrics = {
  JobSucceeded: { unit: "Count", kind: "delta", dimensions: ["Job"], help: "Runs that did what they should" },
  JobFailed: { unit: "Count", kind: "delta", dimensions: ["Job"], help: "Runs that could not" },
  JobDuration: { unit: "Seconds", kind: "gauge", dimensions: ["Job"], help: "How long a run took" },
  JobSuccessAge: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: ["Job"],
    help: "Time since the job last succeeded; since the installation when it never has",
  },
  Up: { unit: "Count", kind: "gauge", dimensions: [], help: "1 when the primary answered, else 0" },
  ConnectionsUsed: { unit: "Count", kind: "gauge", dimensions: [], help: "Client connections" },
  ConnectionsUsedPercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "Client connections against what max_connections leaves to ordinary roles",
  },
  ConnectionsByState: {
    unit: "Count",
    kind: "gauge",
    dimensions: ["State"],
    help: "Client connections by state",
  },
  LongestQueryAge: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Age of the longest running statement of a client",
  },
  LongRunningQueries: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Statements beyond the ticket limit",
  },
  IdleInTransactionSessions: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Sessions idle in transaction beyond the limit",
  },
  LongestIdleInTransaction: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Longest time that a session has been idle in transaction",
  },
  OldestTransactionAge: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Age of the oldest open transaction",
  },
  BlockedSessions: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Sessions waiting for a lock that another session holds",
  },
  LongestBlockedTime: { unit: "Seconds", kind: "gauge", dimensions: [], help: "Longest wait for a lock" },
  CacheHitPercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "Block reads answered from shared buffers since the last datum",
  },
  Deadlocks: { unit: "Count", kind: "delta", dimensions: [], help: "Deadlocks" },
  TemporaryBytes: { unit: "Bytes", kind: "delta", dimensions: [], help: "Bytes written to temporary files" },
  TemporaryFiles: { unit: "Count", kind: "delta", dimensions: [], help: "Temporary files created" },
  TransactionsCommitted: { unit: "Count", kind: "delta", dimensions: [], help: "Transactions committed" },
  TransactionsRolledBack: { unit: "Count", kind: "delta", dimensions: [], help: "Transactions rolled back" },
  CheckpointsTimed: {
    unit: "Count",
    kind: "delta",
    dimensions: [],
    help: "Checkpoints started by checkpoint_timeout",
  },
  CheckpointsRequested: {
    unit: "Count",
    kind: "delta",
    dimensions: [],
    help: "Checkpoints forced by WAL volume or request",
  },
  ReplicasConnected: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Standbys that stream from the primary",
  },
  ReplicaLagBytes: {
    unit: "Bytes",
    kind: "gauge",
    dimensions: ["Replica"],
    help: "WAL that the replica has not replayed",
  },
  ReplicaLagSeconds: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: ["Replica"],
    help: "Age of the replica's last replayed transaction while WAL is outstanding",
  },
  ReplicaServing: {
    unit: "Count",
    kind: "gauge",
    dimensions: ["Replica"],
    help: "1 when the routing document sends reads there, else 0",
  },
  ReplicationSlotRetainedBytes: {
    unit: "Bytes",
    kind: "gauge",
    dimensions: ["Slot"],
    help: "WAL kept on the primary for this slot",
  },
  InactiveReplicationSlots: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Slots that nothing reads",
  },
  TransactionIdAgePercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "Oldest transaction id against the point where PostgreSQL stops",
  },
  MultixactAgePercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "Oldest multixact id against the point where PostgreSQL stops",
  },
  WraparoundTriggerPercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "Highest age of any relation against its own anti-wraparound trigger",
  },
  PreparedTransactions: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Prepared transactions that wait for their second phase",
  },
  DatabaseSizeBytes: { unit: "Bytes", kind: "gauge", dimensions: [], help: "Size of the database" },
  HeartbeatAge: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Time since the previous heartbeat was written",
  },
  InvalidIndexes: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Indexes that are not valid, and that nobody is building",
  },
  CertificateLifeSeconds: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Time until the first certificate expires that the primary shows",
  },
  ClockSkewSeconds: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "How far the primary's clock and that of whoever measures are apart",
  },
  BackupAge: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Time since the newest usable backup began",
  },
  BackupsKept: { unit: "Count", kind: "gauge", dimensions: [], help: "Backups that exist" },
  RestorableLag: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Time between now and the latest moment that can be restored",
  },
  DrillRtoSeconds: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Time from start of the drill to the first proved query",
  },
  DrillRpoSeconds: {
    unit: "Seconds",
    kind: "gauge",
    dimensions: [],
    help: "Data that the drill's restore would have lost",
  },
  TablesVacuumed: {
    unit: "Count",
    kind: "delta",
    dimensions: [],
    help: "Tables vacuumed or analysed by need",
  },
  TablesLeft: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Tables that needed vacuum and were not reached",
  },
  IndexesRebuilt: {
    unit: "Count",
    kind: "delta",
    dimensions: [],
    help: "Indexes that reindex rebuilt",
  },
  IndexesLeft: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Indexes that were due and that the last reindex could not get to",
  },
  PartitionsCreated: {
    unit: "Count",
    kind: "delta",
    dimensions: [],
    help: "Partitions that manage-partitions made",
  },
  PartitionsMissing: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Partitions for the present or ahead that the last manage-partitions could not make",
  },
  DaysUntilStorageFull: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Days until the database has grown to database.maxStorageGigabytes; 3650 when it will not",
  },
  DaysUntilTransactionIdsExhausted: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Days until transaction or multixact ids run out, whichever is first; 3650 while old ones are frozen in time",
  },
  DaysUntilKeyExhausted: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Days until the first integer key has no value left; 3650 when none will",
  },
  CorruptObjects: {
    unit: "Count",
    kind: "gauge",
    dimensions: [],
    help: "Tables and indexes that check-integrity knows as damaged, and servers with new checksum failures",
  },
  IntegrityCoveredPercent: {
    unit: "Percent",
    kind: "gauge",
    dimensions: [],
    help: "How much of everything the last check-integrity looked at",
  },
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof metrics;
