import { errorMessage, PgkeepError } from "../errors.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { readAdvice } from "./advice.ts";
import type { PartitionArguments } from "./arguments.ts";
import type { Declared } from "./facts.ts";
import { add, bounded, emptyReport, type PartitionsReport } from "./report.ts";
import { TableRun } from "./table-run.ts";

export interface PartitionsRun {
  /** Opens a session of the maintenance role. */
  connect(options: { statementTimeoutMilliseconds: number; signal?: AbortSignal }): Promise<Session>;
  clock: Clock;
  deadline: AbortSignal;
  dryRun: boolean;
  wanted: PartitionArguments;
  tables: readonly Declared[];
  budgetSeconds: number;
  lockTimeoutSeconds: number;
  drainRows: number;
  adviseRows: number;
  progress(message: string): void;
}

/** What every table of a run shares. */
export interface Opened {
  run: PartitionsRun;
  session: Session;
  report: PartitionsReport;
  remainingSeconds(): number;
}

/**
 * Makes the partitions of the declared tables that are missing, retires those that are expired, and reports what is
 * wrong with the rest. One table's trouble does not keep the others from their turn.
 * @throws PgkeepError when there is no connection or the server is a standby
 */
export async function managePartitions(
  run: PartitionsRun,
): Promise<{ report: PartitionsReport; problem: string | undefined }> {
  // Not the run's clock, which may be faster than the server.
  const begin = performance.now();
  const elapsedSeconds = () => (performance.now() - begin) / 1000;
  const report = emptyReport(run.budgetSeconds, run.dryRun);
  const session = await run.connect({
    statementTimeoutMilliseconds: Math.ceil(run.budgetSeconds * 1000),
    signal: run.deadline,
  });
  try {
    await prepare(session);
    const opened: Opened = {
      run,
      session,
      report,
      remainingSeconds: () => run.budgetSeconds - elapsedSeconds(),
    };
    await workThrough(opened);
    if (!run.deadline.aborted) {
      for (const advice of await readAdvice(session, run.adviseRows)) add(report.advice, advice);
    }
  } catch (error) {
    if (!run.deadline.aborted) throw error;
    report.interrupted = true;
  } finally {
    await session.close();
  }
  report.secondsUsed = Math.round(elapsedSeconds() * 1000) / 1000;
  return { report: bounded(report), problem: problemOf(report) };
}

async function workThrough(opened: Opened): Promise<void> {
  const { run, report } = opened;
  const seen = new Set<string>();
  const isWanted = (schema: string, table: string) =>
    run.wanted.tables?.some((wanted) => wanted.schema === schema && wanted.table === table) ?? true;
  for (const declared of run.tables) {
    const name = parseTableName(declared.table);
    if (!isWanted(name.schema, name.table)) continue;
    const shown = JSON.stringify(name);
    if (seen.has(shown)) {
      add(report.refused, {
        table: declared.table,
        why: "it is declared twice",
        remedy: "take one of the two out of partitions.tables",
      });
      continue;
    }
    seen.add(shown);
    if (opened.remainingSeconds() < 1) {
      report.notes.push(
        `${declared.table} was not reached: the budget of ${run.budgetSeconds} s was used up`,
      );
      continue;
    }
    report.tables += 1;
    run.progress(`looking after ${declared.table}`);
    try {
      await new TableRun(opened, name, declared).work();
    } catch (error) {
      if (run.deadline.aborted || !(error instanceof PgkeepError) || error.code === "unreachable")
        throw error;
      add(report.failed, {
        table: declared.table,
        what: "look after it",
        why: errorMessage(error),
        remedy: error.remedy ?? "see what the server says",
      });
    }
  }
  for (const wanted of run.wanted.tables ?? []) {
    if (seen.has(JSON.stringify(wanted))) continue;
    add(report.refused, {
      table: `${wanted.schema}.${wanted.table}`,
      why: "it is not declared",
      remedy: "declare it in partitions.tables",
    });
  }
}

/** Bounds are read and written in one form, whatever the database's settings. @throws PgkeepError on a standby */
async function prepare(session: Session): Promise<void> {
  if (session.isStandby) {
    throw new PgkeepError("read-only", `${session.database}: a standby cannot make partitions`, {
      remedy: "run manage-partitions against the primary; its standbys follow",
    });
  }
  await session.query(
    `select set_config('timezone', 'UTC', false), set_config('datestyle', 'ISO, YMD', false),
            set_config('jit', 'off', false)`,
  );
  try {
    // A backend whose client was killed would go on waiting for locks, and others behind it.
    await session.query("select set_config('client_connection_check_interval', '1s', false)");
  } catch (error) {
    if (!(error instanceof PgkeepError) || error.code === "unreachable") throw error;
  }
}

function problemOf(report: PartitionsReport): string | undefined {
  const refused = report.refused.entries[0] ?? report.notPermitted.entries[0];
  if (refused !== undefined) {
    const total = report.refused.total + report.notPermitted.total;
    return `${total} of the declared tables cannot be looked after, first ${refused.table}: ${refused.why}`;
  }
  const failed = report.failed.entries[0];
  if (failed !== undefined) {
    return `${report.failed.total} things failed, first to ${failed.what} of ${failed.table}: ${failed.why}`;
  }
  if (report.missing > 0 && !report.dryRun) {
    const blocked = report.blocked.entries[0];
    return `${report.missing} partitions for the present or ahead are missing${blocked === undefined ? "" : `, first ${blocked.what} of ${blocked.table}: ${blocked.why}`}`;
  }
  return undefined;
}
