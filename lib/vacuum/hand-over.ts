import { errorMessage, PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { type CronState, readCron, readCronRun, scheduleOnce, unschedule } from "./cron.ts";
import {
  deleteHandover,
  type Handover,
  insertHandover,
  readHandovers,
  recordsHandovers,
} from "./handover-record.ts";
import { alterStatements, raisedParameters, restoringParameters, vacuumReasons } from "./parameters.ts";
import type { Work } from "./plan.ts";
import type { HandedOver, TakenBack } from "./report.ts";
import { entryOf, rounded } from "./report.ts";

/** Under the server's deadlock_timeout (1 s), after which waiting for this lock would cancel an autovacuum. */
const lockTimeoutMilliseconds = 400;
/** A scheduled job that has not begun by then will not. */
const cronPatienceSeconds = 3_600;
const daySeconds = 86_400;

/** What became of the table of a plan that was to be handed over. */
export type HandedOut = { kind: "handed over"; entry: HandedOver } | { kind: "kept"; why: string };

/**
 * Tables too large for one run are vacuumed by others: pg_cron runs the statement once where it is installed, else
 * autovacuum takes the table up because its storage parameters are raised until it has. Every change is recorded in the
 * transaction that makes it, so that a later run takes it back, whatever became of this one.
 */
export class HandingOver {
  private readonly session: Session;
  private readonly limitSeconds: number;
  private readonly canRecord: boolean;
  private readonly pending = new Map<number, HandedOver>();
  private readonly failedByCron = new Set<number>();
  private cron: CronState | undefined;

  private constructor(session: Session, days: number, canRecord: boolean) {
    this.session = session;
    this.limitSeconds = days * daySeconds;
    this.canRecord = canRecord;
  }

  /**
   * Takes back what earlier runs have handed over and is done, gone or has taken too long. With `dryRun` it only
   * looks: what it would take back is in the answer all the same.
   */
  static async begin(
    session: Session,
    options: { days: number; dryRun: boolean },
  ): Promise<{ handingOver: HandingOver; takenBack: TakenBack[] }> {
    const handingOver = new HandingOver(session, options.days, await recordsHandovers(session));
    const takenBack: TakenBack[] = [];
    if (!handingOver.canRecord) return { handingOver, takenBack };
    for (const handover of await readHandovers(session)) {
      const entry = await handingOver.settle(handover, options.dryRun);
      if (entry !== undefined) takenBack.push(entry);
    }
    return { handingOver, takenBack };
  }

  /** What others are at: not to be vacuumed by this run, unless a person asks for it. */
  pendingFor(oid: number): HandedOver | undefined {
    return this.pending.get(oid);
  }

  allPending(): HandedOver[] {
    return [...this.pending.values()];
  }

  private async settle(handover: Handover, dryRun: boolean): Promise<TakenBack | undefined> {
    const outcome = await this.outcomeOf(handover);
    const named = { schema: handover.schema, table: handover.table };
    const statements =
      handover.oid === null
        ? []
        : alterStatements(
            qualified(handover.schema, handover.table),
            restoringParameters(handover.parameters, handover),
          );
    if (outcome.ended) {
      const entry: TakenBack = {
        ...named,
        to: handover.to,
        outcome: outcome.what,
        afterSeconds: rounded(handover.ageSeconds),
        sql: statements,
      };
      const obstacle = dryRun ? undefined : await this.takeBack(handover);
      if (obstacle === undefined) {
        if (outcome.failed && handover.to === "pg_cron" && handover.oid !== null) {
          this.failedByCron.add(handover.oid);
        }
        return entry;
      }
      outcome.what = `${outcome.what}; its settings could not be put back yet: ${obstacle}`;
    }
    if (handover.oid !== null) {
      this.pending.set(handover.oid, {
        ...named,
        to: handover.to,
        state: outcome.what,
        sinceSeconds: rounded(handover.ageSeconds),
        predictedSeconds: null,
        sql: [],
        undo: statements,
      });
    }
    return undefined;
  }

  private async outcomeOf(handover: Handover): Promise<{ ended: boolean; failed: boolean; what: string }> {
    const ended = (what: string, failed = false) => ({ ended: true, failed, what });
    const going = (what: string) => ({ ended: false, failed: false, what });
    if (handover.oid === null) return ended("the table is gone");
    if (handover.isVacuumed && !handover.isRunning) return ended("vacuumed");
    if (handover.isRunning) return going("being vacuumed");
    if (handover.cronJob !== null) {
      const run = await readCronRun(this.session, handover.cronJob).catch(() => undefined);
      if (run?.status === "failed")
        return ended(`pg_cron's job failed: ${run.message ?? "no message"}`, true);
      if (run === undefined && handover.ageSeconds > cronPatienceSeconds) {
        return ended("pg_cron never began its job", true);
      }
    }
    if (handover.ageSeconds > this.limitSeconds) return ended("not vacuumed in time", true);
    return going(handover.to === "pg_cron" ? "scheduled" : "waits for autovacuum");
  }

  /** Resolves to why it could not be done. */
  private async takeBack(handover: Handover): Promise<string | undefined> {
    const { oid, cronJob } = handover;
    return this.changing(async (session) => {
      if (cronJob !== null) await unschedule(session, cronJob);
      if (oid !== null)
        await alter(session, oid, handover, restoringParameters(handover.parameters, handover));
      await deleteHandover(session, handover.recordedOid);
    });
  }

  /** Hands over a table whose VACUUM would take longer than a run has. With `dryRun` nothing is changed. */
  async give(work: Work, predictedSeconds: number, dryRun: boolean): Promise<HandedOut> {
    const { relation, action } = work;
    if (action.vacuum === "none" || action.vacuum === "full") return kept("");
    const due = vacuumReasons(work.reasons);
    if (!this.canRecord) {
      return kept(
        "`pgkeep install` would let it be handed to autovacuum: without schema pgkeep nothing could be put back",
      );
    }
    const cron = await this.readCron();
    const notes = cron.kind === "refused" ? [`pg_cron may not be used: ${cron.remedy}`] : [];
    const entry = (to: HandedOver["to"], state: string, sql: string[], undo: string[]): HandedOver => ({
      ...entryOf(relation),
      to,
      state,
      sinceSeconds: 0,
      predictedSeconds: rounded(predictedSeconds),
      sql,
      undo,
      ...(notes.length === 0 ? {} : { notes }),
    });
    const record = {
      oid: relation.oid,
      schema: relation.schema,
      table: relation.table,
      toastOnly: due.length > 0 && due.every((reason) => reason.toast === true),
    };
    if (cron.kind === "usable" && !this.failedByCron.has(relation.oid)) {
      // It may wait for the lock: behind it nobody queues who reads or writes.
      const statement = work.sql.replace("SKIP_LOCKED, ", "");
      const name = `pgkeep vacuum ${relation.oid}`;
      const obstacle = dryRun
        ? undefined
        : await this.changing(async (session) => {
            const cronJob = await scheduleOnce(session, name, statement);
            await insertHandover(session, { ...record, to: "pg_cron", parameters: {}, cronJob });
          });
      if (obstacle === undefined) {
        return { kind: "handed over", entry: entry("pg_cron", "scheduled", [statement], []) };
      }
      notes.push(`pg_cron could not be used: ${obstacle}`);
    }
    if (due.length === 0) return kept("autovacuum would not take it up: no counter calls for it");
    const owner = await this.readRights(relation.oid);
    if (owner === undefined) return kept("it is gone");
    const parameters = raisedParameters(relation, due);
    const raised = Object.fromEntries(Object.entries(parameters).map(([name, { set }]) => [name, set]));
    const earlier = Object.fromEntries(
      Object.entries(parameters).map(([name, { earlier: before }]) => [name, before]),
    );
    const table = qualified(relation.schema, relation.table);
    const sql = alterStatements(table, raised);
    if (owner.isRunning) return kept("it is being vacuumed now");
    if (!owner.autovacuumIsOn) return kept("autovacuum is off on this server");
    if (!owner.mayAlter) {
      return kept(
        `only ${identifier(owner.owner)} may change its settings, with ${sql.join("; ")}, and put them back afterwards`,
      );
    }
    const obstacle = dryRun
      ? undefined
      : await this.changing(async (session) => {
          await insertHandover(session, { ...record, to: "autovacuum", parameters, cronJob: null });
          await alter(session, relation.oid, relation, raised);
        });
    if (obstacle !== undefined) return kept(`its settings could not be raised: ${obstacle}`);
    return {
      kind: "handed over",
      entry: entry("autovacuum", "waits for autovacuum", sql, alterStatements(table, earlier)),
    };
  }

  private async readCron(): Promise<CronState> {
    this.cron ??= await readCron(this.session);
    return this.cron;
  }

  private async readRights(oid: number): Promise<Rights | undefined> {
    const rows = await this.session.query<Rights>(
      `select pg_get_userbyid(c.relowner)::text as owner,
              ${mayAlterSql} as "mayAlter",
              current_setting('autovacuum') = 'on' and current_setting('track_counts') = 'on' as "autovacuumIsOn",
              exists (select from pg_stat_progress_vacuum v
                       where v.datname = current_database() and v.relid in (c.oid, c.reltoastrelid)) as "isRunning"
         from pg_class c where c.oid = $1`,
      [oid],
    );
    return rows[0];
  }

  /** One transaction that waits for no lock long enough to disturb anybody. Resolves to what prevented it. */
  private async changing(body: (session: Session) => Promise<void>): Promise<string | undefined> {
    try {
      await this.session.transaction(async (session) => {
        await session.query("select set_config('lock_timeout', $1, true)", [String(lockTimeoutMilliseconds)]);
        await body(session);
      });
      return undefined;
    } catch (error) {
      if (hasSqlState(error, SqlState.lockNotAvailable)) return "its lock is held by somebody else";
      if (error instanceof PgkeepError && error.code !== "unreachable") return errorMessage(error);
      throw error;
    }
  }
}

type Rights = { owner: string; mayAlter: boolean; autovacuumIsOn: boolean; isRunning: boolean };

/** Whether the function of schema pgkeep can do it, which runs with the rights of that schema's owner. */
const functionMayAlterSql = `exists (
  select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
   where n.nspname = 'pgkeep' and p.proname = 'set_autovacuum'
     and has_function_privilege(p.oid, 'execute') and pg_has_role(p.proowner, c.relowner, 'USAGE'))`;
const mayAlterSql = `(pg_has_role(c.relowner, 'USAGE') or ${functionMayAlterSql})`;

function kept(why: string): HandedOut {
  return { kind: "kept", why };
}

/** Owners alter their tables; who may only vacuum them (MAINTAIN) does it by a function of schema pgkeep. */
async function alter(
  session: Session,
  oid: number,
  table: { schema: string; table: string },
  parameters: Record<string, string | null>,
): Promise<void> {
  if (Object.keys(parameters).length === 0) return;
  const rows = await session.query<{ owns: boolean }>(
    "select pg_has_role(relowner, 'USAGE') as owns from pg_class where oid = $1",
    [oid],
  );
  if (rows[0]?.owns === true) {
    for (const sql of alterStatements(qualified(table.schema, table.table), parameters)) {
      await session.query(sql);
    }
    return;
  }
  await session.query("select pgkeep.set_autovacuum($1, $2::jsonb)", [oid, JSON.stringify(parameters)]);
}
