import type { Finding } from "../checks/check.ts";
import type { Kind } from "./items.ts";

export interface Covered {
  objects: number;
  /** In this run. */
  checked: number;
  blocks: number;
  blocksChecked: number;
}

export interface ChecksumState {
  server: string;
  /** Null when it could not be asked. */
  enabled: boolean | null;
  /** Pages that failed since the statistics were reset, over all databases; null when nobody can tell. */
  failures: number | null;
  lastFailureAt: string | null;
}

/** What one run of check-integrity looked at and found. Plain JSON. */
export interface IntegrityReport {
  dryRun: boolean;
  database: string;
  /** Which server did the reading: `primary`, or a replica's name. */
  server: string;
  budgetSeconds: number;
  secondsUsed: number;
  /** The budget or the deadline ended it before everything wanted was looked at. */
  interrupted: boolean;
  coverage: Covered & {
    rowsChecked: number;
    /** Of the blocks that looks read, table scans counted for each look, in percent. */
    sharePercent: number;
    /** Every object was looked at in this run. */
    complete: boolean;
    /** Each object that can be looked at was, since then; null while one never was. */
    since: string | null;
    neverChecked: number;
    byKind: Record<Kind, Covered>;
  };
  /** Everything that is known to be wrong, from this run or one before that looked there last; the worst first. */
  findings: Finding[];
  findingsTotal: number;
  /** Tables and indexes with damage, and servers with new checksum failures. */
  corruptObjects: number;
  checksums: ChecksumState[];
  /** What may or can not be looked at; the same reason once. */
  notAssessable: { reason: string; first: string; objects: number }[];
  /** What a later run goes on with. */
  left: { total: number; objects: string[]; reasons: { reason: string; first: string; objects: number }[] };
  skipped: string[];
  notes: string[];
}

/** The report is kept in a row and handed on between executions: so many of each. */
export const kept = { findings: 50, reasons: 25, objects: 20, names: 200 };

/** Reasons with the first object of each and how many there are. */
export class Reasons {
  private readonly reasons = new Map<string, { first: string; objects: number }>();

  constructor(list: readonly { reason: string; first: string; objects: number }[] = []) {
    for (const { reason, first, objects } of list) this.reasons.set(reason, { first, objects });
  }

  add(reason: string, object: string, objects = 1): void {
    const text = reason.slice(0, 1_000);
    const known = this.reasons.get(text);
    if (known === undefined) this.reasons.set(text, { first: object.slice(0, kept.names), objects });
    else known.objects += objects;
  }

  list(): { reason: string; first: string; objects: number }[] {
    const all = [...this.reasons].map(([reason, rest]) => ({ reason, ...rest }));
    if (all.length <= kept.reasons) return all;
    const rest = all.slice(kept.reasons - 1);
    return [
      ...all.slice(0, kept.reasons - 1),
      {
        reason: "other reasons",
        first: rest[0]?.first ?? "",
        objects: rest.reduce((sum, { objects }) => sum + objects, 0),
      },
    ];
  }
}
