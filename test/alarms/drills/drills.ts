import type { Wave } from "./drill.ts";

/** An entry of the catalogue that no fault of the sandbox can raise. */
export interface NotDrilled {
  entry: string;
  because: string;
  /** How it was checked. */
  instead: string;
}

/** The sandbox of the drills. */
export const drillConfig = {
  database: { maxConnections: 100 },
  // Not in the middle of a drill: which one it would be depends on how fast the machine is.
  schedules: {
    vacuum: "30 22 * * *",
    "collect-history": "50 22 * * *",
    "back-up": "0 23 * * *",
    "manage-partitions": "15 23 * * *",
  },
  replicas: { count: 2, warmUpSeconds: 0, maxLagSeconds: 1, resumeLagSeconds: 1 },
};

/**
 * One line for each alarm of an instance with pooling and replicas that a fault can raise in the sandbox. Periods,
 * datapoints and what silences what are the catalogue's; a drill lowers limits only.
 */
export const waves: readonly Wave[] = [
  {
    name: "the primary is gone",
    drills: [{ alarm: "database-down", fault: "crash-primary" }],
  },
  {
    name: "a replica is gone, and nobody cleared away",
    drills: [
      { alarm: "replica-lag-replica-1", fault: "crash-replica" },
      {
        alarm: "invalid-indexes",
        fault: "leave-invalid-index",
        names: /pgkeep_fault_one_review_of_each_product/,
      },
      { alarm: "prepared-transactions", fault: "forget-prepared-transaction" },
      { alarm: "backup-late", fault: "late-backup" },
      { alarm: "drill-absent", fault: "age-job-runs:drill-restore" },
      { alarm: "job-overdue-vacuum", fault: "age-job-runs:vacuum" },
      { alarm: "failed-logins", fault: "failed-logins", lowers: { "alarms.failedLogins": 3 } },
      { alarm: "certificate-expiry", fault: "expire-certificate" },
    ],
  },
  {
    name: "a replica does not stream, and reports never end",
    drills: [
      { alarm: "replication-stopped-replica-1", fault: "stop-replication" },
      { alarm: "long-queries", fault: "long-query", lowers: { "health.longQueryTicketSeconds": 1 } },
      { alarm: "multixact-ids-high", fault: "age-multixact-ids" },
      { alarm: "clock-skew", fault: "skew-clock" },
      { alarm: "free-storage", fault: "fill-disk" },
    ],
    paceMilliseconds: 200,
  },
  {
    name: "a replica does not replay, and a transaction stays open",
    drills: [
      { alarm: "replica-lag-replica-1", fault: "pause-replay", lowers: { "alarms.replicaLagSeconds": 1 } },
      { alarm: "old-transaction", fault: "long-transaction", lowers: { "alarms.oldTransactionSeconds": 1 } },
      { alarm: "transaction-ids-critical", fault: "age-transaction-ids" },
      { alarm: "storage-ceiling", fault: "outgrow-storage", without: ["free-storage"] },
      { alarm: "certificate-renewal", fault: "expire-certificate", without: ["certificate-expiry"] },
    ],
    paceMilliseconds: 200,
  },
  {
    name: "reads are not sent to a replica, and WAL is kept",
    slow: true,
    drills: [
      {
        alarm: "replica-not-serving-replica-1",
        fault: "lag-replica",
        without: ["replica-lag-replica-1"],
      },
      { alarm: "oldest-slot-lag", fault: "abandon-slot", lowers: { "health.slotRetainedBytes": 8_000_000 } },
      {
        alarm: "transaction-ids-high",
        fault: "age-transaction-ids",
        without: ["transaction-ids-critical"],
      },
    ],
  },
  {
    name: "jobs fail",
    drills: [
      { alarm: "backup-failed", fault: "fail-backup" },
      { alarm: "backup-absent", fault: "age-job-runs:back-up" },
      { alarm: "drill-failed", fault: "corrupt-page" },
      { alarm: "job-failed-vacuum", fault: "break-job" },
      { alarm: "job-absent-check-recovery", fault: "hang-job:check-recovery" },
      { alarm: "job-absent-route-replicas", fault: "disable-schedule:route-replicas" },
      { alarm: "inactive-slots", fault: "abandon-slot", names: /pgkeep_fault_abandoned/ },
      {
        alarm: "idle-in-transaction",
        fault: "idle-in-transaction",
        lowers: { "health.idleInTransactionSeconds": 1 },
      },
      { alarm: "proxy-unavailable", fault: "crash-pooler:primary" },
    ],
    paceMilliseconds: 200,
    runs: [{ job: "back-up", arguments: { requested: true } }, { job: "drill-restore" }, { job: "vacuum" }],
  },
  {
    name: "nothing starts the health check",
    drills: [{ alarm: "health-check-absent", fault: "disable-schedule:check-health" }],
  },
  {
    name: "writes are refused",
    drills: [{ alarm: "heartbeat-late", fault: "reject-writes" }],
  },
  {
    name: "storms",
    drills: [
      { alarm: "slot-disk-usage", fault: "fill-replication-slot", limit: 10_000_000 },
      { alarm: "deadlocks", fault: "deadlock-storm" },
      {
        alarm: "temporary-files",
        fault: "temporary-file-storm",
        lowers: { "alarms.temporaryFilesPercent": 0.001 },
      },
      { alarm: "freeable-memory", fault: "hog-memory", limit: 850_000_000 },
      { alarm: "proxy-connections-used", fault: "saturate-pooler" },
    ],
    paceMilliseconds: 300,
  },
  {
    name: "sessions queue, and nothing is archived",
    drills: [
      {
        alarm: "blocked-sessions",
        fault: "lock-pile-up",
        lowers: { "health.blockedSeconds": 1 },
        names: /idle in transaction/,
      },
      { alarm: "restorable-lag", fault: "fail-archiving", limit: 15, grows: true },
    ],
    paceMilliseconds: 300,
    atMostTicks: 90,
  },
  {
    name: "a session waits, and errors come in",
    drills: [
      {
        alarm: "long-lock-wait",
        fault: "lock-pile-up",
        lowers: { "health.longQueryTicketSeconds": 1, "health.blockedSeconds": 1 },
        without: ["blocked-sessions"],
      },
      { alarm: "rollbacks", fault: "error-storm" },
      { alarm: "wraparound-overdue", fault: "age-multixact-ids", without: ["multixact-ids-high"] },
      {
        alarm: "transaction-logs-disk",
        fault: "fail-archiving",
        limit: 110_000_000,
        without: ["restorable-lag"],
      },
    ],
    paceMilliseconds: 200,
  },
  {
    name: "connections run out",
    drills: [{ alarm: "connections-used", fault: "fill-connections" }],
  },
  {
    name: "connections leak",
    drills: [{ alarm: "connections-used", fault: "leak-connections", grows: true }],
    paceMilliseconds: 300,
    atMostTicks: 90,
    slow: true,
  },
  {
    name: "no connection is left",
    drills: [
      { alarm: "database-connections", fault: "fill-connections", limit: 80, without: ["connections-used"] },
    ],
  },
  {
    name: "the CPU is busy",
    drills: [{ alarm: "cpu-high", fault: "cpu-storm", lowers: { "alarms.cpuPercent": 20 }, grows: true }],
    paceMilliseconds: 500,
  },
  {
    name: "more sessions than CPUs",
    slow: true,
    drills: [
      { alarm: "db-load-primary", fault: "cpu-storm", without: ["cpu-high"], grows: true },
      { alarm: "proxy-borrow-latency", fault: "saturate-pooler", without: ["proxy-connections-used"] },
    ],
  },
  {
    name: "measured once a day, or looked back at for long",
    drills: [
      { alarm: "cache-hit", fault: "cache-collapse" },
      { alarm: "checkpoint-storm", fault: "checkpoint-storm", grows: true },
      { alarm: "key-forecast", fault: "exhaust-key" },
      { alarm: "storage-forecast", fault: "grow-storage" },
      { alarm: "corrupt-objects", fault: "corrupt-table" },
    ],
    // Reads go to a replica: of the primary's damage check-integrity learns when something else has read the page.
    runs: [
      { job: "back-up", arguments: { requested: true } },
      { job: "collect-history" },
      { job: "check-integrity" },
    ],
    leapDays: 3,
    atMostTicks: 60,
    // A look at each minute finds a scan in it.
    paceMilliseconds: 250,
  },
  {
    name: "ids are used up each day",
    drills: [{ alarm: "transaction-ids-forecast", fault: "use-up-transaction-ids" }],
    runs: [{ job: "collect-history" }],
    leapDays: 3,
  },
];

const onSeries = "fires and clears on made-up series of its own metric (test/alarms/evaluated.test.ts)";
const notMeasured = (entry: string, because: string): NotDrilled => ({ entry, because, instead: onSeries });

/** The other entries of the catalogue. */
export const notDrilled: readonly NotDrilled[] = [
  notMeasured("standby-lag", "a Multi-AZ cluster alone has it"),
  notMeasured("aurora-replica-lag", "Aurora alone has it"),
  notMeasured("free-local-storage", "Aurora alone has it"),
  notMeasured("cluster-snapshot-quota", "clusters alone have it, and there is no AWS account to count in"),
  notMeasured("snapshot-quota", "there is no AWS account to count in"),
  notMeasured("ebs-io-balance", "the burst of an EBS volume's instance is AWS's own accounting"),
  notMeasured("ebs-byte-balance", "the burst of an EBS volume's instance is AWS's own accounting"),
  notMeasured("proxy-pinned", "PgBouncer pins no session"),
  notMeasured("swap-usage", "a test must not bring its machine to swap"),
  notMeasured(
    "disk-queue",
    "no disk of a test is slow on purpose: reads and writes end in the kernel's cache",
  ),
  notMeasured("read-latency", "no disk of a test is slow on purpose: reads end in the kernel's cache"),
  notMeasured("write-latency", "no disk of a test is slow on purpose: writes end in the kernel's cache"),
  notMeasured(
    "checkpoint-lag",
    "the server makes its checkpoints in real time, an hour of which is too long",
  ),
  ...[
    "cache-memory",
    "cache-evictions",
    "cache-connections",
    "cache-cpu",
    "cache-replica-lag",
    "cache-authentication-failures",
  ].map((entry) => notMeasured(entry, "a sandbox has no cache")),
];
