import { Pace } from "../maintenance/pace.ts";
import type { Session } from "../ports/databases.ts";
import { key, noHistory, readHistory } from "./history.ts";
import { pagesToProcess } from "./pace.ts";
import type { Plan, Work } from "./plan.ts";
import type { ServerFacts } from "./server.ts";

/** From this size on (about a second by the first guess) it is worth to look at what earlier runs have measured. */
const pagesWorthHistory = 5_000;

export interface Predictor {
  pages(item: Work): number;
  seconds(item: Work): number;
  /** Takes in what this run has measured. */
  learn(pages: number, seconds: number): void;
}

/**
 * Predicts how long each table takes: its pages by the speed that earlier runs and this one have measured, and no
 * less than an attempt that was stopped has shown.
 */
export async function predictor(session: Session, facts: ServerFacts, planned: Plan): Promise<Predictor> {
  const pace = new Pace();
  const pages = (item: Work) => pagesToProcess(item.relation, item.action, facts.analyzePages);
  const isWorth = planned.work.some((item) => pages(item) >= pagesWorthHistory);
  const history = isWorth ? await readHistory(session, pace) : noHistory;
  return {
    pages,
    seconds: (item) =>
      Math.max(pace.predictSeconds(pages(item)), history.atLeast.get(key(item.relation)) ?? 0),
    learn: (done, seconds) => pace.learn(done, seconds),
  };
}
