import { type Holder, readHorizon } from "../../maintenance/horizon.ts";
import type { Relation } from "../../vacuum/relation.ts";
import { readRelations } from "../../vacuum/relations.ts";
import { readServerFacts, type ServerFacts } from "../../vacuum/server.ts";
import { readTables } from "../indexes/tables.ts";
import type { ReviewContext } from "../review-check.ts";

export interface VacuumState {
  facts: ServerFacts;
  /** Of the user's tables, those that a counter says something about. */
  relations: readonly Relation[];
  /** Being vacuumed or analysed now: their counters are about to change. */
  underWay: ReadonlySet<number>;
}

/** What the job vacuum reads of each table, once for all checks. Only a primary counts. */
export function readVacuumState(context: ReviewContext): Promise<VacuumState> {
  return context.once("vacuum-state", async () => {
    const { session } = context;
    const facts = await readServerFacts(session);
    const { byOid } = await readTables(context);
    // No age below its trigger matters here: those are a check of their own.
    const all = await readRelations(session, facts, { all: false, threshold: 1 });
    const busy = await session.query<{ oid: number }>(
      "select relid::int8 as oid from pg_stat_progress_vacuum union select relid::int8 from pg_stat_progress_analyze",
    );
    return {
      facts,
      relations: all.filter(({ oid }) => byOid.has(oid)),
      underWay: new Set(busy.map(({ oid }) => oid)),
    };
  });
}

/** What holds back the horizon, once for all checks, the oldest first. */
export function readHolders(context: ReviewContext): Promise<Holder[]> {
  return context.once("horizon", () => readHorizon(context.session));
}
