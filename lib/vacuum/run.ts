import { errorMessage, PgkeepError } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import type { VacuumArguments } from "./arguments.ts";
import { runStatement, StatementLimit } from "./execute.ts";
import { type Holder, readHorizon } from "./horizon.ts";
import { readDeadRows, readWorkedAt, statisticsAreImmediate } from "./outcome.ts";
import { Pace, pagesToProcess } from "./pace.ts";
import { type Plan, plan, type Work } from "./plan.ts";
import { rank } from "./rank.ts";
import { readRelations } from "./relations.ts";
import {
  bounded,
  diskNeededBytes,
  entryOf,
  type LeftTable,
  lockOf,
  shownReasons,
  type VacuumReport,
} from "./report.ts";
import { readServerFacts, type ServerFacts } from "./server.ts";

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
  progress(message: string): void;
}

/** What came of it: `problem` when the run as a whole did not do its work. */
export interface VacuumOutcome {
  report: VacuumReport;
  problem: string | undefined;
}

/**
 * Vacuums and analyses what needs it, most urgent first, until the budget or the deadline ends it.
 * @throws PgkeepError when it could not even be planned: no connection, a standby, a table that is not there
 */
export async function vacuumByNeed(run: VacuumRun): Promise<VacuumOutcome> {
  const begin = run.clock.now().getTime();
  const elapsedSeconds = () => (run.clock.now().getTime() - begin) / 1000;
  const session = await run.connect({
    statementTimeoutMilliseconds: Math.ceil(run.budgetSeconds * 1000),
    signal: run.deadline,
  });
  try {
    const facts = await readServerFacts(session);
    const holders = await readHorizon(session);
    const relations = await readRelations(session, facts, {
      ...(run.wanted.tables === undefined ? {} : { tables: run.wanted.tables }),
      all: run.wanted.wholeDatabase === true,
      threshold: run.threshold,
    });
    const chosen =
      run.wanted.wholeDatabase === true
        ? relations.map((relation) => ({ ...relation, isRequested: true }))
        : relations;
    const candidates = rank(chosen, facts.settings, run.threshold);
    const planned = plan(candidates, holders, {
      settings: facts.settings,
      threshold: run.threshold,
      full: run.wanted.full === true,
      serverVersionNumber: session.serverVersionNumber,
    });
    const report = emptyReport(run, session, facts, planned, candidates.length);
    let problem: string | undefined;
    if (run.dryRun) {
      describePlan(run, facts, planned, report);
    } else {
      problem = await work(run, session, facts, planned, report, () => run.budgetSeconds - elapsedSeconds());
    }
    report.secondsUsed = Math.round(elapsedSeconds() * 1000) / 1000;
    return { report: bounded(report), problem };
  } finally {
    await session.close();
  }
}

function emptyReport(
  run: VacuumRun,
  session: Session,
  facts: ServerFacts,
  planned: Plan,
  due: number,
): VacuumReport {
  const holders = new Set<Holder>();
  for (const held of planned.heldBack) for (const holder of held.holders) holders.add(holder);
  // Catalogs that only the server's owner may vacuum are his autovacuum's, on RDS for instance.
  const denied = planned.notPermitted.filter(({ relation }) => !relation.isSystem);
  const notes: string[] = [];
  if (!facts.settings.countsTracked) {
    notes.push(
      "track_counts is off: only the ages of tables are known, not their dead rows; switch it on to vacuum by need",
    );
  }
  return {
    considered: run.wanted.tables === undefined ? facts.relationCount : due,
    due,
    vacuumed: { total: 0, tables: [] },
    skippedLocked: { total: 0, tables: [] },
    heldBack: {
      holders: [...holders]
        .sort((a, b) => b.ageTransactions - a.ageTransactions)
        .map((holder) => ({
          ...holder,
          ageSeconds: holder.ageSeconds === null ? null : rounded(holder.ageSeconds),
        })),
      total: planned.heldBack.length,
      tables: planned.heldBack.map((held) => ({
        ...entryOf(held.relation),
        reasons: shownReasons(held.reasons),
        holders: held.holders.slice(0, 5).map((holder) => holder.name),
      })),
    },
    notPermitted: {
      total: denied.length,
      tables: denied.map(({ relation }) => ({
        ...entryOf(relation),
        remedy: relation.obstacle ?? `let ${identifier(session.user)} vacuum it`,
      })),
      systemCatalogs: planned.notPermitted.length - denied.length,
    },
    failed: { total: 0, tables: [] },
    left: { total: 0, tables: [] },
    budgetSeconds: run.budgetSeconds,
    secondsUsed: 0,
    interrupted: false,
    dryRun: run.dryRun,
    notes,
  };
}

/** For a dry run: what would be done with the budget, by the first guess of the server's speed. */
function describePlan(run: VacuumRun, facts: ServerFacts, planned: Plan, report: VacuumReport): void {
  const pace = new Pace();
  const fitting: NonNullable<VacuumReport["planned"]> = { total: 0, tables: [] };
  let remaining = run.budgetSeconds;
  for (const item of planned.work) {
    const predicted = pace.predictSeconds(pagesToProcess(item.relation, item.action, facts.analyzePages));
    if (predicted > remaining) {
      leave(report, item, predicted, tooLong(predicted, remaining, run.budgetSeconds));
      continue;
    }
    remaining -= predicted;
    fitting.total += 1;
    fitting.tables.push({
      ...entryOf(item.relation),
      action: item.label,
      reasons: shownReasons(item.reasons),
      predictedSeconds: rounded(predicted),
      lock: lockOf(item.action),
      ...(item.action.vacuum === "full" ? { diskNeededBytes: diskNeededBytes(item, facts.blockBytes) } : {}),
      sql: item.sql,
    });
  }
  report.planned = fitting;
}

async function work(
  run: VacuumRun,
  session: Session,
  facts: ServerFacts,
  planned: Plan,
  report: VacuumReport,
  remainingSeconds: () => number,
): Promise<string | undefined> {
  const pace = new Pace();
  const limit = new StatementLimit(session, run.budgetSeconds * 1000);
  const done: { work: Work; entry: VacuumReport["vacuumed"]["tables"][number] }[] = [];
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
      const pages = pagesToProcess(item.relation, item.action, facts.analyzePages);
      const predicted = pace.predictSeconds(pages);
      const remaining = remainingSeconds();
      if (predicted > remaining) {
        leave(report, item, predicted, tooLong(predicted, remaining, run.budgetSeconds));
        continue;
      }
      await limit.ensure(remaining * 1000);
      run.progress(
        `${item.label} ${item.relation.schema}.${item.relation.table} (${position + 1} of ${planned.work.length})`,
      );
      const started = performance.now();
      const outcome = await runStatement(session, item, run.deadline);
      const seconds = (performance.now() - started) / 1000;
      switch (outcome.kind) {
        case "done": {
          pace.learn(pages, seconds);
          const { relation } = item;
          const entry = {
            ...entryOf(relation),
            action: item.label,
            reasons: shownReasons(item.reasons),
            seconds: rounded(seconds),
            deadBefore: relation.deadTuples + (relation.toast?.deadTuples ?? 0),
            deadAfter: null,
            pagesBefore: relation.relPages + (relation.toast?.relPages ?? 0),
          };
          done.push({ work: item, entry });
          report.vacuumed.tables.push(entry);
          report.vacuumed.total += 1;
          break;
        }
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
            remainingSeconds() > 0.1
              ? "was cancelled by someone on the server"
              : "was stopped when the budget ended; what it has done so far stays done",
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
    for (const item of planned.work.slice(position)) {
      leave(
        report,
        item,
        pace.predictSeconds(pagesToProcess(item.relation, item.action, facts.analyzePages)),
        ended,
      );
    }
  }
  await fillDeadAfter(run, session, done, before, report);
  if (problem !== undefined) return problem;
  if (report.failed.total > 0) {
    const first = report.failed.tables[0];
    return `${report.failed.total} of ${report.due} tables could not be vacuumed, first ${first?.schema}.${first?.table}: ${first?.error}`;
  }
  return undefined;
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
  done: readonly { work: Work; entry: VacuumReport["vacuumed"]["tables"][number] }[],
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

function leave(report: VacuumReport, item: Work, predicted: number, why: string): void {
  const entry: LeftTable = {
    ...entryOf(item.relation),
    action: item.label,
    reasons: shownReasons(item.reasons),
    predictedSeconds: rounded(predicted),
    why,
  };
  report.left.total += 1;
  report.left.tables.push(entry);
}

function tooLong(predicted: number, remaining: number, budget: number): string {
  return predicted > budget
    ? `needs about ${Math.ceil(predicted)} s, more than a whole run has; give budgetSeconds, or vacuum it by hand`
    : `needs about ${Math.ceil(predicted)} s and ${Math.max(0, Math.floor(remaining))} s were left`;
}

function rounded(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
