import type { Holder } from "../maintenance/horizon.ts";
import type { TableAdvice } from "./advice.ts";
import type { AutovacuumState } from "./autovacuum.ts";
import type { Action, Work } from "./plan.ts";
import type { Relation } from "./relation.ts";
import type { Reason } from "./triggers.ts";

export type TableEntry = { schema: string; table: string };

export type VacuumedTable = TableEntry & {
  action: string;
  reasons: Reason[];
  seconds: number;
  /** Dead rows, TOAST included, as the statistics estimate them. */
  deadBefore: number;
  /** Null when they could not be read, or only ANALYZE ran on a partitioned table. */
  deadAfter: number | null;
  pagesBefore: number;
  /** Pages that were to be read or written: with the seconds, what later runs predict by. */
  pages: number;
};

/** A table too large for one run, which others vacuum. */
export type HandedOver = TableEntry & {
  to: "autovacuum" | "pg_cron";
  /** `scheduled`, `waits for autovacuum`, `being vacuumed` … */
  state: string;
  /** 0: in this run. */
  sinceSeconds: number;
  /** Null for what earlier runs have handed over. */
  predictedSeconds: number | null;
  /** What was changed, or the statement that pg_cron runs. */
  sql: string[];
  /** What a later run does to put it back. */
  undo: string[];
  notes?: string[];
};

/** What earlier runs have handed over, and is over. */
export type TakenBack = TableEntry & {
  to: "autovacuum" | "pg_cron";
  outcome: string;
  afterSeconds: number;
  /** What put the settings back. */
  sql: string[];
};

/** Beyond the failsafe age: the server will stop to take transactions if nothing is done. */
export type EmergencyTable = TableEntry & { transactionIdAge: number; multixactAge: number };

export type PlannedTable = TableEntry & {
  action: string;
  reasons: Reason[];
  predictedSeconds: number;
  lock: string;
  /** For FULL: free disk space that the copy needs. */
  diskNeededBytes?: number;
  sql: string;
};

export type LeftTable = TableEntry & {
  action: string;
  reasons: Reason[];
  predictedSeconds: number;
  why: string;
  /** When the end of the budget stopped it. */
  stoppedAfterSeconds?: number;
};

/** The list is cut after the first entries; `total` counts all. */
export type Listed<T> = { total: number; tables: T[] };

export type VacuumReport = {
  /** Relations that were looked at. */
  considered: number;
  due: number;
  vacuumed: Listed<VacuumedTable>;
  skippedLocked: Listed<TableEntry & { heldBy: string | null }>;
  heldBack: { holders: Holder[] } & Listed<TableEntry & { reasons: Reason[]; holders: string[] }>;
  notPermitted: Listed<TableEntry & { remedy: string }> & { systemCatalogs: number };
  failed: Listed<TableEntry & { error: string }>;
  left: Listed<LeftTable>;
  handedOver: Listed<HandedOver>;
  takenBack: Listed<TakenBack>;
  /** Tables beyond the failsafe, and everything that holds back the horizon, the oldest first. */
  emergency?: { holders: Holder[] } & Listed<EmergencyTable>;
  /** Settings of autovacuum that should be others, for the tables that were due; for all when asked for. */
  advice: Listed<TableAdvice>;
  /** When advice was asked for: how autovacuum does on each table. */
  autovacuum?: Listed<AutovacuumState>;
  budgetSeconds: number;
  secondsUsed: number;
  /** True when the deadline ended the run before its budget. */
  interrupted: boolean;
  dryRun: boolean;
  /** With a dry run: what would be done, in this order. */
  planned?: Listed<PlannedTable>;
  /** What limits the result, in sentences. */
  notes: string[];
};

/** A step's result may have 256 KB; the rest is for the other fields of the run. */
const maximalBytes = 200_000;

export function entryOf(relation: Relation): TableEntry {
  return { schema: relation.schema, table: relation.table };
}

/** Ratios to two places, triggers to whole rows. */
export function shownReasons(reasons: readonly Reason[]): Reason[] {
  return reasons.map((reason) => ({
    ...reason,
    trigger: Math.round(reason.trigger),
    ratio: Math.round(reason.ratio * 100) / 100,
  }));
}

export function lockOf(action: Action): string {
  return action.vacuum === "full"
    ? "ACCESS EXCLUSIVE: no reads or writes while it runs"
    : "SHARE UPDATE EXCLUSIVE: reads and writes go on";
}

/** The rewritten table and its indexes exist beside the old ones until the end. */
export function diskNeededBytes(work: Work, blockBytes: number): number {
  const { relation } = work;
  return (relation.relPages + (relation.toast?.relPages ?? 0) + relation.indexPages) * blockBytes;
}

/** Notes a table that was due and is not done. */
export function leave(
  report: VacuumReport,
  item: Work,
  predictedSeconds: number,
  why: string,
  stoppedAfterSeconds?: number,
): void {
  report.left.total += 1;
  report.left.tables.push({
    ...entryOf(item.relation),
    action: item.label,
    reasons: shownReasons(item.reasons),
    predictedSeconds: rounded(predictedSeconds),
    why,
    ...(stoppedAfterSeconds === undefined ? {} : { stoppedAfterSeconds: rounded(stoppedAfterSeconds) }),
  });
}

/** Why a table is not started with so much of the budget left. Seconds. */
export function tooLong(predicted: number, remaining: number, budget: number): string {
  return predicted > budget
    ? `needs about ${Math.ceil(predicted)} s, more than a whole run has; give budgetSeconds, or vacuum it by hand`
    : `needs about ${Math.ceil(predicted)} s and ${Math.max(0, Math.floor(remaining))} s were left`;
}

/** To milliseconds. */
export function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}

/** The report with its lists cut, evenly, until it fits into a step's result. */
export function bounded(report: VacuumReport): VacuumReport {
  for (let longest = 200; ; longest = Math.floor(longest / 2)) {
    const cut = <T>(list: Listed<T>): Listed<T> => ({ ...list, tables: list.tables.slice(0, longest) });
    const fitting: VacuumReport = {
      ...report,
      vacuumed: cut(report.vacuumed),
      skippedLocked: cut(report.skippedLocked),
      heldBack: { ...cut(report.heldBack), holders: report.heldBack.holders.slice(0, Math.min(20, longest)) },
      notPermitted: {
        ...cut(report.notPermitted),
        tables: report.notPermitted.tables.slice(0, Math.min(20, longest)),
        systemCatalogs: report.notPermitted.systemCatalogs,
      },
      failed: cut(report.failed),
      left: cut(report.left),
      handedOver: cut(report.handedOver),
      takenBack: cut(report.takenBack),
      ...(report.emergency === undefined
        ? {}
        : { emergency: { ...cut(report.emergency), holders: report.emergency.holders.slice(0, 20) } }),
      advice: cut(report.advice),
      ...(report.autovacuum === undefined ? {} : { autovacuum: cut(report.autovacuum) }),
      ...(report.planned === undefined ? {} : { planned: cut(report.planned) }),
    };
    if (longest <= 1 || Buffer.byteLength(JSON.stringify(fitting)) <= maximalBytes) return fitting;
  }
}
