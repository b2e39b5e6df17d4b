/** Tuple counters and ages of one table, materialized view or TOAST table. Tuples unless said otherwise. */
export interface Counters {
  deadTuples: number;
  insertsSinceVacuum: number;
  changesSinceAnalyze: number;
  /** `pg_class.reltuples`; −1 when neither VACUUM nor ANALYZE has ever looked. */
  relTuples: number;
  /** 8 kB pages as of the last VACUUM or ANALYZE. */
  relPages: number;
  allVisiblePages: number;
  /** 0 before PostgreSQL 18, which does not know it. */
  allFrozenPages: number;
  /** Transactions since `relfrozenxid`. */
  transactionIdAge: number;
  /** Multixacts since `relminmxid`. */
  multixactAge: number;
  /** `pg_class.reloptions`, e.g. `autovacuum_vacuum_scale_factor=0.01`. */
  options: readonly string[] | null;
}

/** A table that VACUUM or ANALYZE may be needed for, with its TOAST table. */
export interface Relation extends Counters {
  oid: number;
  schema: string;
  table: string;
  kind: "table" | "materialized view" | "partitioned table";
  /** In `pg_catalog` or `information_schema`, made by initdb. */
  isSystem: boolean;
  /** Neither counted nor analysed since the statistics began: lost in a crash, reset, or never there. */
  isUncounted: boolean;
  /** Null: not known since the statistics began. Seconds ago. */
  secondsSinceVacuum: number | null;
  liveTuples: number;
  indexPages: number;
  toast: Counters | null;
  /** Whether the session may VACUUM it. */
  isPermitted: boolean;
  /** Why not, and the statement that would change it. */
  obstacle: string | null;
  /** Named by the person who started the run, or a partition of what was. */
  isRequested: boolean;
}

/** Defaults and limits of the server that the triggers depend on, as `current_setting` gives them. */
export interface ServerSettings {
  vacuumThreshold: number;
  vacuumScaleFactor: number;
  /** −1: no limit, as before PostgreSQL 18. */
  vacuumMaxThreshold: number;
  /** −1: inserts alone never call for a vacuum. */
  insertThreshold: number;
  insertScaleFactor: number;
  analyzeThreshold: number;
  analyzeScaleFactor: number;
  freezeMaxAge: number;
  multixactFreezeMaxAge: number;
  freezeTableAge: number;
  multixactFreezeTableAge: number;
  freezeMinAge: number;
  multixactFreezeMinAge: number;
  failsafeAge: number;
  multixactFailsafeAge: number;
  /** `track_counts`: without it only the ages are known. */
  countsTracked: boolean;
}
