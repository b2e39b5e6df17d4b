import type { Holder } from "../maintenance/horizon.ts";
import { qualified } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import { judge } from "./held-back.ts";
import type { Candidate } from "./rank.ts";
import type { Relation, ServerSettings } from "./relation.ts";
import type { Reason } from "./triggers.ts";

export interface Action {
  /** `freeze`: VACUUM (FREEZE), reads every page that is not all-frozen. */
  vacuum: "none" | "plain" | "freeze" | "full";
  analyze: boolean;
  /** Only the TOAST table needs it (16+ can leave the rest alone). */
  toastOnly: boolean;
  /** Beyond the failsafe: nothing is done but what makes the table's age young again. */
  emergency: boolean;
}

/** One table to work on. */
export interface Work {
  relation: Relation;
  reasons: Reason[];
  action: Action;
  sql: string;
  /** Of the action, in words: `VACUUM (ANALYZE)`. */
  label: string;
}

export interface Plan {
  /** Most urgent first. */
  work: Work[];
  heldBack: { relation: Relation; reasons: Reason[]; holders: Holder[] }[];
  notPermitted: { relation: Relation; reasons: Reason[] }[];
}

/** What a VACUUM of a large table may use of the server. */
export interface Effort {
  parallelWorkers: number;
  bufferUsageMegabytes: number;
}

/** Decides what to do to each candidate, in their order. Pure. */
export function plan(
  candidates: readonly Candidate[],
  holders: readonly Holder[],
  options: {
    settings: ServerSettings;
    threshold: number;
    full: boolean;
    serverVersionNumber: number;
    effort: Effort;
  },
): Plan {
  const result: Plan = { work: [], heldBack: [], notPermitted: [] };
  for (const candidate of candidates) {
    const { relation } = candidate;
    if (!relation.isPermitted) {
      result.notPermitted.push({ relation, reasons: candidate.reasons });
      continue;
    }
    const verdict = judge(candidate, holders, options.threshold);
    if (verdict.held.length > 0) {
      result.heldBack.push({ relation, reasons: verdict.held, holders: verdict.holders });
    }
    if (verdict.workable.length === 0) continue;
    const action = actionFor(relation, verdict.workable, options.settings, {
      full: options.full,
      emergency: candidate.beyondFailsafe,
    });
    result.work.push({
      relation,
      reasons: verdict.workable,
      action,
      sql: statementFor(relation, action, options.serverVersionNumber, options.effort),
      label: labelOf(action),
    });
  }
  return result;
}

/** Which of VACUUM, ANALYZE, both or a freezing VACUUM the reasons call for. */
export function actionFor(
  relation: Relation,
  reasons: readonly Reason[],
  settings: ServerSettings,
  wanted: { full: boolean; emergency: boolean },
): Action {
  const has = (...counters: Reason["counter"][]) =>
    reasons.some((reason) => counters.includes(reason.counter));
  const asked = has("asked for");
  const mayAnalyze = relation.schema !== "pg_catalog" || relation.table !== "pg_statistic";
  const analyze = mayAnalyze && (asked || has("changed rows", "unknown contents"));
  const ordinary = { toastOnly: false, emergency: false };
  if (relation.kind === "partitioned table") return { vacuum: "none", analyze: true, ...ordinary };
  if (wanted.full && asked) return { vacuum: "full", analyze, ...ordinary };
  const vacuumReasons = reasons.filter(
    (reason) => reason.counter !== "changed rows" && reason.counter !== "unknown contents",
  );
  if (vacuumReasons.length === 0) return { vacuum: "none", analyze, ...ordinary };
  if (wanted.emergency && has("transaction id age", "multixact age")) {
    return { vacuum: "plain", analyze: false, toastOnly: false, emergency: true };
  }
  const freeze = reasons.some((reason) => plainWouldNotFreeze(reason, settings));
  return {
    vacuum: freeze ? "freeze" : "plain",
    analyze,
    toastOnly: !freeze && !analyze && vacuumReasons.every((reason) => reason.toast === true),
    emergency: false,
  };
}

/**
 * A plain VACUUM is aggressive by itself once a table's age is beyond vacuum_freeze_table_age (which the
 * server limits to 95 % of autovacuum_freeze_max_age), and freezes what is older than vacuum_freeze_min_age
 * (limited to half of it): `vacuum_get_cutoffs()` in `src/backend/commands/vacuum.c`. With the default settings
 * that is so at 75 % of the trigger. Where the settings of the server or the table make a table due earlier,
 * a plain VACUUM would read it and leave its age, so FREEZE is asked for.
 */
function plainWouldNotFreeze(reason: Reason, settings: ServerSettings): boolean {
  if (reason.counter === "transaction id age") {
    return (
      reason.value <= Math.min(settings.freezeTableAge, settings.freezeMaxAge * 0.95) ||
      Math.min(settings.freezeMinAge, settings.freezeMaxAge / 2) > reason.trigger / 2
    );
  }
  if (reason.counter === "multixact age") {
    const maximum = settings.multixactFreezeMaxAge;
    return (
      reason.value <= Math.min(settings.multixactFreezeTableAge, maximum * 0.95) ||
      Math.min(settings.multixactFreezeMinAge, maximum / 2) > reason.trigger / 2
    );
  }
  return false;
}

/**
 * The one statement for a table. Never waits for the table's lock; leaves the statistics of the whole database
 * to one statement at the end where the server can (16+), because each costs a pass over `pg_class`.
 */
export function statementFor(
  relation: Relation,
  action: Action,
  serverVersionNumber: number,
  effort: Effort,
): string {
  const major = majorOf(serverVersionNumber);
  const name = qualified(relation.schema, relation.table);
  if (action.vacuum === "none") {
    // Before 18 ANALYZE of a partitioned table always analyses its partitions too.
    const only = relation.kind === "partitioned table" && major >= 18 ? "ONLY " : "";
    return `ANALYZE (SKIP_LOCKED) ${only}${name}`;
  }
  const options = [
    ...(action.vacuum === "full" ? ["FULL"] : []),
    ...(action.vacuum === "freeze" ? ["FREEZE"] : []),
    "SKIP_LOCKED",
    ...(action.analyze ? ["ANALYZE"] : []),
    ...(action.toastOnly && major >= 16 ? ["PROCESS_MAIN FALSE"] : []),
    ...(action.vacuum === "full" ? [] : [`PARALLEL ${parallelWorkers(relation, action, effort)}`]),
    ...(major >= 16 ? bufferOption(relation, action, effort) : []),
    // As the failsafe itself would, but from the first page on: VACUUM notices its own only some gigabytes later.
    ...(action.emergency ? ["INDEX_CLEANUP OFF", "TRUNCATE FALSE"] : []),
    ...(major >= 16 ? ["SKIP_DATABASE_STATS"] : []),
  ];
  return `VACUUM (${options.join(", ")}) ${name}`;
}

/** The server starts workers only for indexes above min_parallel_index_scan_size, 512 kB: starting them costs more. */
const pagesWorthWorkers = 128;
/** Below, the ring of buffers that VACUUM takes by itself (256 kB to 2 MB) is as good. */
const pagesWorthBuffers = 1_000;

function parallelWorkers(relation: Relation, action: Action, effort: Effort): number {
  return action.emergency || relation.indexPages < pagesWorthWorkers ? 0 : effort.parallelWorkers;
}

function bufferOption(relation: Relation, action: Action, effort: Effort): string[] {
  if (action.vacuum === "full") return [];
  // 0: as many as there are, which is what the failsafe takes too.
  if (action.emergency) return ["BUFFER_USAGE_LIMIT 0"];
  const pages = relation.relPages + (relation.toast?.relPages ?? 0) + relation.indexPages;
  return pages < pagesWorthBuffers ? [] : [`BUFFER_USAGE_LIMIT '${effort.bufferUsageMegabytes} MB'`];
}

function labelOf(action: Action): string {
  if (action.vacuum === "none") return "ANALYZE";
  const options = [
    ...(action.emergency ? ["INDEX_CLEANUP OFF", "TRUNCATE FALSE"] : []),
    ...(action.vacuum === "full" ? ["FULL"] : []),
    ...(action.vacuum === "freeze" ? ["FREEZE"] : []),
    ...(action.analyze ? ["ANALYZE"] : []),
  ];
  return options.length === 0 ? "VACUUM" : `VACUUM (${options.join(", ")})`;
}
