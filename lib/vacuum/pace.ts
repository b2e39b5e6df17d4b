import type { Action } from "./plan.ts";
import type { Relation } from "./relation.ts";

/** First guess before anything was measured: 40 MB/s, what modest cloud volumes give to one reader. */
const firstGuessPagesPerSecond = 5_000;
/** The first guess counts as if it had been measured for this long. */
const firstGuessSeconds = 2;
/** Begin, commit, catalog updates, round trip. */
const overheadSeconds = 0.02;
/** For a table whose size nobody has recorded yet. */
const rowsPerPage = 50;

/** Predicts how long a table takes from its size and from what this run has measured so far. */
export class Pace {
  private pages = firstGuessPagesPerSecond * firstGuessSeconds;
  private seconds = firstGuessSeconds;

  get pagesPerSecond(): number {
    return this.pages / this.seconds;
  }

  predictSeconds(pages: number): number {
    return overheadSeconds + pages / this.pagesPerSecond;
  }

  /** Takes in one table that was worked on. Small ones say nothing about throughput. */
  learn(pages: number, seconds: number): void {
    if (pages < 500 || seconds <= 0) return;
    this.pages += pages;
    this.seconds += Math.max(seconds - overheadSeconds, 0.001);
  }
}

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
      return Math.max(0, total - visible) + relation.indexPages + sample;
  }
}
