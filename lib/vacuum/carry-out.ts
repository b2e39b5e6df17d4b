import { errorMessage, PgkeepError } from "../errors.ts";
import { StatementLimit } from "../maintenance/statement-limit.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";
import type { VacuumArguments } from "./arguments.ts";
import { runStatement, type StatementOutcome } from "./execute.ts";
import type { HandingOver } from "./hand-over.ts";
import { Observer } from "./observe.ts";
import { readDeadRows, readWorkedAt, statisticsAreImmediate } from "./outcome.ts";
import type { Effort, Plan, Work } from "./plan.ts";
import { predictor } from "./predict.ts";
import {
  entryOf,
  leave,
  rounded,
  shownReasons,
  tooLong,
  type VacuumedTable,
  type VacuumReport,
} from "./report.ts";
import type { ServerFacts } from "./server.ts";

export interface VacuumRun {
  /** Opens a session of the maintenance role; every statement of the run goes through the first one. */
  connect(options: { statementTimeoutMilliseconds: number; signal?: AbortSignal }): Promise<Session>;
  clock: Clock;
  deadline: AbortSignal;
  dryRun: boolean;
  wanted: VacuumArguments;
  /** Share of its trigger from which a table is due. */
  threshold: number;
  budgetSeconds: number;
  /** Nobody waits longer because of the run. */
  lockTimeoutSeconds: number;
  /** Between two lines about a statement that takes long. */
  progressEverySeconds: number;
  effort: Effort;
  /** For how long others may be at a table that was handed over. */
  handOverDays: number;
  progress(message: string): void;
}

/**
 * Works the plan off, noting in the report what became of each table. Resolves to what went wrong with the run
 * as a whole, if anything did.
 */
export async function carryOut(
  run: VacuumRun,
  session: Session,
  facts: ServerFacts,
  planned: Plan,
  report: VacuumReport,
  handingOver: HandingOver,
  remainingSeconds: () => number,
): Promise<string | undefined> {
  const predict = await predictor(session, facts, planned);
  const limit = new StatementLimit(session, run.budgetSeconds * 1000);
  const observer = new Observer(() => run.connect({ statementTimeoutMilliseconds: 2_000 }), {
    lockTimeoutSeconds: run.lockTimeoutSeconds,
    progressEverySeconds: run.progressEverySeconds,
    say: run.progress,
  });
  const done: { work: Work; entry: VacuumedTable }[] = [];
  const before = new Map<number, Date | null>();
  let ended: string | undefined;
  let problem: string | undefined;
  let position = 0;
  try {
    if (!statisticsAreImmediate(session)) {
      const oids = planned.work.map((item) => item.relation.oid);
      for (const row of await readWorkedAt(session, oids)) before.set(row.oid, row.workedAt);
    }
    for (; position < planned.work.length; position += 1) {
      const item = planned.work[position] as Work;
      run.deadline.throwIfAborted();
      const predicted = predict.seconds(item);
      const remaining = remainingSeconds();
      if (predicted > remaining) {
        await leaveTooLong(run, handingOver, report, item, predicted, remaining);
        continue;
      }
      await limit.ensure(remaining * 1000);
      const name = `${item.label} ${item.relation.schema}.${item.relation.table}`;
      run.progress(`${name} (${position + 1} of ${planned.work.length})`);
      const started = performance.now();
      const { outcome, yieldedTo } = await observed(run, observer, session, facts.backendPid, item, name);
      const seconds = (performance.now() - started) / 1000;
      if (outcome.kind === "done") {
        const pages = predict.pages(item);
        predict.learn(pages, seconds);
        const entry = vacuumedEntry(item, seconds, pages);
        done.push({ work: item, entry });
        report.vacuumed.tables.push(entry);
        report.vacuumed.total += 1;
      } else {
        const ended = {
          predicted,
          yieldedTo,
          stoppedAfterSeconds: remainingSeconds() > 0.1 ? undefined : seconds,
        };
        noteUndone(report, item, outcome, ended);
      }
    }
    await finishDatabase(session, done, remainingSeconds());
  } catch (error) {
    if (run.deadline.aborted) {
      report.interrupted = true;
      ended = "the run was ended before its turn";
    } else if (error instanceof PgkeepError) {
      problem = errorMessage(error);
      ended = "the run broke off before its turn";
    } else {
      throw error;
    }
    for (const item of planned.work.slice(position)) leave(report, item, predict.seconds(item), ended);
  } finally {
    await observer.close();
  }
  await fillDeadAfter(run, session, done, before, report);
  if (problem !== undefined) return problem;
  if (report.failed.total > 0) {
    const first = report.failed.tables[0];
    return `${report.failed.total} of ${report.due} tables could not be vacuumed, first ${first?.schema}.${first?.table}: ${first?.error}`;
  }
  return undefined;
}

/** Runs one statement while the observer looks on. A rewrite that was asked for and an emergency do not give way. */
async function observed(
  run: VacuumRun,
  observer: Observer,
  session: Session,
  pid: number,
  item: Work,
  name: string,
): Promise<{ outcome: StatementOutcome; yieldedTo: string | null }> {
  const givesWay = item.action.vacuum !== "full" && !item.action.emergency;
  const { result, yieldedTo } = await observer.during(
    pid,
    name,
    givesWay,
    runStatement(session, item, run.deadline),
  );
  if (result.status === "rejected") throw result.reason;
  return { outcome: result.value, yieldedTo };
}

/** What does not fit into the rest of this run waits for the next; what fits into none is handed over. */
export async function leaveTooLong(
  run: VacuumRun,
  handingOver: HandingOver,
  report: VacuumReport,
  item: Work,
  predicted: number,
  remaining: number,
): Promise<void> {
  const why = tooLong(predicted, remaining, run.budgetSeconds);
  if (predicted <= run.budgetSeconds) {
    leave(report, item, predicted, why);
    return;
  }
  const handed = await handingOver.give(item, predicted, run.dryRun);
  if (handed.kind === "kept") {
    leave(report, item, predicted, handed.why === "" ? why : `${why}; ${handed.why}`);
    return;
  }
  report.handedOver.total += 1;
  report.handedOver.tables.push(handed.entry);
}

function vacuumedEntry(item: Work, seconds: number, pages: number): VacuumedTable {
  const { relation } = item;
  return {
    ...entryOf(relation),
    action: item.label,
    reasons: shownReasons(item.reasons),
    seconds: rounded(seconds),
    deadBefore: relation.deadTuples + (relation.toast?.deadTuples ?? 0),
    deadAfter: null,
    pagesBefore: relation.relPages + (relation.toast?.relPages ?? 0),
    pages: Math.round(pages),
  };
}

function noteUndone(
  report: VacuumReport,
  item: Work,
  outcome: Exclude<StatementOutcome, { kind: "done" }>,
  ended: { predicted: number; yieldedTo: string | null; stoppedAfterSeconds: number | undefined },
): void {
  const { predicted, yieldedTo, stoppedAfterSeconds } = ended;
  switch (outcome.kind) {
    case "locked":
      report.skippedLocked.total += 1;
      report.skippedLocked.tables.push({ ...entryOf(item.relation), heldBy: outcome.heldBy });
      break;
    case "not permitted":
      report.notPermitted.total += 1;
      report.notPermitted.tables.push({ ...entryOf(item.relation), remedy: outcome.remedy });
      break;
    case "cancelled":
      leave(
        report,
        item,
        predicted,
        yieldedTo !== null
          ? `gave way to ${yieldedTo}; what it has done so far stays done`
          : stoppedAfterSeconds === undefined
            ? "was cancelled by someone on the server"
            : "was stopped when the budget ended; what it has done so far stays done",
        yieldedTo === null ? stoppedAfterSeconds : undefined,
      );
      break;
    case "failed":
      report.failed.total += 1;
      report.failed.tables.push({ ...entryOf(item.relation), error: outcome.error });
      break;
    case "gone":
      break;
  }
}

/** From 16 on each VACUUM has left out the database's own ages, which are brought up to date once. */
async function finishDatabase(
  session: Session,
  done: readonly { work: Work }[],
  remainingSeconds: number,
): Promise<void> {
  const vacuumed = done.some(({ work: item }) => item.action.vacuum !== "none");
  if (majorOf(session.serverVersionNumber) < 16 || !vacuumed || remainingSeconds <= 0) return;
  await session.query("VACUUM (ONLY_DATABASE_STATS)");
}

/** Reads what is left of the dead rows; when the run's own session was ended, through a new one. */
async function fillDeadAfter(
  run: VacuumRun,
  session: Session,
  done: readonly { work: Work; entry: VacuumedTable }[],
  before: ReadonlyMap<number, Date | null>,
  report: VacuumReport,
): Promise<void> {
  if (done.length === 0) return;
  const worked = done.map(({ work: item }) => ({
    oid: item.relation.oid,
    before: before.get(item.relation.oid) ?? null,
  }));
  let fresh: Session | undefined;
  try {
    if (run.deadline.aborted) fresh = await run.connect({ statementTimeoutMilliseconds: 2_000 });
    else await session.query("select set_config('statement_timeout', '10000', false)");
    const dead = await readDeadRows(fresh ?? session, run.clock, worked);
    for (const { work: item, entry } of done) entry.deadAfter = dead.get(item.relation.oid) ?? null;
  } catch (error) {
    report.notes.push(`dead rows after the run could not be read: ${errorMessage(error)}`);
  } finally {
    await fresh?.close();
  }
  const stuck = done.filter(
    ({ work: item, entry }) =>
      entry.deadAfter !== null &&
      entry.deadAfter > entry.deadBefore / 2 &&
      item.reasons.some((reason) => reason.counter === "dead rows"),
  );
  if (stuck.length > 0) {
    report.notes.push(
      `${stuck.length} tables kept more than half of their dead rows: something began before these died and still runs; ` +
        `first ${stuck[0]?.entry.schema}.${stuck[0]?.entry.table}`,
    );
  }
}
