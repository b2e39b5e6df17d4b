import type { Holder } from "../../lib/maintenance/horizon.ts";
import type { Relation, ServerSettings } from "../../lib/vacuum/relation.ts";

/** What a server without settings of its own says. */
export const defaults: ServerSettings = {
  vacuumThreshold: 50,
  vacuumScaleFactor: 0.2,
  vacuumMaxThreshold: -1,
  insertThreshold: 1_000,
  insertScaleFactor: 0.2,
  analyzeThreshold: 50,
  analyzeScaleFactor: 0.1,
  freezeMaxAge: 200_000_000,
  multixactFreezeMaxAge: 400_000_000,
  freezeTableAge: 150_000_000,
  multixactFreezeTableAge: 150_000_000,
  freezeMinAge: 50_000_000,
  multixactFreezeMinAge: 5_000_000,
  failsafeAge: 1_600_000_000,
  multixactFailsafeAge: 1_600_000_000,
  countsTracked: true,
};

/** An empty table with these differences. */
export function relation(some: Partial<Relation> = {}): Relation {
  return {
    oid: 20_000,
    schema: "public",
    table: "orders",
    kind: "table",
    isSystem: false,
    isUncounted: false,
    deadTuples: 0,
    insertsSinceVacuum: 0,
    changesSinceAnalyze: 0,
    liveTuples: 0,
    relTuples: 0,
    relPages: 0,
    allVisiblePages: 0,
    allFrozenPages: 0,
    transactionIdAge: 0,
    multixactAge: 0,
    options: null,
    secondsSinceVacuum: 1_000,
    indexPages: 0,
    toast: null,
    isPermitted: true,
    obstacle: null,
    isRequested: false,
    ...some,
  };
}

/** A session that began in the middle of the time since the last vacuum, with these differences. */
export function holder(some: Partial<Holder> = {}): Holder {
  return {
    kind: "session",
    name: "process 1",
    holds: "everything",
    ageTransactions: 500,
    ageSeconds: 500,
    abandoned: false,
    remedy: "end it",
    ...some,
  };
}
