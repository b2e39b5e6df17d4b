import { errorMessage, PgkeepError } from "../errors.ts";
import { Pace } from "../maintenance/pace.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { qualified } from "../postgres/identifiers.ts";
import { carryOut, noteSettlement, type Opened, type ReindexRun, removeRemaining } from "./carry-out.ts";
import { type IndexFacts, readIndexes } from "./index-facts.ts";
import { endOrphan, findLeftovers, settle } from "./leftovers.ts";
import { measureAll } from "./measure.ts";
import { diskNeededBytes, diskObstacle, readHeadroom, readObstacles } from "./obstacles.ts";
import { type Judged, type Plan, pagesToProcess, plan, worthMeasuring } from "./plan.ts";
import { RebuildRecords } from "./record.ts";
import {
  add,
  bounded,
  emptyList,
  entryOf,
  leave,
  type ReindexReport,
  rebuildLock,
  rounded,
  shownReason,
  tenths,
  tooLong,
} from "./report.ts";
import { estimateAll } from "./statistics.ts";

export type { ReindexRun } from "./carry-out.ts";

/** What came of it: `problem` when the run as a whole did not do its work. */
export interface ReindexOutcome {
  report: ReindexReport;
  problem: string | undefined;
}

/**
 * Rebuilds bloated and invalid indexes concurrently, one at a time, until the budget or the deadline ends it;
 * before that it removes what an earlier run that was killed has left.
 * @throws PgkeepError when it could not even be planned: no connection, a standby, an index that is not there
 */
export async function reindexByNeed(run: ReindexRun): Promise<ReindexOutcome> {
  // Not the run's clock, which may be faster than the server.
  const begin = performance.now();
  const elapsedSeconds = () => (performance.now() - begin) / 1000;
  const session = await run.connect({
    statementTimeoutMilliseconds: Math.ceil(run.budgetSeconds * 1000),
    signal: run.deadline,
  });
  try {
    const opened: Opened = {
      session,
      blockBytes: await prepare(session),
      records: await RebuildRecords.open(session),
      headroom: await readHeadroom(session, run.storage),
      unsettled: new Map(),
      remainingSeconds: () => run.budgetSeconds - elapsedSeconds(),
    };
    const report = emptyReport(run, opened);
    const interrupted = await cleanUp(run, opened, report);
    const indexes = (
      await readIndexes(session, {
        ...(run.wanted.indexes === undefined ? {} : { indexes: run.wanted.indexes }),
        ...(run.wanted.tables === undefined ? {} : { tables: run.wanted.tables }),
        interrupted,
        minimumBytes: run.minimumBytes,
      })
    ).filter((index) => isWanted(run, index, interrupted));
    const judged = await judge(run, opened, indexes, interrupted, report);
    const planned = plan(indexes, judged);
    notePlan(report, opened, indexes, planned);
    let problem: string | undefined;
    if (run.dryRun) await describePlan(run, opened, planned, report);
    else {
      await waitPatiently(session, run);
      problem = await carryOut(run, opened, planned, report);
      if (problem === undefined && !report.interrupted) await removeRemaining(opened, report);
    }
    report.secondsUsed = rounded(elapsedSeconds());
    return { report: bounded(report), problem: problem ?? remainingProblem(report) };
  } finally {
    await session.close();
  }
}

/** Named indexes and tables are all that is looked at; what a killed run has begun is finished all the same. */
function isWanted(run: ReindexRun, index: IndexFacts, interrupted: ReadonlySet<number>): boolean {
  const namesSome = run.wanted.indexes !== undefined || run.wanted.tables !== undefined;
  return !namesSome || index.isRequested || interrupted.has(index.oid);
}

/**
 * A backend whose client was killed would go on building for nobody: it looks every two seconds whether the client
 * is there, where the server's system can tell.
 * @throws PgkeepError `read-only` on a standby
 */
async function prepare(session: Session): Promise<number> {
  if (session.isStandby) {
    throw new PgkeepError("read-only", `${session.database}: indexes of a standby cannot be rebuilt`, {
      remedy: "run reindex against the primary; its standbys follow",
    });
  }
  try {
    await session.query(
      "select set_config('jit', 'off', false), set_config('client_connection_check_interval', '2s', false)",
    );
  } catch (error) {
    if (!hasSqlState(error, invalidParameterValue)) throw error;
  }
  const rows = await session.query<{ size: number }>("select current_setting('block_size')::int as size");
  return rows[0]?.size ?? 8192;
}

const invalidParameterValue = "22023";

/** From here on waits are for transactions that began before, behind which nobody queues. */
async function waitPatiently(session: Session, run: ReindexRun): Promise<void> {
  await session.query("select set_config('lock_timeout', $1, false)", [
    `${Math.ceil(run.limits.oldTransactionSeconds * 1000)}ms`,
  ]);
}

/** Ends, settles and notes what killed runs have begun. Resolves to the indexes that are still to be rebuilt. */
async function cleanUp(run: ReindexRun, opened: Opened, report: ReindexReport): Promise<Set<number>> {
  const { session, records } = opened;
  const interrupted = new Set<number>();
  for (const record of await records.unfinished(session)) {
    const of = qualified(record.schema, record.index);
    if (run.dryRun) {
      interrupted.add(record.indexOid);
      for (const { schema, index } of await findLeftovers(session, record)) {
        add(report.leftoversDropped, { schema, index, of });
      }
      continue;
    }
    try {
      if (await endOrphan(session, run.clock, record)) {
        report.notes.push(
          `ended process ${record.backendPid}, which rebuilt ${of} for a run that was killed`,
        );
      }
      const settlement = await settle(session, records, record);
      noteSettlement(report, opened.unsettled, record, settlement);
      if (settlement.state === "rebuilt")
        report.notes.push(`the rebuild of ${of} that a killed run began is complete`);
      else interrupted.add(record.indexOid);
    } catch (error) {
      if (run.deadline.aborted || !(error instanceof PgkeepError) || error.code === "unreachable")
        throw error;
      report.notes.push(
        `what a killed run has left of ${of} could not be looked after: ${errorMessage(error)}`,
      );
    }
  }
  return interrupted;
}

async function judge(
  run: ReindexRun,
  opened: Opened,
  indexes: readonly IndexFacts[],
  interrupted: ReadonlySet<number>,
  report: ReindexReport,
): Promise<Judged> {
  const { session, blockBytes } = opened;
  const judgeable = indexes.filter((index) => index.isValid && !index.isRequested && !index.isSystem);
  const estimates = await estimateAll(session, judgeable, blockBytes);
  const { measured, unmeasured } = await measureAll(
    session,
    worthMeasuring(judgeable, estimates, run.minimumBloatPercent),
    {
      budgetSeconds: Math.min(run.measureSeconds, opened.remainingSeconds()),
      blockBytes,
      deadline: run.deadline,
      progress: run.progress,
    },
  );
  report.measured = measured.size;
  const others = judgeable.filter((index) => index.method !== "btree").length;
  if (others > 0) {
    report.notes.push(
      `${others} indexes are no B-trees: their bloat is not assessed; name them to have them rebuilt`,
    );
  }
  return {
    interrupted,
    estimates,
    measured,
    unmeasured,
    minimumPercent: run.minimumBloatPercent,
    unconfirmed: run.wanted.unconfirmed === true,
  };
}

function emptyReport(run: ReindexRun, opened: Opened): ReindexReport {
  return {
    considered: 0,
    measured: 0,
    due: 0,
    rebuilt: emptyList(),
    leftoversDropped: emptyList(),
    leftoversRemaining: emptyList(),
    blocked: emptyList(),
    failed: emptyList(),
    left: emptyList(),
    notPermitted: emptyList(),
    notConcurrently: emptyList(),
    unconfirmed: emptyList(),
    invalid: emptyList(),
    freeDiskBytes: opened.headroom.freeBytes,
    freeDiskBasis: opened.headroom.basis,
    bytesFreed: 0,
    budgetSeconds: run.budgetSeconds,
    secondsUsed: 0,
    interrupted: false,
    dryRun: run.dryRun,
    notes:
      opened.records.obstacle === null
        ? []
        : [
            `rebuilds are not recorded, so that nobody would recognise what a killed run leaves: ${opened.records.obstacle}`,
          ],
  };
}

function notePlan(
  report: ReindexReport,
  { blockBytes }: Opened,
  indexes: readonly IndexFacts[],
  planned: Plan,
): void {
  report.considered = indexes.length;
  report.due = planned.work.length + planned.notPermitted.length + planned.notConcurrently.length;
  for (const { facts, reason, remedy } of planned.notPermitted) {
    add(report.notPermitted, { ...entryOf(facts), reason: shownReason(reason), remedy });
  }
  for (const { facts, why, sql } of planned.notConcurrently)
    add(report.notConcurrently, { ...entryOf(facts), why, sql });
  for (const { facts, why, sql } of planned.invalid) add(report.invalid, { ...entryOf(facts), why, sql });
  for (const { facts, estimate, why } of planned.unconfirmed) {
    add(report.unconfirmed, {
      ...entryOf(facts),
      bytes: facts.pages * blockBytes,
      leastPercent: tenths(estimate.leastPercent),
      mostPercent: tenths(estimate.mostPercent),
      why,
    });
  }
}

/** For a dry run: what would be done with the budget, by the first guess of the server's speed. */
async function describePlan(
  run: ReindexRun,
  opened: Opened,
  planned: Plan,
  report: ReindexReport,
): Promise<void> {
  const pace = new Pace();
  const fitting: NonNullable<ReindexReport["planned"]> = emptyList();
  let remaining = run.budgetSeconds;
  for (const work of planned.work) {
    const predicted = pace.predictSeconds(pagesToProcess(work.facts));
    if (predicted > remaining) {
      leave(report, work, predicted, tooLong(predicted, remaining, run.budgetSeconds));
      continue;
    }
    remaining -= predicted;
    const needed = diskNeededBytes(work.facts, opened.blockBytes);
    const full = diskObstacle(needed, opened.headroom);
    add(fitting, {
      ...entryOf(work.facts),
      reason: shownReason(work.reason),
      bytes: work.facts.pages * opened.blockBytes,
      predictedSeconds: rounded(predicted),
      lock: rebuildLock,
      diskNeededBytes: needed,
      obstacles: [
        ...(await readObstacles(opened.session, work.facts.tableOid, run.limits)),
        ...(full === undefined ? [] : [full]),
      ],
      sql: work.sql,
    });
  }
  report.planned = fitting;
}

/** Leftovers cost every write: a run that leaves some has not done its work. */
function remainingProblem(report: ReindexReport): string | undefined {
  const first = report.leftoversRemaining.indexes[0];
  if (first === undefined) return undefined;
  return `${report.leftoversRemaining.total} leftovers could not be dropped, first ${first.schema}.${first.index}: ${first.why}`;
}
