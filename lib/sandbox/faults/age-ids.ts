import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import type { SandboxState } from "../state.ts";
import type { Fault, FaultContext, FaultResult } from "./fault.ts";
import { pidOf } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/** Transaction ids and multixact ids age in the same way. */
export interface IdKind {
  /** For people. */
  words: string;
  /** Of `pg_class` and of `pg_database`. */
  relationColumn: "relfrozenxid" | "relminmxid";
  databaseColumn: "datfrozenxid" | "datminmxid";
  age: "age" | "mxid_age";
  /** SQL for the next id to be given out. */
  next: string;
  /** The setting beyond which autovacuum freezes. */
  trigger: string;
}

export const transactionIds: IdKind = {
  words: "transaction ids",
  relationColumn: "relfrozenxid",
  databaseColumn: "datfrozenxid",
  age: "age",
  next: "pg_snapshot_xmax(pg_current_snapshot())::text::int8",
  trigger: "autovacuum_freeze_max_age",
};

export const multixactIds: IdKind = {
  words: "multixact ids",
  relationColumn: "relminmxid",
  databaseColumn: "datminmxid",
  age: "mxid_age",
  next: "mxid_age('1'::xid)::int8 + 1",
  trigger: "autovacuum_multixact_freeze_max_age",
};

export interface AgeRequest {
  /** The fault's name. */
  fault: string;
  kind: IdKind;
  /** Less than 2^31. */
  age: number;
}

/**
 * Makes the oldest ids of the database so old, in earnest: PostgreSQL has its limits from then on where they would
 * be. A session has a temporary table and does nothing, as a pooled one may for months; nobody but itself can
 * freeze such a table, autovacuum least of all. `relfrozenxid` is a promise that nothing in the table is older, so
 * an older one is as true as a younger one: the table's is set back, the database's with it, and the next vacuum
 * computes the server's limits from them. Replicas, backups and the archive stay good.
 */
export async function ageIds(context: FaultContext, request: AgeRequest): Promise<FaultResult> {
  const { state, held } = context;
  const { fault, kind, age } = request;
  const pids = await held.pids(fault, state);
  if (pids.length > 0) {
    const message = `process ${pids[0]} keeps old ${kind.words} in a temporary table`;
    return { outcome: "already-applied", message, details: { pid: pids[0] ?? 0 } };
  }
  try {
    const owner = await held.open(fault, state, state.application.writer);
    const pid = await pidOf(owner);
    const table = tableOf(fault);
    await owner.query(`create temporary table ${identifier(table)} (number int)`);
    const schema = await withSuperuser(state, (session) => setBack(session, table, kind, age));
    return {
      outcome: "applied",
      message: `process ${pid} has a temporary table whose ${kind.words} are ${age} old, which nobody else can freeze`,
      details: { pid, table: `${schema}.${table}`, age },
    };
  } catch (error) {
    await endAgeing(context, request);
    throw error;
  }
}

/** Ends the session, drops what a crash has left of its table, and vacuums until the ids are young again. */
export async function endAgeing(
  context: FaultContext,
  { fault, kind }: Pick<AgeRequest, "fault" | "kind">,
): Promise<FaultResult> {
  const { state, held } = context;
  const ended = await held.end(fault, state);
  const before = await databaseAge(state, kind);
  if (ended === 0 && !before.overdue) {
    return { outcome: "not-applied", message: `the ${kind.words} are young`, details: { age: before.age } };
  }
  const after = await withSuperuser(state, (session) => freeze(session, context, fault, kind));
  return {
    outcome: "repaired",
    message: `the oldest ${kind.words} are ${after} old after a vacuum, and were ${before.age}`,
    details: { age: after, before: before.age },
  };
}

/** The fault that consists of nothing else. */
export function ageFault(request: AgeRequest, about: { alarms: readonly string[]; summary: string }): Fault {
  return {
    name: request.fault,
    ...about,
    apply: (context) => ageIds(context, request),
    repair: (context) => endAgeing(context, request),
  };
}

const tableOf = (fault: string) => `pgkeep_fault_${fault.replaceAll("-", "_")}`;

/** The smallest of the system's tables: any vacuum makes the database, and the server, look at their oldest ids. */
const smallTable = "pg_catalog.pg_am";

/** Resolves to the temporary schema. */
async function setBack(session: Session, table: string, kind: IdKind, age: number): Promise<string> {
  const { relationColumn, databaseColumn, next } = kind;
  const schema = await retrying(async () => {
    const [row] = await session.query<{ schema: string }>(
      `with oldest as materialized (select (${next} - $2::int8 + 4294967296) % 4294967296 as id),
       relation as (
         update pg_class set ${relationColumn} = oldest.id::text::xid from oldest
          where relname = $1 and relpersistence = 't'
         returning relnamespace::regnamespace::text as schema),
       -- One older, so that the vacuum finds something to change.
       database as (
         update pg_database set ${databaseColumn} = (oldest.id - 1)::text::xid from oldest
          where datname = current_database())
       select schema from relation`,
      [table, age],
    );
    return row?.schema;
  });
  await retrying(() => session.query(`vacuum ${smallTable}`));
  return schema ?? "";
}

async function freeze(
  session: Session,
  { clock, signal }: FaultContext,
  fault: string,
  kind: IdKind,
): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const left = await session.query<{ schema: string; name: string }>(
      `select relnamespace::regnamespace::text as schema, relname::text as name
         from pg_class where relname = $1 and relpersistence = 't'`,
      [tableOf(fault)],
    );
    for (const { schema, name } of left)
      await session.query(`drop table if exists ${qualified(schema, name)}`);
    await retrying(() => session.query(`vacuum (freeze) ${smallTable}`));
    const { age, overdue } = await ageIn(session, kind);
    if (!overdue) return age;
    await clock.sleep(100, signal);
  }
  throw new PgkeepError("timeout", `the ${kind.words} are not young again after 10 s of vacuuming`, {
    remedy: "see `pgkeep health` for what holds them back",
  });
}

function databaseAge(state: SandboxState, kind: IdKind): Promise<{ age: number; overdue: boolean }> {
  return withSuperuser(state, (session) => ageIn(session, kind));
}

async function ageIn(session: Session, kind: IdKind): Promise<{ age: number; overdue: boolean }> {
  const [row] = await session.query<{ age: number; overdue: boolean }>(
    `select ${kind.age}(${kind.databaseColumn}) as age,
            ${kind.age}(${kind.databaseColumn}) > current_setting($1)::int8 as overdue
       from pg_database where datname = current_database()`,
    [kind.trigger],
  );
  return row ?? { age: 0, overdue: false };
}

/** Autovacuum may change or lock the same row at the same moment. */
async function retrying<T>(action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      const concurrent = error instanceof Error && /concurrently|lock timeout/.test(error.message);
      if (!concurrent || attempt === 5) throw error;
    }
  }
}
