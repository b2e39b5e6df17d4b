import { randomBytes } from "node:crypto";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Backups, RestoreState, RestoreTarget } from "../ports/backups.ts";
import type { Clock } from "../ports/clock.ts";
import type { Endpoint, Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import { DatabaseError, hasSqlState } from "../postgres/errors.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { compactTime } from "../retention/calendar.ts";
import { asItWas, bareColumns, likeOriginal, type Making } from "./make.ts";
import { type Contents, checkCondition, copyRows, prepareTransaction, readContents, rowsOf } from "./rows.ts";
import { columnDifferences, readShape, type TableName, type TableShape } from "./shape.ts";

export interface RestoreTableRequest {
  backups: Backups;
  clock: Clock;
  /** Sessions of somebody who may read every table then, and create tables now. */
  connectRestored(endpoint: Endpoint): Promise<Session>;
  connectPrimary(): Promise<Session>;
  table: TableName;
  target: RestoreTarget;
  fromBackupId?: string | undefined;
  /** SQL: which rows. Run on the restored server only, in a transaction that can change nothing. */
  where?: string | undefined;
  /** Its name. Default: `<table>_restored_<UTC>`, or the table's own when that is gone. */
  as?: string | undefined;
  dryRun: boolean;
  signal: AbortSignal;
  progress(message: string): void;
}

export interface RestoredTable {
  table: TableName;
  /** The table that holds the rows of then. */
  restored: TableName;
  /** `beside`: the original is untouched. `in-place`: it was gone. */
  how: "beside" | "in-place";
  where: string | null;
  /** null in a dry run, as everything that is known only afterwards. */
  backupId: string | null;
  lastCommitAt: string | null;
  /** Counted and hashed on both servers: a difference is an error. */
  contents: Contents | null;
  /** Why it was made of its columns only, without defaults, keys and indexes; empty when it is like the original. */
  differences: string[];
  /** What it had then and has not now: SQL to run, or a sentence. */
  leftOut: string[];
  /** From the request to the rows being there. */
  rtoSeconds: number;
  restoreSeconds: number;
  copySeconds: number;
  dryRun: boolean;
}

/**
 * Recovers to the moment in a scratch instance, takes the table from it and brings it back, all or nothing:
 * beside the original, or in its place when that is gone. The scratch instance is discarded in any case.
 * @throws PgkeepError `not-found`, `refused`, `usage`, `restore-failed`, `statement-failed`
 */
export async function restoreTable(request: RestoreTableRequest): Promise<RestoredTable> {
  const { backups, clock, target, signal } = request;
  const startedAt = clock.now();
  const seconds = (from: Date) => (clock.now().getTime() - from.getTime()) / 1000;
  const place = await findPlace(request, startedAt);
  const result: RestoredTable = {
    table: request.table,
    restored: { schema: request.table.schema, name: place.name },
    how: place.how,
    where: request.where ?? null,
    backupId: null,
    lastCommitAt: null,
    contents: null,
    differences: [],
    leftOut: [],
    rtoSeconds: 0,
    restoreSeconds: 0,
    copySeconds: 0,
    dryRun: request.dryRun,
  };
  if (request.dryRun) {
    await requireRestorable(request);
    return result;
  }
  // Nobody else can have it, not even by chance: what we discard is ours.
  const scratch = `table-${compactTime(startedAt)}-${randomBytes(4).toString("hex")}`;
  try {
    const available = await recover(request, scratch);
    result.backupId = available.backupId;
    result.lastCommitAt = available.lastCommitAt?.toISOString() ?? null;
    result.restoreSeconds = seconds(startedAt);
    const copyingSince = clock.now();
    Object.assign(result, await bringBack(request, available.endpoint, result.restored));
    result.copySeconds = seconds(copyingSince);
    result.rtoSeconds = seconds(startedAt);
  } finally {
    request.progress("removing the scratch instance");
    await backups.discard(scratch);
  }
  signal.throwIfAborted();
  return result;

  async function recover(
    { progress }: RestoreTableRequest,
    name: string,
  ): Promise<RestoreState & { status: "available" }> {
    progress(`recovering to ${target.kind === "time" ? target.time.toISOString() : "the backup"} in ${name}`);
    for (;;) {
      const state = await backups.restore({
        name,
        target,
        ephemeral: true,
        ...(request.fromBackupId === undefined ? {} : { fromBackupId: request.fromBackupId }),
      });
      if (state.status === "available") return state;
      progress(state.detail);
      await clock.sleep(state.pollAfterSeconds * 1000, signal);
    }
  }
}

/** Before the long part: whether there is a place for it. */
async function findPlace(
  { connectPrimary, table, as, where }: RestoreTableRequest,
  now: Date,
): Promise<{ how: "beside" | "in-place"; name: string }> {
  if (where?.trim() === "") throw new UsageError("the condition is empty", { remedy: "leave --where away" });
  if (where?.includes("\0")) throw new UsageError("the condition contains a NUL byte");
  const session = await connectPrimary();
  try {
    if (session.isStandby) {
      throw new PgkeepError("read-only", "a standby takes no table", { remedy: "connect to the primary" });
    }
    const original = await readShape(session, table);
    const name =
      as ?? (original === undefined ? table.name : suffixedName(table.name, `_restored_${compactTime(now)}`));
    if (Buffer.byteLength(name) > 63) {
      throw new UsageError(`${name} is longer than PostgreSQL keeps a name`, {
        remedy: "choose a shorter one with --as",
      });
    }
    identifier(name);
    const [facts] = await session.query<{ schema: boolean; taken: boolean }>(
      `select exists (select from pg_namespace where nspname = $1) as schema,
              exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                      where n.nspname = $1 and c.relname = $2) as taken`,
      [table.schema, name],
    );
    if (facts?.schema !== true) {
      throw new PgkeepError("refused", `the schema ${table.schema} is not there now`, {
        remedy: `create it first: create schema ${identifier(table.schema)}`,
      });
    }
    if (facts.taken) {
      throw new PgkeepError("refused", `${table.schema}.${name} exists already`, {
        remedy: "choose another name with --as, or drop it",
      });
    }
    return { how: original === undefined ? "in-place" : "beside", name };
  } finally {
    await session.close();
  }
}

/** `orders` and `_restored_20260102t030405z` in one name, the first part cut when it would be too long. */
export function suffixedName(table: string, suffix: string): string {
  let front = table;
  while (Buffer.byteLength(front + suffix) > 63) front = [...front].slice(0, -1).join("");
  return front + suffix;
}

async function requireRestorable({ backups, target, fromBackupId }: RestoreTableRequest): Promise<void> {
  const wanted = target.kind === "backup" ? target.backupId : fromBackupId;
  const usable = (await backups.list()).filter(({ status }) => status === "available");
  if (wanted !== undefined && !usable.some(({ id }) => id === wanted)) {
    throw new PgkeepError("not-found", `there is no usable backup named ${wanted}`, {
      remedy: "see the names with `pgkeep backup list`",
    });
  }
  if (target.kind !== "time") return;
  const window = await backups.recoveryWindow();
  if (window !== undefined && target.time >= window.earliest) return;
  throw new PgkeepError("restore-failed", `${target.time.toISOString()} cannot be restored to`, {
    remedy: "see which moments can be with `pgkeep backup list`",
  });
}

type Brought = Pick<RestoredTable, "contents" | "differences" | "leftOut">;

/** One attempt reads from a session of its own: what an earlier one broke off does not reach it. */
interface Attempt extends Pick<RestoreTableRequest, "where" | "progress" | "connectPrimary"> {
  connectRestored(): Promise<Session>;
  then: TableShape;
  made: TableName;
}

/**
 * Classes of SQLSTATE with which a key, check or generated column of now refuses rows of then: bad data, integrity,
 * names that a function does not find (never missing rights), and what functions raise themselves.
 */
const refusesRows = /^(?:22|23|42(?!501)|P0)/;

/** Like the original where the rows of then fit into it, of the bare columns where they do not. */
async function bringBack(
  request: RestoreTableRequest,
  endpoint: Endpoint,
  made: TableName,
): Promise<Brought> {
  const { table, where, progress, connectPrimary } = request;
  const connectRestored = () => request.connectRestored(endpoint);
  const primary = await connectPrimary();
  try {
    if (!(await tryAdvisoryLock(primary, `restore-table:${table.schema}.${table.name}`))) {
      throw new PgkeepError("refused", `somebody else restores ${table.schema}.${table.name} now`);
    }
    const now = await readShape(primary, table);
    const then = await withSession(connectRestored(), (restored) => readThen(restored, table));
    const attempt: Attempt = { connectRestored, connectPrimary, where, progress, then, made };
    if (now === undefined) {
      const making = await withSession(connectRestored(), (restored) => asItWas(restored, then));
      if (made.name !== then.name) {
        making.after.push(
          `alter table ${qualified(then.schema, then.name)} rename to ${identifier(made.name)}`,
        );
      }
      return { contents: await fill(attempt, making, then), differences: [], leftOut: making.leftOut };
    }
    const differences = columnDifferences(then, now);
    if (differences.length === 0) {
      try {
        const making = likeOriginal(now, made);
        return { contents: await fill(attempt, making, made), differences, leftOut: making.leftOut };
      } catch (error) {
        if (!(error instanceof DatabaseError) || !refusesRows.test(error.sqlState)) throw error;
        differences.push(`the rows of then do not fit it as it is now (${error.message})`);
      }
    }
    const making = bareColumns(then, made);
    return { contents: await fill(attempt, making, made), differences, leftOut: making.leftOut };
  } finally {
    await primary.close();
  }
}

async function withSession<T>(opening: Promise<Session>, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await opening;
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}

async function readThen(restored: Session, table: TableName): Promise<TableShape> {
  const then = await readShape(restored, table);
  if (then === undefined) {
    throw new PgkeepError("not-found", `${table.schema}.${table.name} did not exist at that moment`, {
      remedy: "choose another moment, or see whether it had another name then",
    });
  }
  if (then.columns.every(({ generated }) => generated)) {
    throw new PgkeepError("refused", `${table.schema}.${table.name} has no columns to take`);
  }
  return then;
}

/** In one transaction, so that a killed run leaves nothing. `filled`: the table's name while the rows come. */
async function fill(attempt: Attempt, making: Making, filled: TableName): Promise<Contents> {
  const { then, where, made, progress } = attempt;
  const names = where === undefined ? [] : [then.schema, "public"];
  const from = rowsOf(then, where);
  const read = (restored: Session) =>
    withSession(attempt.connectPrimary(), async (primary) => {
      const contents = await primary.transaction(async () => {
        await prepareTransaction(primary, names);
        for (const statement of making.before) await primary.query(statement);
        progress(`copying the rows into ${made.schema}.${made.name}`);
        await copyRows(restored, making.columns, from, primary, filled);
        const there = await readContents(restored, making.columns, from);
        const here = await readContents(
          primary,
          making.columns,
          `from ${qualified(filled.schema, filled.name)}`,
        );
        requireSame(there, here);
        for (const statement of making.after) await primary.query(statement);
        return here;
      });
      await primary.query(`analyze ${qualified(made.schema, made.name)}`);
      return contents;
    });
  try {
    return await withSession(attempt.connectRestored(), (restored) =>
      restored.transaction(
        async () => {
          await prepareTransaction(restored, names);
          if (where !== undefined) await checkCondition(restored, then, where);
          return read(restored);
        },
        // One snapshot for copying, counting and hashing.
        { readOnly: true, isolation: "repeatable read" },
      ),
    );
  } catch (error) {
    throw explain(error, made);
  }
}

function requireSame(there: Contents, here: Contents): void {
  if (there.rows === here.rows && there.hash === here.hash) return;
  throw new PgkeepError(
    "restore-failed",
    `the rows that arrived are not those of then: ${here.rows} of ${there.rows}, hashes ${here.hash} and ${there.hash}; nothing was kept`,
    { remedy: "see whether a type or a default changes values on their way in" },
  );
}

function explain(error: unknown, made: TableName): unknown {
  if (hasSqlState(error, SqlState.insufficientPrivilege, SqlState.undefinedObject)) return error;
  if (hasSqlState(error, SqlState.diskFull)) {
    return new PgkeepError("statement-failed", `no space for ${made.schema}.${made.name}: ${error.message}`, {
      remedy: "make room on the primary, then run it again: nothing of it was kept",
      cause: error,
    });
  }
  if (hasSqlState(error, SqlState.queryCanceled, SqlState.lockNotAvailable)) {
    return new PgkeepError("timeout", `${made.schema}.${made.name}: ${error.message}; nothing was kept`, {
      remedy: "try again when the original is not locked",
      cause: error,
    });
  }
  return error;
}
