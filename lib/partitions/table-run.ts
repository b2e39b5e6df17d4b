import { errorMessage, PgkeepError } from "../errors.ts";
import type { TableName } from "../maintenance/table-name.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { countText } from "../words.ts";
import {
  createPartition,
  creationStatements,
  isNewStray,
  type NewPartition,
  readDefaultDetails,
} from "./create.ts";
import { type Declared, type ParentFacts, type Partition, type Refusal, readParent } from "./facts.ts";
import { noteFindings } from "./findings.ts";
import { type Marked, readMarked, unmarkStatement } from "./marks.ts";
import { partitionName } from "./names.ts";
import { type Partman, partmanStatement, readPartman, runPartman } from "./partman.ts";
import {
  type DefaultContent,
  type Missing,
  readDefault,
  readExpired,
  readMissing,
  readStanding,
  type Standing,
} from "./ranges.ts";
import { add, type Statement } from "./report.ts";
import {
  asOwner,
  detachConcurrently,
  finish,
  type Retirement,
  retire,
  retirementStatements,
} from "./retire.ts";
import type { Opened } from "./run.ts";
import { readTemplate, type Template } from "./template.ts";

/** Pages of a default partition that surely can be read within a second, from memory or a modest disk: 200 MB. */
const pagesPerSecond = 25_000;
/** What could not have its locks is tried so often, with a pause in which those who waited get their turn. */
const attempts = 3;

/** One declared table in one run. */
export class TableRun {
  private readonly opened: Opened;
  private readonly given: TableName;
  private readonly declared: Declared;

  constructor(opened: Opened, given: TableName, declared: Declared) {
    this.opened = opened;
    this.given = given;
    this.declared = declared;
  }

  async work(): Promise<void> {
    const { report, session, run } = this.opened;
    let facts = await this.read();
    if (facts === undefined) return;
    const partman = await readPartman(session, facts);
    if (partman !== undefined) return this.leaveToPartman(facts, partman);
    if (!run.dryRun && (await this.finishInterrupted(facts))) facts = (await this.read()) ?? facts;
    const standing = await readStanding(session, facts, this.declared);
    const content = await this.look(facts, standing);
    const missing = await this.missing(facts, standing, content);
    const undone = await this.create(facts, missing, content);
    report.missing += undone.filter(({ place, isGap }) => place !== "past" && !isGap).length;
    // Without room for what comes, nothing is taken away: what is wrong may be the key or the clock.
    await this.retireExpired(facts, standing);
    if (run.dryRun) return noteFindings(this.opened, facts, this.declared, standing, content, missing);
    const after = (await this.read()) ?? facts;
    await noteFindings(
      this.opened,
      after,
      this.declared,
      standing,
      await this.look(after, standing),
      await this.missing(after, standing, undefined),
    );
  }

  private async read(): Promise<ParentFacts | undefined> {
    const { session, report } = this.opened;
    const facts: ParentFacts | Refusal = await readParent(session, this.given, this.declared);
    if (!("kind" in facts)) return facts;
    const { kind, ...rest } = facts;
    add(kind === "refused" ? report.refused : report.notPermitted, { table: this.declared.table, ...rest });
    return undefined;
  }

  /** What the default partition has; undefined when it is too large to be looked through in the time there is. */
  private async look(facts: ParentFacts, standing: Standing): Promise<DefaultContent | undefined> {
    const { session, report } = this.opened;
    if (facts.defaultPartition === undefined) return { strays: [], homeless: 0 };
    const milliseconds = Math.max(1_000, Math.min(60_000, this.opened.remainingSeconds() * 500));
    try {
      return await session.transaction(
        async (transaction) => {
          await transaction.query("select set_config('statement_timeout', $1, true)", [
            String(Math.ceil(milliseconds)),
          ]);
          return readDefault(transaction, facts, this.declared, standing);
        },
        { readOnly: true },
      );
    } catch (error) {
      if (!hasSqlState(error, SqlState.queryCanceled, SqlState.lockNotAvailable)) throw error;
      report.notes.push(
        `default partition ${facts.defaultPartition.name} could not be looked through in ${Math.round(milliseconds / 1000)} s`,
      );
      return undefined;
    }
  }

  private async missing(
    facts: ParentFacts,
    standing: Standing,
    content: DefaultContent | undefined,
  ): Promise<Missing[]> {
    const strays = this.declared.drainDefault
      ? (content?.strays ?? []).filter(({ place }) => place === "wanted").map(({ start }) => start)
      : [];
    return readMissing(this.opened.session, facts, this.declared, standing, {
      gaps: this.opened.run.wanted.fillGaps === true,
      strays,
    });
  }

  private async leaveToPartman(facts: ParentFacts, partman: Partman): Promise<void> {
    const { report, run, session } = this.opened;
    if (partman.parentTable === "") {
      add(report.notPermitted, {
        table: this.declared.table,
        why: `pg_partman is installed, and ${session.user} may not read ${partman.schema}.part_config to see whether it looks after the table`,
        remedy: `GRANT USAGE ON SCHEMA ${partman.schema} and SELECT on its table part_config to ${session.user}`,
      });
      return;
    }
    const sql = partmanStatement(partman);
    if (run.dryRun) {
      this.plan("leave it to pg_partman", [
        { sql, lock: "pg_partman decides", why: `pg_partman ${partman.version} has it in part_config` },
      ]);
    } else {
      await this.attempt("have pg_partman look after it", async () => {
        await runPartman(session, facts, partman);
        report.byPartman.push(this.declared.table);
      });
    }
    const after = (await this.read()) ?? facts;
    const standing = await readStanding(session, after, this.declared);
    await noteFindings(
      this.opened,
      after,
      this.declared,
      standing,
      await this.look(after, standing),
      await this.missing(after, standing, undefined),
    );
  }

  /** What a run that was killed has begun. Resolves to whether anything changed. */
  private async finishInterrupted(facts: ParentFacts): Promise<boolean> {
    const { session, report } = this.opened;
    let isChanged = false;
    const pending = facts.partitions.find(({ isDetachPending }) => isDetachPending);
    if (pending !== undefined) {
      isChanged = await this.attempt(`finish detaching ${pending.name}`, async () => {
        await asOwner(session, facts, () => detachConcurrently(session, facts, pending));
        report.notes.push(`the detaching of ${pending.name} that was interrupted is complete`);
      });
    }
    for (const marked of await readMarked(session, facts.oid)) {
      if (await this.settle(facts, marked)) isChanged = true;
    }
    return isChanged;
  }

  private async settle(facts: ParentFacts, marked: Marked): Promise<boolean> {
    const { session, report } = this.opened;
    const standing = await readStanding(session, facts, this.declared);
    if (marked.isAttached || standing.cutoff === null) {
      // Nothing has happened to it yet, or it is to be kept: no word is left of it.
      return this.attempt(`take the mark from ${marked.name}`, async () => {
        await asOwner(session, facts, () => session.query(unmarkStatement(marked.name, marked.mark)));
      });
    }
    const retirement = this.retirement(facts, standing.cutoff);
    return this.attempt(`finish retiring ${marked.name}`, async () => {
      add(report.retired, await finish(session, retirement, marked));
    });
  }

  private retirement(facts: ParentFacts, cutoff: string): Retirement {
    return {
      facts,
      declared: this.declared,
      cutoff,
      limitMilliseconds: this.opened.run.lockTimeoutSeconds * 1000,
    };
  }

  /** Resolves to those that could not be made. */
  private async create(
    facts: ParentFacts,
    missing: readonly Missing[],
    content: DefaultContent | undefined,
  ): Promise<Missing[]> {
    if (missing.length === 0) return [];
    const { session, report, run } = this.opened;
    const undone: Missing[] = [];
    const template = await readTemplate(session, facts, newest(facts.partitions));
    report.notes.push(...template.notes);
    const taken = await this.takenNames(template.schema);
    const details = await readDefaultDetails(session, facts);
    for (const next of missing) {
      const partition: NewPartition = {
        name: partitionName(facts.table, next.suffix, taken),
        missing: next,
        strayRows: content?.strays.find(({ start }) => start === next.start)?.rows ?? 0,
      };
      const what = `make ${partition.name} for [${next.from}, ${next.to})`;
      const obstacle = this.obstacle(facts, partition, content);
      if (obstacle !== undefined) {
        add(report.blocked, { table: this.declared.table, what, ...obstacle });
        undone.push(next);
        continue;
      }
      taken.add(partition.name);
      if (run.dryRun) {
        const statements = creationStatements(facts, template, partition, details.columns, details.triggers);
        this.plan(what, [...statements.prepare, ...statements.locks, ...statements.work, ...later(template)]);
        continue;
      }
      if (!(await this.make(facts, template, partition, what))) undone.push(next);
    }
    return undone;
  }

  private async make(
    facts: ParentFacts,
    template: Template,
    partition: NewPartition,
    what: string,
  ): Promise<boolean> {
    const { session, report, run } = this.opened;
    run.progress(`${this.declared.table}: making ${partition.name}`);
    return this.attempt(what, async () => {
      let { strayRows } = partition;
      for (let again = 0; ; again += 1) {
        try {
          const movedRows = await createPartition(
            session,
            facts,
            template,
            { ...partition, strayRows },
            run.lockTimeoutSeconds * 1000,
          );
          add(report.created, {
            table: facts.name,
            partition: partition.name,
            from: partition.missing.from,
            to: partition.missing.to,
            movedRows,
          });
          return;
        } catch (error) {
          // Somebody has inserted a row of the range since the default partition was looked at.
          if (!isNewStray(error) || again > 0 || strayRows > 0 || !this.declared.drainDefault) throw error;
          if (drainObstacle(facts) !== undefined) throw error;
          strayRows = 1;
        }
      }
    });
  }

  private obstacle(
    facts: ParentFacts,
    { strayRows }: NewPartition,
    content: DefaultContent | undefined,
  ): { why: string; remedy: string } | undefined {
    const found = facts.defaultPartition;
    if (found === undefined) return undefined;
    const { run } = this.opened;
    if (content === undefined || found.pages > (pagesPerSecond * run.lockTimeoutSeconds) / 2) {
      return {
        why: `default partition ${found.name} has ${found.pages} pages, which nobody could read or write for as long as the server looks through them`,
        remedy:
          "move its rows out in a maintenance window, or detach it, so that partitions can be made without looking through it",
      };
    }
    if (strayRows === 0) return undefined;
    if (!this.declared.drainDefault) {
      return {
        why: `${countText(strayRows, "row")} of it are in default partition ${found.name}, and drainDefault is off`,
        remedy: "set drainDefault, or move them by hand",
      };
    }
    if (strayRows > run.drainRows) {
      return {
        why: `${strayRows} rows of it are in default partition ${found.name}, more than one transaction may move (partitions.drainRows is ${run.drainRows}); moved in several, they would be out of sight in between`,
        remedy:
          "raise partitions.drainRows and partitions.lockTimeoutSeconds for one run when few are there to wait, or move them by hand in one transaction",
      };
    }
    return drainObstacle(facts);
  }

  private async retireExpired(facts: ParentFacts, standing: Standing): Promise<void> {
    const { session, report, run } = this.opened;
    if (standing.cutoff === null) return;
    const retirement = this.retirement(facts, standing.cutoff);
    for (const partition of await readExpired(session, facts, this.declared, standing)) {
      const what = `retire ${partition.name}`;
      if (partition.kind !== "r") {
        add(report.blocked, {
          table: this.declared.table,
          what,
          why: "it is a foreign table",
          remedy: `detach it by hand: ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name}`,
        });
        continue;
      }
      if (run.dryRun) {
        this.plan(what, retirementStatements(retirement, partition));
        continue;
      }
      run.progress(`${this.declared.table}: retiring ${partition.name}`);
      await this.attempt(what, async () => {
        const isPending = await this.isPending(partition);
        add(report.retired, await retire(session, retirement, { ...partition, isDetachPending: isPending }));
      });
    }
  }

  /** An attempt may have left it so. */
  private async isPending(partition: Partition): Promise<boolean> {
    const rows = await this.opened.session.query<{ pending: boolean }>(
      "select inhdetachpending as pending from pg_inherits where inhrelid = $1",
      [partition.oid],
    );
    return rows[0]?.pending === true;
  }

  /** Tries again what could not have its locks. Resolves to whether it was done; what was not is in the report. */
  private async attempt(what: string, body: () => Promise<void>): Promise<boolean> {
    const { report, run } = this.opened;
    const table = this.declared.table;
    for (let n = 1; ; n += 1) {
      run.deadline.throwIfAborted();
      if (this.opened.remainingSeconds() < run.lockTimeoutSeconds) {
        add(report.blocked, {
          table,
          what,
          why: "the budget was used up before its turn",
          remedy: "the next run does it; or raise partitions.budgetSeconds",
        });
        return false;
      }
      try {
        await body();
        return true;
      } catch (error) {
        if (run.deadline.aborted || !(error instanceof PgkeepError) || error.code === "unreachable")
          throw error;
        const isLocked = hasSqlState(
          error,
          SqlState.lockNotAvailable,
          SqlState.queryCanceled,
          SqlState.deadlockDetected,
          SqlState.objectInUse,
        );
        if (isLocked && n < attempts) {
          await run.clock.sleep(500 * n, run.deadline);
          continue;
        }
        const entry = { table, what, why: errorMessage(error) };
        if (isLocked) {
          add(report.blocked, {
            ...entry,
            why: `a lock, or the work under it, was not to be had within ${run.lockTimeoutSeconds} s, ${attempts} times (${entry.why})`,
            remedy: "the next run tries again; find long transactions with `pgkeep health`",
          });
        } else if (hasSqlState(error, SqlState.insufficientPrivilege)) {
          add(report.notPermitted, { table, why: `${what}: ${entry.why}`, remedy: error.remedy ?? "" });
        } else if (hasSqlState(error, SqlState.foreignKeyViolation)) {
          add(report.blocked, {
            ...entry,
            remedy: "delete or move the rows that refer to it first: a partition that is referred to stays",
          });
        } else add(report.failed, { ...entry, remedy: error.remedy ?? "see what the server says" });
        return false;
      }
    }
  }

  private plan(what: string, statements: Statement[]): void {
    const { planned } = this.opened.report;
    if (planned !== undefined) add(planned, { table: this.declared.table, what, statements });
  }

  private async takenNames(schema: string): Promise<Set<string>> {
    const rows = await this.opened.session.query<{ name: string }>(
      `select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1
       union select t.typname::text from pg_type t join pg_namespace n on n.oid = t.typnamespace where n.nspname = $1`,
      [schema],
    );
    return new Set(rows.map(({ name }) => name));
  }
}

/** Why rows cannot be moved out of the default partition, whatever their number. */
function drainObstacle(facts: ParentFacts): { why: string; remedy: string } | undefined {
  const found = facts.defaultPartition;
  if (found === undefined) return undefined;
  const remedy = "move the rows by hand";
  const referring = facts.referencedBy[0];
  if (referring !== undefined) {
    return {
      why: `${referring.table} refers to the table (${referring.constraint}): rows that leave the default partition would take with them what refers to them`,
      remedy: "drop the foreign key, move the rows, and add it again",
    };
  }
  if (found.hasRules) return { why: `default partition ${found.name} has rules`, remedy };
  if (!found.isPlain) return { why: `default partition ${found.name} is not an ordinary table`, remedy };
  return undefined;
}

function newest(partitions: readonly Partition[]): Partition | undefined {
  // Made last, so the nearest to how partitions are made now.
  return partitions.filter(({ kind }) => kind === "r").at(-1);
}

function later(template: Template): Statement[] {
  return template.after.map(({ why }) => ({
    sql: `-- ${why}`,
    lock: "none but on itself",
    why,
  }));
}
