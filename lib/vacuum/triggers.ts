import type { Counters, Relation, ServerSettings } from "./relation.ts";

export type Counter =
  | "dead rows"
  | "inserted rows"
  | "changed rows"
  | "transaction id age"
  | "multixact age"
  | "unknown contents"
  | "asked for";

/** One counter of a table against the value at which autovacuum would act. */
export type Reason = {
  counter: Counter;
  /** True when it is the TOAST table's. */
  toast?: true;
  value: number;
  trigger: number;
  /** value ÷ trigger. */
  ratio: number;
};

/** Values at which autovacuum acts on one relation. */
export interface Triggers {
  dead: number;
  /** Null: inserts alone never call for a vacuum. */
  inserted: number | null;
  changed: number;
  transactionIdAge: number;
  multixactAge: number;
}

/**
 * The triggers of one relation, as `relation_needs_vacanalyze()` of PostgreSQL's
 * `src/backend/postmaster/autovacuum.c` computes them: base + scale × reltuples, storage parameters before
 * settings, a cap on dead rows from 18 on, and from 18 on the insert scale only on what is not frozen.
 * A table may lower the maximal ages, never raise them. One thing cannot be had by SQL: the server lowers
 * `autovacuum_multixact_freeze_max_age` by itself while very many multixact members exist.
 */
export function triggersOf(
  relation: Pick<Counters, "relTuples" | "relPages" | "allFrozenPages" | "options">,
  settings: ServerSettings,
): Triggers {
  const options = storageParameters(relation.options);
  const own = (name: string, fallback: number, lowest = 0): number => {
    const value = options.get(name);
    return value !== undefined && value >= lowest ? value : fallback;
  };
  const tuples = Math.max(0, relation.relTuples);
  const cap = own("autovacuum_vacuum_max_threshold", settings.vacuumMaxThreshold, -1);
  const dead =
    own("autovacuum_vacuum_threshold", settings.vacuumThreshold) +
    own("autovacuum_vacuum_scale_factor", settings.vacuumScaleFactor) * tuples;
  const insertBase = own("autovacuum_vacuum_insert_threshold", settings.insertThreshold, -1);
  const unfrozen =
    relation.relPages > 0 && relation.allFrozenPages > 0
      ? 1 - Math.min(relation.allFrozenPages, relation.relPages) / relation.relPages
      : 1;
  const inserted =
    insertBase + own("autovacuum_vacuum_insert_scale_factor", settings.insertScaleFactor) * tuples * unfrozen;
  return {
    dead: cap >= 0 ? Math.min(dead, cap) : dead,
    inserted: insertBase < 0 ? null : inserted,
    changed:
      own("autovacuum_analyze_threshold", settings.analyzeThreshold) +
      own("autovacuum_analyze_scale_factor", settings.analyzeScaleFactor) * tuples,
    transactionIdAge: Math.min(
      own("autovacuum_freeze_max_age", settings.freezeMaxAge),
      settings.freezeMaxAge,
    ),
    multixactAge: Math.min(
      own("autovacuum_multixact_freeze_max_age", settings.multixactFreezeMaxAge),
      settings.multixactFreezeMaxAge,
    ),
  };
}

/** Numbers among `pg_class.reloptions`; the others do not matter here. */
function storageParameters(options: readonly string[] | null): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const option of options ?? []) {
    const equals = option.indexOf("=");
    const text = option.slice(equals + 1);
    const value = Number(text);
    if (equals > 0 && text.trim() !== "" && Number.isFinite(value))
      numbers.set(option.slice(0, equals), value);
  }
  return numbers;
}

/** Every counter of a relation and its TOAST table that is above zero, the largest ratio first. */
export function reasonsOf(relation: Relation, settings: ServerSettings): Reason[] {
  const reasons: Reason[] = [];
  const analyzable = relation.schema !== "pg_catalog" || relation.table !== "pg_statistic";
  const partitioned = relation.kind === "partitioned table";
  const triggers = triggersOf(relation, settings);
  if (relation.isRequested) reasons.push({ counter: "asked for", value: 1, trigger: 1, ratio: 1 });
  if (relation.isUncounted && analyzable) {
    // What the table holds is not known: the trigger counts as reached, and ANALYZE makes the counters anew.
    reasons.push({ counter: "unknown contents", value: 1, trigger: 1, ratio: 1 });
  }
  if (settings.countsTracked && analyzable) {
    add(reasons, "changed rows", relation.changesSinceAnalyze, triggers.changed, false);
  }
  if (!partitioned) {
    addVacuumReasons(reasons, relation, triggers, settings, false);
    if (relation.toast !== null) {
      // Autovacuum takes the owner's storage parameters when the TOAST table has none at all.
      const toast = { ...relation.toast, options: relation.toast.options ?? relation.options };
      addVacuumReasons(reasons, toast, triggersOf(toast, settings), settings, true);
    }
  }
  return reasons.sort((a, b) => b.ratio - a.ratio);
}

function addVacuumReasons(
  reasons: Reason[],
  counters: Counters,
  triggers: Triggers,
  settings: ServerSettings,
  toast: boolean,
): void {
  if (settings.countsTracked) {
    add(reasons, "dead rows", counters.deadTuples, triggers.dead, toast);
    if (triggers.inserted !== null) {
      add(reasons, "inserted rows", counters.insertsSinceVacuum, triggers.inserted, toast);
    }
  }
  add(reasons, "transaction id age", counters.transactionIdAge, triggers.transactionIdAge, toast);
  add(reasons, "multixact age", counters.multixactAge, triggers.multixactAge, toast);
}

function add(reasons: Reason[], counter: Counter, value: number, trigger: number, toast: boolean): void {
  if (value <= 0) return;
  const atLeastOne = Math.max(1, trigger);
  reasons.push({
    counter,
    ...(toast ? { toast: true as const } : {}),
    value,
    trigger: atLeastOne,
    ratio: value / atLeastOne,
  });
}

/**
 * Whether VACUUM would give up everything but freezing on this relation. The server takes at least 105 % of
 * the age for autovacuum (`vacuum_xid_failsafe_check()` in `src/backend/commands/vacuum.c`).
 */
export function isBeyondFailsafe(relation: Relation, settings: ServerSettings): boolean {
  const transactionIds = Math.max(settings.failsafeAge, settings.freezeMaxAge * 1.05);
  const multixacts = Math.max(settings.multixactFailsafeAge, settings.multixactFreezeMaxAge * 1.05);
  return [relation, ...(relation.toast === null ? [] : [relation.toast])].some(
    (counters) => counters.transactionIdAge > transactionIds || counters.multixactAge > multixacts,
  );
}
