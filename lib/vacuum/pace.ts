import type { Action } from "./plan.ts";
import type { Relation } from "./relation.ts";

/** For a table whose size nobody has recorded yet. */
const rowsPerPage = 50;

/** Pages that the action reads or writes: those not known to be all-visible, or all of them when it must. */
export function pagesToProcess(relation: Relation, action: Action, analyzePages: number): number {
  const parts = [relation, ...(relation.toast === null ? [] : [relation.toast])];
  const known = parts.reduce((sum, part) => sum + part.relPages, 0);
  const total = Math.max(known, (relation.liveTuples + relation.deadTuples) / rowsPerPage);
  const visible = parts.reduce((sum, part) => sum + part.allVisiblePages, 0);
  const sample = action.analyze ? Math.min(total, analyzePages) : 0;
  switch (action.vacuum) {
    case "none":
      return relation.kind === "partitioned table" ? 2 * sample : sample;
    case "full":
      return 2 * (total + relation.indexPages) + sample;
    case "freeze":
      return total + relation.indexPages + sample;
    case "plain":
      // In an emergency everything that is not all-frozen is read, and no index.
      if (action.emergency) return total;
      return Math.max(0, total - visible) + relation.indexPages + sample;
  }
}
