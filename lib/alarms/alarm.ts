import type { DatabaseConfig } from "../config/schema.ts";
import type { AwsMetricName, AwsUnit, Topology } from "./aws-metrics.ts";
import type { LogMetricName } from "./log-metrics.ts";
import type { MetricName, MetricUnit } from "./metrics.ts";
import type { LookName } from "./page/look.ts";

/** `page` wakes somebody; `ticket` is for office hours. */
export type AlarmSeverity = "page" | "ticket";

/** The four questions of the dashboard, top to bottom. */
export const questions = ["up", "full", "slow", "protected"] as const;
export type Question = (typeof questions)[number];

/** A metric that AWS sends, one of `lib/alarms/metrics.ts` with its dimensions beyond `Database`, or one counted in logs. */
export type MetricReference =
  | { from: "aws"; metric: AwsMetricName }
  | { from: "pgkeep"; metric: MetricName; dimensions: Readonly<Record<string, string>> }
  | { from: "log"; metric: LogMetricName };

/**
 * One metric, or the share in percent of `part` in the sum of `whole`. Below `atLeast` of the whole a share
 * means nothing and counts as 0.
 */
export type AlarmSource =
  | { kind: "metric"; metric: MetricReference }
  | { kind: "share"; part: MetricReference; whole: readonly MetricReference[]; atLeast: number };

export type Statistic = "Average" | "Minimum" | "Maximum" | "Sum" | "p90";
export type Comparison = ">" | ">=" | "<" | "<=";
export type MissingData = "breaching" | "notBreaching" | "ignore" | "missing";

/** CloudWatch's window: `datapointsToAlarm` of `evaluationPeriods` periods. */
export interface Timing {
  periodSeconds: number;
  evaluationPeriods: number;
  datapointsToAlarm: number;
}

/** What a deployed machine has; unknown for serverless. */
export interface Machine {
  memoryBytes: number;
  vcpus: number;
}

export interface JobPeriod {
  name: string;
  /** Longest time between two runs, in seconds. */
  periodSeconds: number;
  /** Whether `pgkeep.job_run` knows its runs: a step of it reaches the database. */
  recorded: boolean;
}

/** What thresholds and conditions are made from. */
export interface AlarmContext {
  config: DatabaseConfig;
  machine: Machine | undefined;
  /** max_connections in effect, where it is known. */
  maxConnections: number | undefined;
  /** Names of the replicas that AWS measures. */
  replicas: readonly string[];
  /** Names of the places that route-replicas sends reads to: each replica, or the readers of a cluster together. */
  readers: readonly string[];
  /** Names of the servers that are always there, each by itself. */
  servers: readonly string[];
  /** Whether an RDS Proxy stands before the database. */
  proxy: boolean;
  /** The jobs that have a schedule. */
  jobs: readonly JobPeriod[];
  /** Quota of manual snapshots in the region; undefined when another database of the account watches it. */
  manualSnapshotQuota: number | undefined;
}

/** What one alarm of several is about. */
export type Subject =
  | { kind: "replica" | "reader" | "server" | "cache-node"; name: string }
  | ({ kind: "job" } & JobPeriod);

/** One entry of the catalogue. It becomes one alarm, or one for each subject. */
export interface AlarmDefinition {
  /** Kebab-case, unique and stable: part of the alarm's name and heading of its runbook section. */
  name: string;
  severity: AlarmSeverity;
  question: Question;
  /** One line that says what happened, for a phone. */
  title: string;
  /** One alarm for each of these that `applies` lets through. */
  per?: Subject["kind"];
  source: AlarmSource | ((subject: Subject) => AlarmSource);
  statistic: Statistic;
  unit: MetricUnit | AwsUnit;
  timing: Timing | ((subject: Subject) => Timing);
  comparison: Comparison;
  /** In `unit`. */
  threshold: (context: AlarmContext, subject: Subject | undefined) => number;
  missingData: MissingData;
  /** Default: every topology that has the metric. */
  topologies: readonly Topology[];
  /** In words, when it exists; empty for always. */
  condition: string;
  applies?: (context: AlarmContext, subject: Subject | undefined) => boolean;
  why: string;
  likelyCause: string;
  /**
   * Whom it hurts, for somebody who reads it on a phone. `{app}` and `{reporting}` stand for the roles of the
   * database, `{subject}` for the name of what the alarm is about.
   */
  hurts: string;
  /** What can be looked at in the database to find the cause, the most telling first; empty when SQL does not know. */
  look: readonly LookName[];
  /**
   * The one command to run next: the first of the entry's section of docs/runbook.md. `{subject}` stands for the
   * name of what the alarm is about, `{key}` for the database's.
   */
  command: string;
  /** Entries whose alarm explains this one: while one is in alarm, this one tells nobody. */
  consequenceOf: readonly string[];
  /** Further ones, of one subject alone. */
  causesOf?: (subject: Subject | undefined) => readonly string[];
}

/** One alarm of one database: everything that CloudWatch or the sandbox's evaluator needs. Plain data. */
export interface Alarm {
  /** The entry's name, with the subject's where it has one: `replica-lag-replica-1`. */
  name: string;
  /** The entry's name: its heading in the runbook. */
  entry: string;
  severity: AlarmSeverity;
  question: Question;
  title: string;
  subject?: Subject;
  source: AlarmSource;
  statistic: Statistic;
  unit: AlarmDefinition["unit"];
  timing: Timing;
  comparison: Comparison;
  threshold: number;
  missingData: MissingData;
  why: string;
  likelyCause: string;
  /** With the place-holders of the entry. */
  hurts: string;
  look: readonly LookName[];
  /** With the place-holders of the entry. */
  command: string;
  /** Names of the alarms that silence this one. */
  consequenceOf: readonly string[];
}

export const everyTopology: readonly Topology[] = ["instance", "multi-az-cluster", "aurora"];

export function fromAws(metric: AwsMetricName): MetricReference {
  return { from: "aws", metric };
}

export function fromPgkeep(
  metric: MetricName,
  dimensions: Readonly<Record<string, string>> = {},
): MetricReference {
  return { from: "pgkeep", metric, dimensions };
}

export function fromLog(metric: LogMetricName): MetricReference {
  return { from: "log", metric };
}

export function only(metric: MetricReference): AlarmSource {
  return { kind: "metric", metric };
}

/** `count` of `count` periods of a minute, or of the given length. */
export function lasting(count: number, periodSeconds = 60): Timing {
  return { periodSeconds, evaluationPeriods: count, datapointsToAlarm: count };
}

const gibibyte = 2 ** 30;

/** RDS allocates storage in GiB and calls them gigabytes. */
export function storageBytes(gigabytes: number): number {
  return gigabytes * gibibyte;
}
