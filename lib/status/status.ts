import type { AlarmSeverity, Comparison } from "../alarms/alarm.ts";
import type { HealthReport } from "../checks/health.ts";
import type { TopStatements } from "../checks/workload/top.ts";
import type { CheckRecoveryReport } from "../jobs/check-recovery.ts";
import type { BackupStatus } from "../ports/backups.ts";
import type { RoutingDocument } from "../ports/routing.ts";
import type { Overview } from "../review/overview.ts";

/** One part of the status: what is known now, why it is not known, or why there is no such thing here. */
export type Part<T> =
  | { state: "known"; at: string; data: T }
  | {
      state: "unknown";
      at: string;
      reason: string;
      remedy?: string;
      /** What was known last, and when. */
      last?: { at: string; data: T };
    }
  | { state: "absent"; reason: string; remedy?: string };

export interface AlarmNow {
  name: string;
  /** Its heading in the runbook. */
  entry: string;
  title: string;
  severity: AlarmSeverity;
  state: "OK" | "ALARM" | "INSUFFICIENT_DATA";
  /** ISO 8601; null before the first evaluation. */
  since: string | null;
  value: number | null;
  unit: string;
  comparison: Comparison;
  threshold: number;
  reason: string;
  /** Set while it tells nobody although it is on: in words, and the alarms that explain it. */
  silenced: { by: string; causes: string[]; until: string | null } | null;
  /** The alarms that would silence it. */
  consequenceOf: string[];
}

export interface RoutingNow {
  document: RoutingDocument;
  ageSeconds: number;
  /** Older than a reader should trust it. */
  stale: boolean;
}

export interface BackupsNow {
  recovery: CheckRecoveryReport;
  /** All that are there, in any state. */
  total: number;
  /** The newest first; not all. */
  newest: {
    id: string;
    status: BackupStatus;
    startedAt: string;
    sizeBytes: number | null;
    verifiedAt: string | null;
  }[];
}

export interface DrillNow {
  /** Null when none has ended yet. */
  last: {
    startedAt: string;
    outcome: string;
    reason: string | null;
    rtoSeconds: number | null;
    rpoSeconds: number | null;
    restoredTo: string | null;
    backupId: string | null;
    tablesProved: number | null;
    proofs: { name: string; ok: boolean; detail: string }[];
    notAssessable: string[];
  } | null;
}

export interface JobNow {
  job: string;
  summary: string;
  /** Null when no run is recorded. */
  last: {
    startedAt: string;
    outcome: string;
    seconds: number | null;
    reason: string | null;
    errorCode: string | null;
  } | null;
  lastSuccessAt: string | null;
  /** By the configuration's schedule; null where it is off. */
  nextAt: string | null;
}

export interface JobsNow {
  jobs: JobNow[];
  /** Whether something here runs them when they are due. */
  scheduled: boolean;
}

export type QueriesNow = TopStatements;
export type SizesNow = Pick<Overview, "tables" | "growth">;

/** What the sandbox says of itself. */
export interface SandboxNow {
  /** Broken on purpose now. */
  faults: string[];
  workload: { name: string; count: number }[];
}

export interface PartTypes {
  health: HealthReport;
  alarms: { alarms: AlarmNow[] };
  routing: RoutingNow;
  backups: BackupsNow;
  drill: DrillNow;
  jobs: JobsNow;
  queries: QueriesNow;
  sizes: SizesNow;
  sandbox: SandboxNow;
}

export type PartName = keyof PartTypes;
export type Parts = { [Name in PartName]: Part<PartTypes[Name]> };

/** `fine`, `attention` for what can wait, `trouble` for what cannot. */
export type Level = "fine" | "attention" | "trouble";

/** How a database is now, in all that pgkeep knows of it. Plain JSON. */
export interface Status {
  formatVersion: 1;
  /** When this was put together, by this machine's clock, ISO 8601. */
  at: string;
  /** Of whom, in words, without secrets. */
  target: string;
  database: string;
  level: Level;
  /** The same in one sentence or a few. */
  summary: string;
  parts: Parts;
}
