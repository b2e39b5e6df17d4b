import type { DatabaseConfig } from "../config/schema.ts";
import { capacityOf } from "./instance-classes.ts";

/** One setting of the server. */
export interface Parameter {
  name: string;
  /** As the parameter group takes it, in the unit that PostgreSQL gives the parameter. */
  value: string;
  /** A static parameter takes effect at the next restart only (RDS shows `pending-reboot` until then). */
  apply: "static" | "dynamic";
  reason: string;
  /** Where the value or its formula comes from. */
  source: string;
}

interface Rule extends Omit<Parameter, "value"> {
  value: string | number | ((sizes: Sizes) => string | number);
  /** First major version that has it. */
  from?: number;
  /** False for what Aurora does by its own storage and does not let be changed. */
  aurora?: boolean;
  /** Left out when this is false. */
  when?: (config: DatabaseConfig) => boolean;
}

interface Sizes {
  config: DatabaseConfig;
  memoryBytes: number;
}

const kibibyte = 1024;
const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;

const rdsGuide = "Amazon RDS User Guide";
const tuning = "AWS Prescriptive Guidance, Tuning PostgreSQL parameters in Amazon RDS and Amazon Aurora";

/** Milliseconds from which a statement is slow. */
const slowMilliseconds = 1_000;

const rules: readonly Rule[] = [
  // Access
  {
    name: "rds.force_ssl",
    value: 1,
    apply: "dynamic",
    reason: "No connection without TLS; before 15 it is off by default",
    source: `${rdsGuide}, Requiring an SSL connection to a PostgreSQL DB instance`,
  },
  {
    name: "ssl_min_protocol_version",
    value: "TLSv1.2",
    apply: "dynamic",
    reason: "Older protocols are broken, and nothing that pgkeep serves needs them",
    source: "RFC 8996, Deprecating TLS 1.0 and TLS 1.1",
  },
  {
    name: "password_encryption",
    value: "scram-sha-256",
    apply: "dynamic",
    reason: "No new MD5 password, whoever sets it",
    source: `${rdsGuide}, Using SCRAM for PostgreSQL password encryption`,
  },
  {
    name: "max_connections",
    value: ({ config }) => config.database.maxConnections ?? 0,
    apply: "static",
    reason: "What the configuration asks for in place of what RDS gives the class",
    source: "database.maxConnections",
    when: ({ database }) => database.maxConnections !== undefined,
  },
  {
    name: "reserved_connections",
    value: 4,
    apply: "static",
    reason: "Jobs and people get in when applications have taken every other connection",
    source: "PostgreSQL 16, Connection Settings: for members of pg_use_reserved_connections",
    from: 16,
    aurora: false,
  },
  // What the server tells
  {
    name: "shared_preload_libraries",
    value: "pg_stat_statements,auto_explain",
    apply: "static",
    reason: "Which statements cost how much, and the plans of the slow ones",
    source: "PostgreSQL, pg_stat_statements and auto_explain: both have to be loaded at the start",
  },
  {
    name: "pg_stat_statements.max",
    value: 10_000,
    apply: "static",
    reason: "Applications that generate SQL pass the default of 5000, and evicted entries are lost",
    source: "PostgreSQL, pg_stat_statements",
  },
  {
    name: "pg_stat_statements.track",
    value: "all",
    apply: "dynamic",
    reason: "Statements inside functions count too, or their cost hides behind one call",
    source: "PostgreSQL, pg_stat_statements",
  },
  {
    name: "track_io_timing",
    value: 1,
    apply: "dynamic",
    reason: "Tells waiting for storage from computing; the clock of today's instances is cheap to read",
    source: "PostgreSQL, Run-time Statistics, and pg_test_timing",
  },
  {
    name: "track_activity_query_size",
    value: 4_096,
    apply: "static",
    reason:
      "The end of a long statement, with its conditions, is what one wants to see; the default cuts at 1 KiB",
    source: "PostgreSQL, Run-time Statistics",
  },
  {
    name: "log_min_duration_statement",
    value: slowMilliseconds,
    apply: "dynamic",
    reason: "Statements over one second are logged",
    source: "The slow-query log of the requirements",
  },
  {
    name: "log_parameter_max_length",
    value: 0,
    apply: "dynamic",
    reason: "Values bound to a statement are people's data and stay out of the log",
    source: "PostgreSQL, What to Log",
  },
  {
    name: "auto_explain.log_min_duration",
    value: 5 * slowMilliseconds,
    apply: "dynamic",
    reason: "A plan is long: only for statements five times as slow as those that are logged",
    source: "PostgreSQL, auto_explain",
  },
  {
    name: "auto_explain.log_analyze",
    value: 0,
    apply: "dynamic",
    reason: "Measuring each node slows down every statement, also those that are not logged",
    source: "PostgreSQL, auto_explain: caution at log_analyze",
  },
  {
    name: "log_lock_waits",
    value: 1,
    apply: "dynamic",
    reason: "Who waited for whom longer than deadlock_timeout; nothing else remembers it",
    source: "PostgreSQL, What to Log",
  },
  {
    name: "log_temp_files",
    value: (64 * mebibyte) / kibibyte,
    apply: "dynamic",
    reason: "Sorts and hashes that spill more than 64 MiB to disk are logged",
    source: `${tuning}, log_temp_files`,
  },
  {
    name: "log_autovacuum_min_duration",
    value: 10_000,
    apply: "dynamic",
    reason: "Vacuums of ten seconds and more are logged with what they removed and why not",
    source: `${rdsGuide}, Working with PostgreSQL autovacuum`,
  },
  {
    name: "rds.force_autovacuum_logging_level",
    value: "warning",
    apply: "dynamic",
    reason: "Without it RDS does not log what log_autovacuum_min_duration asks for",
    source: `${rdsGuide}, Logging autovacuum and vacuum activities`,
  },
  // Sessions that hold others up. The application's own limits are those of its roles.
  {
    name: "lock_timeout",
    value: 60_000,
    apply: "dynamic",
    reason: "A net below the limits of the roles: nobody's wait holds up a queue for longer than a minute",
    source: "PostgreSQL, Statement Behavior; autovacuum workers are exempt",
  },
  {
    name: "idle_in_transaction_session_timeout",
    value: 600_000,
    apply: "dynamic",
    reason:
      "A net below the limits of the roles: a forgotten transaction holds locks and keeps vacuum from removing rows; RDS allows a day",
    source: "PostgreSQL, Statement Behavior",
  },
  // Memory
  {
    name: "maintenance_work_mem",
    value: ({ memoryBytes }) => kibibytes(memoryBytes / 32, 64 * mebibyte, 2 * gibibyte),
    apply: "dynamic",
    reason: "A 32nd of the memory, at most 2 GiB: building an index in memory, one session at a time",
    source: `${tuning}, maintenance_work_mem`,
  },
  {
    name: "autovacuum_work_mem",
    value: ({ memoryBytes }) => kibibytes(memoryBytes / 64, 64 * mebibyte, gibibyte),
    apply: "dynamic",
    reason:
      "A 64th of the memory for each of three workers; before 17 vacuum cannot use more than 1 GiB, and then passes over each index again",
    source: `${tuning}, autovacuum_work_mem`,
  },
  {
    name: "work_mem",
    value: ({ memoryBytes }) => kibibytes(memoryBytes / 1_024, 4 * mebibyte, 64 * mebibyte),
    apply: "dynamic",
    reason:
      "A 1024th of the memory for each sort or hash, of 4 to 64 MiB: 256 of them at a time take a quarter of what the server has",
    source: `${tuning}, work_mem`,
  },
  // Planning
  {
    name: "random_page_cost",
    value: "1.1",
    apply: "dynamic",
    reason: "The storage is solid-state: reading here and there costs about what reading in order does",
    source: `${tuning}, random_page_cost`,
  },
  {
    name: "default_toast_compression",
    value: "lz4",
    apply: "dynamic",
    reason: "Compresses about as well as pglz and several times as fast",
    source: "PostgreSQL, TOAST compression",
  },
  // Autovacuum
  {
    name: "autovacuum_vacuum_scale_factor",
    value: "0.05",
    apply: "dynamic",
    reason: "A table is vacuumed when 5 % of it is dead rather than 20 %: often and little",
    source: `${tuning}, autovacuum_vacuum_scale_factor`,
  },
  {
    name: "autovacuum_vacuum_insert_scale_factor",
    value: "0.1",
    apply: "dynamic",
    reason: "Tables that only grow are frozen and their visibility maps set in smaller portions",
    source: "PostgreSQL, Automatic Vacuuming",
  },
  {
    name: "autovacuum_analyze_scale_factor",
    value: "0.02",
    apply: "dynamic",
    reason: "The planner's statistics follow after 2 % of changes rather than 10 %",
    source: `${tuning}, autovacuum_analyze_scale_factor`,
  },
  {
    name: "autovacuum_vacuum_cost_limit",
    value: ({ config }) => Math.min(400 * Math.max(1, Math.floor(capacityOf(config).cpus / 2)), 3_000),
    apply: "dynamic",
    reason: "400 for each two vCPUs, at most 3000: the default of 200 is from the time of spinning disks",
    source: `${tuning}, autovacuum_vacuum_cost_limit`,
  },
  // Write-ahead log: Aurora's storage keeps its own
  {
    name: "max_wal_size",
    value: ({ config }) => clamp(Math.floor((config.database.storageGigabytes * 1_024) / 20), 1_024, 16_384),
    apply: "dynamic",
    reason: "A 20th of the storage, of 1 to 16 GiB, in MiB: checkpoints come by time, not by volume",
    source: "PostgreSQL, WAL Configuration",
    aurora: false,
  },
  {
    name: "checkpoint_timeout",
    value: 600,
    apply: "dynamic",
    reason: "Half as many full-page images as with 300 s, and recovery after a crash still takes minutes",
    source: "PostgreSQL, WAL Configuration",
    aurora: false,
  },
  {
    name: "wal_compression",
    value: ({ config }) => (Number(config.database.engineVersion) >= 15 ? "lz4" : "1"),
    apply: "dynamic",
    reason: "Full-page images are most of the log: compressed they cost little and ship faster to replicas",
    source: "PostgreSQL, Write Ahead Log: lz4 from 15",
    aurora: false,
  },
  {
    name: "max_slot_wal_keep_size",
    value: ({ config }) => Math.max(Math.floor((config.database.storageGigabytes * 1_024) / 4), 1_024),
    apply: "dynamic",
    reason: "An abandoned slot loses its log at a quarter of the storage, in MiB, before it fills the disk",
    source: "PostgreSQL, Sending Servers",
    aurora: false,
  },
];

/**
 * Every parameter that the database is given, with its value for the class it runs on. `statement_timeout` is not
 * among them: it belongs to the application's roles, and would end backups and index builds here.
 * @throws UsageError when the memory of the class is not known
 */
export function parametersFor(config: DatabaseConfig): Parameter[] {
  const sizes: Sizes = { config, memoryBytes: capacityOf(config).memoryBytes };
  return rules
    .filter((rule) => applies(rule, config))
    .map(({ name, value, apply, reason, source }) => ({
      name,
      value: String(typeof value === "function" ? value(sizes) : value),
      apply,
      reason,
      source,
    }));
}

/** Name of the parameter group family, e.g. `postgres17`. */
export function parameterFamily({ database }: DatabaseConfig): string {
  return `${database.topology === "aurora" ? "aurora-postgresql" : "postgres"}${database.engineVersion}`;
}

function applies(rule: Rule, config: DatabaseConfig): boolean {
  const major = Number(config.database.engineVersion);
  if (major < (rule.from ?? 0)) return false;
  if (rule.aurora === false && config.database.topology === "aurora") return false;
  return rule.when === undefined || rule.when(config);
}

function kibibytes(bytes: number, least: number, most: number): number {
  return Math.floor(clamp(bytes, least, most) / kibibyte);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
