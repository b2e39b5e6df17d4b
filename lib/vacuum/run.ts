import { type Holder, readHorizon } from "../maintenance/horizon.ts";
import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import { adviceFor } from "./advice.ts";
import { readAutovacuum } from "./autovacuum.ts";
import { carryOut, leaveTooLong, type VacuumRun } from "./carry-out.ts";
import { HandingOver } from "./hand-over.ts";
import { type Plan, plan } from "./plan.ts";
import { predictor } from "./predict.ts";
import { type Candidate, rank } from "./rank.ts";
import { readRelations } from "./relations.ts";
import {
  bounded,
  diskNeededBytes,
  entryOf,
  type Listed,
  lockOf,
  rounded,
  shownReasons,
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
    if (run.wanted.advice === true)
      return { report: await adviseOnly(run, session, facts, holders), problem: undefined };
    // Before the tables are read: what is put back counts.
    const { handingOver, takenBack } = await HandingOver.begin(session, {
      days: run.handOverDays,
      dryRun: run.dryRun,
    });
    const relations = await readRelations(session, facts, {
      ...(run.wanted.tables === undefined ? {} : { tables: run.wanted.tables }),
      all: run.wanted.wholeDatabase === true,
      threshold: run.threshold,
    });
    const chosen =
      run.wanted.wholeDatabase === true
        ? relations.map((relation) => ({ ...relation, isRequested: true }))
        : relations;
    const ranked = rank(chosen, facts.settings, run.threshold);
    const isElsewhere = ({ relation }: Candidate) =>
      !relation.isRequested && handingOver.pendingFor(relation.oid) !== undefined;
    const candidates = ranked.filter((candidate) => !isElsewhere(candidate));
    const planned = plan(candidates, holders, {
      settings: facts.settings,
      threshold: run.threshold,
      full: run.wanted.full === true,
      serverVersionNumber: session.serverVersionNumber,
      effort: run.effort,
    });
    const report = emptyReport(run, session, planned, {
      considered: run.wanted.tables === undefined ? facts.relationCount : relations.length,
      due: candidates.length,
      countsTracked: facts.settings.countsTracked,
    });
    report.takenBack = listed(takenBack);
    report.handedOver = listed(handingOver.allPending());
    // Before the work: it makes the counters small.
    const states = await readAutovacuum(session, facts, {
      oids: candidates.map(({ relation }) => relation.oid),
    });
    report.advice = listed(adviceFor(states, holders, run.clock.now().getTime()));
    await beginEmergency(run, session, ranked, holders, report);
    let problem: string | undefined;
    if (run.dryRun) {
      await describePlan(run, session, facts, planned, handingOver, report);
    } else {
      problem = await carryOut(
        run,
        session,
        facts,
        planned,
        report,
        handingOver,
        () => run.budgetSeconds - elapsedSeconds(),
      );
    }
    report.secondsUsed = rounded(elapsedSeconds());
    return { report: bounded(report), problem };
  } finally {
    await session.close();
  }
}

function listed<T>(tables: T[]): Listed<T> {
  return { total: tables.length, tables };
}

/** How autovacuum does on every table, and what to change; nothing is vacuumed. */
async function adviseOnly(
  run: VacuumRun,
  session: Session,
  facts: ServerFacts,
  holders: readonly Holder[],
): Promise<VacuumReport> {
  const states = await readAutovacuum(
    session,
    facts,
    run.wanted.tables === undefined ? undefined : { names: run.wanted.tables },
  );
  const empty: Plan = { work: [], heldBack: [], notPermitted: [] };
  const report = emptyReport(run, session, empty, {
    considered: states.length,
    due: 0,
    countsTracked: facts.settings.countsTracked,
  });
  report.autovacuum = listed(states);
  report.advice = listed(adviceFor(states, holders, run.clock.now().getTime()));
  return bounded(report);
}

/** Names what is beyond the failsafe and, first of all, what keeps it from getting younger. */
async function beginEmergency(
  run: VacuumRun,
  session: Session,
  ranked: readonly Candidate[],
  holders: readonly Holder[],
  report: VacuumReport,
): Promise<void> {
  const tables = ranked.filter((candidate) => candidate.beyondFailsafe);
  if (tables.length === 0) return;
  const concerned = holders.filter((holder) => holder.ageTransactions > 0);
  for (const holder of concerned.slice(0, 5)) {
    run.progress(`emergency: ${holder.name} holds back the horizon: ${holder.remedy}`);
  }
  report.emergency = {
    holders: [...concerned],
    ...listed(
      tables.map(({ relation }) => ({
        ...entryOf(relation),
        transactionIdAge: Math.max(relation.transactionIdAge, relation.toast?.transactionIdAge ?? 0),
        multixactAge: Math.max(relation.multixactAge, relation.toast?.multixactAge ?? 0),
      })),
    ),
  };
  if (run.dryRun) return;
  // A role or a database may have slowed down its VACUUMs: not now.
  await session.query("select set_config('vacuum_cost_delay', '0', false)");
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
    handedOver: { total: 0, tables: [] },
    takenBack: { total: 0, tables: [] },
    advice: { total: 0, tables: [] },
    budgetSeconds: run.budgetSeconds,
    secondsUsed: 0,
    interrupted: false,
    dryRun: run.dryRun,
    notes,
  };
}

/** For a dry run: what would be done with the budget, by what earlier runs have measured. */
async function describePlan(
  run: VacuumRun,
  session: Session,
  facts: ServerFacts,
  planned: Plan,
  handingOver: HandingOver,
  report: VacuumReport,
): Promise<void> {
  const predict = await predictor(session, facts, planned);
  const fitting: NonNullable<VacuumReport["planned"]> = { total: 0, tables: [] };
  let remaining = run.budgetSeconds;
  for (const item of planned.work) {
    const predicted = predict.seconds(item);
    if (predicted > remaining) {
      await leaveTooLong(run, handingOver, report, item, predicted, remaining);
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
