import { errorMessage, PgkeepError } from "../errors.ts";
import { Pace } from "../maintenance/pace.ts";
import { Watcher } from "../maintenance/watch.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { qualified } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { ReindexArguments } from "./arguments.ts";
import { endOrphan, finish, type Settlement, settle } from "./leftovers.ts";
import {
  diskNeededBytes,
  diskObstacle,
  type Headroom,
  type Limits,
  type Obstacle,
  readObstacles,
} from "./obstacles.ts";
import { type Plan, pagesToProcess, type Work } from "./plan.ts";
import type { RebuildRecord, RebuildRecords } from "./record.ts";
import { add, entryOf, leave, type ReindexReport, rounded, shownReason, tooLong } from "./report.ts";

export interface ReindexRun {
  /** Opens a session of the maintenance role. */
  connect(options: { statementTimeoutMilliseconds: number; signal?: AbortSignal }): Promise<Session>;
  clock: Clock;
  deadline: AbortSignal;
  dryRun: boolean;
  wanted: ReindexArguments;
  budgetSeconds: number;
  measureSeconds: number;
  minimumBloatPercent: number;
  minimumBytes: number;
  lockTimeoutSeconds: number;
  limits: Limits;
  storage: { topology: string; maxStorageGigabytes: number; freeStoragePercent: number };
  progress(message: string): void;
}

export interface Opened {
  session: Session;
  records: RebuildRecords;
  headroom: Headroom;
  blockBytes: number;
  /** Rebuilds of which something is left that could not be removed yet. */
  unsettled: Map<number, RebuildRecord>;
  remainingSeconds(): number;
}

/** How long removing what a rebuild has left may take, at least. */
const cleaningSeconds = 8;

/** What one attempt at an index came to. */
type Attempt =
  | { kind: "over" }
  /** Something was in the way, or somebody waited for it: worth another try at the end of the run. */
  | { kind: "later"; obstacles: Obstacle[] };

/**
 * Works the plan off, one index at a time, noting in the report what became of each. What had to give way is tried
 * once more at the end. Resolves to what went wrong with the run as a whole, if anything did.
 */
export async function carryOut(
  run: ReindexRun,
  opened: Opened,
  planned: Plan,
  report: ReindexReport,
): Promise<string | undefined> {
  const queue = planned.work.map((work) => ({ work, isSecond: false }));
  if (queue.length === 0) return undefined;
  const watching = await run.connect({ statementTimeoutMilliseconds: 5_000 });
  const rebuilder = new Rebuilder(run, opened, report, new Watcher(watching, run.lockTimeoutSeconds * 1000));
  let problem: string | undefined;
  try {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { work, isSecond } = next;
      try {
        const attempt = await rebuilder.attempt(
          work,
          isSecond,
          `${planned.work.length - queue.length} of ${planned.work.length}`,
        );
        if (attempt.kind === "over") continue;
        if (isSecond) {
          add(report.blocked, {
            ...entryOf(work.facts),
            reason: shownReason(work.reason),
            obstacles: attempt.obstacles,
          });
        } else queue.push({ work, isSecond: true });
      } catch (error) {
        if (!run.deadline.aborted && !(error instanceof PgkeepError)) throw error;
        if (run.deadline.aborted) report.interrupted = true;
        else problem = errorMessage(error);
        const why = run.deadline.aborted
          ? "the run was ended before its turn"
          : "the run broke off before its turn";
        if (run.deadline.aborted) await rebuilder.forget(work);
        if (!rebuilder.wasStarted(work)) leave(report, work, rebuilder.predict(work), why);
        for (const { work: rest } of queue) leave(report, rest, rebuilder.predict(rest), why);
        break;
      }
    }
  } finally {
    await watching.close();
  }
  if (problem !== undefined) return problem;
  if (report.failed.total > 0) {
    const first = report.failed.indexes[0];
    return `${report.failed.total} of ${report.due} indexes could not be rebuilt, first ${first?.schema}.${first?.index}: ${first?.error}`;
  }
  return undefined;
}

class Rebuilder {
  private readonly pace = new Pace();
  private readonly started = new Set<number>();
  /** `statement_timeout` of the session; 0: to be set. */
  private limitSeconds = 0;

  private readonly run: ReindexRun;
  private readonly opened: Opened;
  private readonly report: ReindexReport;
  private readonly watcher: Watcher;

  constructor(run: ReindexRun, opened: Opened, report: ReindexReport, watcher: Watcher) {
    this.run = run;
    this.opened = opened;
    this.report = report;
    this.watcher = watcher;
  }

  predict(work: Work): number {
    return this.pace.predictSeconds(pagesToProcess(work.facts));
  }

  /** Whether the report already says what became of it. */
  wasStarted(work: Work): boolean {
    return this.started.has(work.facts.oid);
  }

  /** The run was ended while it noted that it would begin. */
  async forget(work: Work): Promise<void> {
    const { run, opened } = this;
    if (this.started.has(work.facts.oid) || opened.unsettled.has(work.facts.oid)) return;
    try {
      const fresh = await run.connect({ statementTimeoutMilliseconds: 2_000 });
      await opened.records.end(fresh, { indexOid: work.facts.oid }).finally(() => fresh.close());
    } catch {
      // Then the next run finds that there is nothing to clean up.
    }
  }

  async attempt(work: Work, isSecond: boolean, position: string): Promise<Attempt> {
    const { run, opened, report } = this;
    run.deadline.throwIfAborted();
    const predicted = this.predict(work);
    const remaining = opened.remainingSeconds();
    if (predicted > remaining) {
      leave(report, work, predicted, tooLong(predicted, remaining, run.budgetSeconds));
      return { kind: "over" };
    }
    const full = diskObstacle(diskNeededBytes(work.facts, opened.blockBytes), opened.headroom);
    if (full !== undefined) {
      add(report.blocked, { ...entryOf(work.facts), reason: shownReason(work.reason), obstacles: [full] });
      return { kind: "over" };
    }
    const obstacles = await this.waitForObstacles(work, isSecond);
    if (obstacles.length > 0) return { kind: "later", obstacles };
    await this.limitToBudget();
    const record = await opened.records.begin(opened.session, work.facts);
    if (record === undefined) return { kind: "over" };
    run.progress(`reindexing ${work.facts.schema}.${work.facts.index} (${position})`);
    return this.rebuild(work, record);
  }

  /** Without a round trip for each small index: set again when a statement could overrun by more than a tenth. */
  private async limitToBudget(): Promise<void> {
    const seconds = this.opened.remainingSeconds();
    if (this.limitSeconds >= seconds && this.limitSeconds <= seconds * 1.1) return;
    await limitStatements(this.opened.session, seconds);
    this.limitSeconds = seconds;
  }

  /** The first time they are only looked at; the second time they may take as long as an old transaction. */
  private async waitForObstacles(work: Work, isSecond: boolean): Promise<Obstacle[]> {
    const { run, opened } = this;
    const patience = isSecond ? Math.min(run.limits.oldTransactionSeconds, opened.remainingSeconds() / 2) : 0;
    const begin = performance.now();
    for (;;) {
      const obstacles = await readObstacles(opened.session, work.facts.tableOid, run.limits);
      if (obstacles.length === 0 || (performance.now() - begin) / 1000 >= patience) return obstacles;
      await run.clock.sleep(250, run.deadline);
    }
  }

  private async rebuild(work: Work, record: RebuildRecord & { bytes: number }): Promise<Attempt> {
    const { run, opened, report } = this;
    const begin = performance.now();
    const { result, yieldedTo } = await this.watcher.during(
      record.backendPid,
      opened.session.query(work.sql),
    );
    const seconds = (performance.now() - begin) / 1000;
    const timeWasLeft = opened.remainingSeconds() > 0.1;
    if (result.status === "fulfilled") this.pace.learn(pagesToProcess(work.facts), seconds);
    const settlement = await this.settled(work, record, result);
    if (settlement.state === "rebuilt") {
      this.started.add(work.facts.oid);
      add(report.rebuilt, {
        ...entryOf(work.facts),
        reason: shownReason(work.reason),
        seconds: rounded(seconds),
        bytesBefore: record.bytes,
        bytesAfter: settlement.bytesAfter,
      });
      report.bytesFreed += record.bytes - (settlement.bytesAfter ?? record.bytes);
    }
    if (result.status === "fulfilled") return { kind: "over" };
    if (run.deadline.aborted) {
      if (settlement.state !== "rebuilt") {
        this.started.add(work.facts.oid);
        leave(report, work, this.predict(work), "was stopped when the run was ended; nothing has changed");
      }
      throw result.reason;
    }
    if (settlement.state === "rebuilt") {
      if (isLost(result.reason)) throw result.reason;
      return { kind: "over" };
    }
    return this.noteUndone(work, result.reason, {
      yieldedTo,
      timeWasLeft,
      isGone: settlement.state === "gone",
    });
  }

  /** How it ended, and what it has left removed; after a lost or ended session through a new one. */
  private async settled(
    work: Work,
    record: RebuildRecord,
    result: PromiseSettledResult<unknown>,
  ): Promise<Settlement> {
    const { run, opened, report } = this;
    if (result.status === "fulfilled" || (!run.deadline.aborted && !isLost(result.reason))) {
      try {
        if (result.status === "fulfilled" && !opened.unsettled.has(record.indexOid)) {
          return await finish(opened.session, opened.records, record);
        }
        if (result.status === "rejected") {
          this.limitSeconds = 0;
          await limitStatements(opened.session, cleaningSeconds);
        }
        const settlement = await settle(opened.session, opened.records, record);
        this.note(record, settlement);
        return settlement;
      } catch (error) {
        if (!run.deadline.aborted && !isLost(error)) throw error;
      }
    }
    const fresh = await run
      .connect({ statementTimeoutMilliseconds: cleaningSeconds * 1000 })
      .catch(() => undefined);
    try {
      if (fresh === undefined) throw new PgkeepError("unreachable", "no connection");
      await endOrphan(fresh, run.clock, record);
      const settlement = await settle(fresh, opened.records, record);
      this.note(record, settlement);
      return settlement;
    } catch (error) {
      report.notes.push(
        `what the rebuild of ${qualified(record.schema, record.index)} has left could not be removed now, the next run does it: ${errorMessage(error)}`,
      );
      this.started.add(work.facts.oid);
      leave(report, work, this.predict(work), "broke off");
      throw result.status === "rejected" ? result.reason : error;
    } finally {
      await fresh?.close();
    }
  }

  private note(record: RebuildRecord, settlement: Settlement): void {
    noteSettlement(this.report, this.opened.unsettled, record, settlement);
  }

  private noteUndone(
    work: Work,
    error: unknown,
    how: { yieldedTo: string | null; timeWasLeft: boolean; isGone: boolean },
  ): Attempt {
    const { report, run } = this;
    const undone = (why: string): Attempt => {
      leave(report, work, this.predict(work), why);
      return { kind: "over" };
    };
    if (isLost(error)) throw error;
    if (how.yieldedTo !== null) {
      return {
        kind: "later",
        obstacles: [
          {
            kind: "lock",
            text: `gave way to ${how.yieldedTo}`,
            remedy: "run it when no schema change needs the table",
          },
        ],
      };
    }
    if (
      how.isGone ||
      hasSqlState(error, SqlState.undefinedTable, SqlState.undefinedObject, SqlState.invalidSchemaName)
    ) {
      return { kind: "over" };
    }
    if (hasSqlState(error, SqlState.lockNotAvailable)) {
      return {
        kind: "later",
        obstacles: [
          {
            kind: "old transaction",
            text: `a lock or a transaction that began before did not end within ${run.limits.oldTransactionSeconds} s`,
            remedy:
              "run it when no long transactions are open, or raise maintenance.reindex.oldTransactionSeconds",
          },
        ],
      };
    }
    if (hasSqlState(error, SqlState.queryCanceled)) {
      return undone(
        how.timeWasLeft
          ? "was cancelled by someone on the server; nothing has changed"
          : "was stopped when the budget ended; nothing has changed",
      );
    }
    if (hasSqlState(error, SqlState.insufficientPrivilege)) {
      add(report.notPermitted, {
        ...entryOf(work.facts),
        reason: shownReason(work.reason),
        remedy: errorMessage(error),
      });
      return { kind: "over" };
    }
    add(report.failed, {
      ...entryOf(work.facts),
      reason: shownReason(work.reason),
      error: errorMessage(error),
    });
    return { kind: "over" };
  }
}

async function limitStatements(session: Session, seconds: number): Promise<void> {
  await session.query("select set_config('statement_timeout', $1, false)", [
    String(Math.max(1, Math.ceil(seconds * 1000))),
  ]);
}

/** The connection went away under a statement, so it says nothing about the index. */
function isLost(error: unknown): boolean {
  return error instanceof PgkeepError && error.code === "unreachable";
}

/** Keeps what could not be removed in `unsettled`, for another try at the end of the run. */
export function noteSettlement(
  report: ReindexReport,
  unsettled: Map<number, RebuildRecord>,
  record: RebuildRecord,
  settlement: Settlement,
): void {
  for (const index of settlement.dropped) add(report.leftoversDropped, { ...index, of: nameOf(record) });
  if (settlement.remaining.length === 0) unsettled.delete(record.indexOid);
  // What an earlier attempt has left is not lost sight of.
  else if (!unsettled.has(record.indexOid)) unsettled.set(record.indexOid, record);
}

/** Tries once more to remove what is left, and reports what stays. */
export async function removeRemaining(opened: Opened, report: ReindexReport): Promise<void> {
  if (opened.unsettled.size === 0) return;
  await limitStatements(opened.session, Math.max(cleaningSeconds, opened.remainingSeconds()));
  for (const record of [...opened.unsettled.values()]) {
    const settlement = await settle(opened.session, opened.records, record);
    noteSettlement(report, opened.unsettled, record, settlement);
    for (const index of settlement.remaining)
      add(report.leftoversRemaining, { ...index, of: nameOf(record) });
  }
}

const nameOf = (record: RebuildRecord) => qualified(record.schema, record.index);
