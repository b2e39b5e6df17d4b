import { type Holder, readHorizon } from "../maintenance/horizon.ts";
import { Pace } from "../maintenance/pace.ts";
import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import { carryOut, type VacuumRun } from "./carry-out.ts";
import { pagesToProcess } from "./pace.ts";
import { type Plan, plan } from "./plan.ts";
import { rank } from "./rank.ts";
import { readRelations } from "./relations.ts";
import {
  bounded,
  diskNeededBytes,
  entryOf,
  leave,
  lockOf,
  rounded,
  shownReasons,
  tooLong,
  type VacuumReport,
} from "./report.ts";
import { readServerFacts, type ServerFacts } from "./server.ts";

export type { VacuumRun } from "./carry-out.ts";

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
  // Not the run's clock, which may be faster than the server.
  const begin = performance.now();
  const elapsedSeconds = () => (performance.now() - begin) / 1000;
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
    const report = emptyReport(run, session, planned, {
      considered: run.wanted.tables === undefined ? facts.relationCount : relations.length,
      due: candidates.length,
      countsTracked: facts.settings.countsTracked,
    });
    let problem: string | undefined;
    if (run.dryRun) {
      describePlan(run, facts, planned, report);
    } else {
      problem = await carryOut(
        run,
        session,
        facts,
        planned,
        report,
        () => run.budgetSeconds - elapsedSeconds(),
      );
    }
    report.secondsUsed = rounded(elapsedSeconds());
    return { report: bounded(report), problem };
  } finally {
    await session.close();
  }
}

function emptyReport(
  run: VacuumRun,
  session: Session,
  planned: Plan,
  known: { considered: number; due: number; countsTracked: boolean },
): VacuumReport {
  const holders = new Set<Holder>();
  for (const held of planned.heldBack) for (const holder of held.holders) holders.add(holder);
  // Catalogs that only the server's owner may vacuum are his autovacuum's, on RDS for instance.
  const denied = planned.notPermitted.filter(({ relation }) => !relation.isSystem);
  const notes: string[] = [];
  if (!known.countsTracked) {
    notes.push(
      "track_counts is off: only the ages of tables are known, not their dead rows; switch it on to vacuum by need",
    );
  }
  return {
    considered: known.considered,
    due: known.due,
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
