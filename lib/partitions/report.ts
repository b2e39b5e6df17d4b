/** The list is cut after the first entries; `total` counts all. */
export type Listed<T> = { total: number; entries: T[] };

/** One statement as a dry run shows it. */
export type Statement = {
  sql: string;
  /** What it locks, and whom that stops. */
  lock: string;
  why: string;
};

export type Created = {
  table: string;
  partition: string;
  from: string;
  to: string;
  /** Rows that came out of the default partition. */
  movedRows: number;
};

export type Retired = {
  table: string;
  partition: string;
  outcome: "detached" | "archived" | "dropped";
  /** Where it is now; null when it is gone. */
  now: string | null;
};

export type Undone = {
  table: string;
  what: string;
  why: string;
  remedy: string;
};

export type PartitionFinding = {
  /** Stable, so that it can be recognised in the next report. */
  key: string;
  severity: "high" | "medium" | "low";
  table: string;
  text: string;
  remedy: string;
};

export type Planned = { table: string; what: string; statements: Statement[] };

export type Advice = {
  table: string;
  rows: number;
  bytes: number;
  /** Columns by which it could be partitioned. */
  candidates: string[];
  text: string;
};

export type PartitionsReport = {
  /** Declared tables that were looked at. */
  tables: number;
  created: Listed<Created>;
  retired: Listed<Retired>;
  /** Tables that are not looked after, and why. */
  refused: Listed<{ table: string; why: string; remedy: string }>;
  notPermitted: Listed<{ table: string; why: string; remedy: string }>;
  /** Something stood in the way; the next run tries again. */
  blocked: Listed<Undone>;
  failed: Listed<Undone>;
  /** Tables that pg_partman looked after. */
  byPartman: string[];
  findings: Listed<PartitionFinding>;
  advice: Listed<Advice>;
  /** Partitions for the present or ahead that do not exist after this run. */
  missing: number;
  budgetSeconds: number;
  secondsUsed: number;
  interrupted: boolean;
  dryRun: boolean;
  /** With a dry run: what would be done, in this order. */
  planned?: Listed<Planned>;
  notes: string[];
};

export const emptyList = <T>(): Listed<T> => ({ total: 0, entries: [] });

export function add<T>(list: Listed<T>, entry: T): void {
  list.total += 1;
  list.entries.push(entry);
}

export function emptyReport(budgetSeconds: number, dryRun: boolean): PartitionsReport {
  return {
    tables: 0,
    created: emptyList(),
    retired: emptyList(),
    refused: emptyList(),
    notPermitted: emptyList(),
    blocked: emptyList(),
    failed: emptyList(),
    byPartman: [],
    findings: emptyList(),
    advice: emptyList(),
    missing: 0,
    budgetSeconds,
    secondsUsed: 0,
    interrupted: false,
    dryRun,
    ...(dryRun ? { planned: emptyList<Planned>() } : {}),
    notes: [],
  };
}

/** A step's result may have 256 KB; the rest is for the other fields of the run. */
const maximalBytes = 200_000;
const lists = [
  "created",
  "retired",
  "refused",
  "notPermitted",
  "blocked",
  "failed",
  "findings",
  "advice",
  "planned",
] as const;

/** The report with its lists cut, evenly, until it fits into a step's result. */
export function bounded(report: PartitionsReport): PartitionsReport {
  for (let longest = 200; ; longest = Math.floor(longest / 2)) {
    const fitting: PartitionsReport = { ...report, notes: report.notes.slice(0, longest) };
    for (const name of lists) {
      const list = report[name];
      if (list !== undefined)
        Object.assign(fitting, { [name]: { total: list.total, entries: list.entries.slice(0, longest) } });
    }
    if (longest <= 1 || Buffer.byteLength(JSON.stringify(fitting)) <= maximalBytes) return fitting;
  }
}
