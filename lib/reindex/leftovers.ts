import { errorMessage, PgkeepError } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";
import { definitionSql, mayCleanUpSql } from "./index-facts.ts";
import type { RebuildRecord, RebuildRecords } from "./record.ts";

/** An index of the table of a recorded rebuild. */
export interface TableIndex {
  oid: number;
  schema: string;
  index: string;
  definition: string;
  isValid: boolean;
  /** Anything that must not lose it: a constraint, or an object that depends on it. */
  isNeeded: boolean;
  mayOwn: boolean;
  mayCleanUp: boolean;
}

/** What became of a recorded rebuild. */
export interface Settlement {
  /** Null when there is no such table or index any more. `rebuilt`: the new index is in place and valid. */
  state: "rebuilt" | "as before" | "gone";
  bytesAfter: number | null;
  dropped: { schema: string; index: string }[];
  remaining: { schema: string; index: string; why: string; sql: string }[];
}

/**
 * Whether an index is what the recorded rebuild has left. `_ccold` is the index that was rebuilt itself, which had
 * its name taken away when the new one took its place. `_ccnew` came to the table afterwards, indexes the same, and
 * has a name that the server makes of the rebuilt index's. Both are invalid; nothing else is ever ours.
 */
export function isLeftover(record: RebuildRecord, index: TableIndex): boolean {
  if (index.isValid || index.isNeeded) return false;
  if (index.oid === record.indexOid) {
    return index.index !== record.index && isNameOf(record.index, index.index, "old");
  }
  return (
    !record.indexesBefore.includes(index.oid) &&
    index.definition === record.definition &&
    isNameOf(record.index, index.index, "new")
  );
}

/** Longest name that PostgreSQL keeps whole, in bytes. */
const identifierBytes = 63;
/** A cut name may be shorter by a part of its last character. */
const longestCharacterBytes = 4;

/** Whether the server's REINDEX CONCURRENTLY could have made this name (`makeObjectName()` in `indexcmds.c`). */
export function isNameOf(base: string, name: string, kind: "new" | "old"): boolean {
  const match = (kind === "new" ? /^(.*)_ccnew\d*$/su : /^(.*)_ccold\d*$/su).exec(name);
  const prefix = match?.[1];
  if (prefix === undefined || !base.startsWith(prefix)) return false;
  return prefix === base || Buffer.byteLength(name) > identifierBytes - longestCharacterBytes;
}

async function readTable(session: Session, record: RebuildRecord): Promise<TableIndex[]> {
  return session.query<TableIndex>(
    `select i.oid::int8 as oid, n.nspname::text as schema, i.relname::text as index, x.indisvalid as "isValid",
            exists (select from pg_constraint k where k.conindid = i.oid)
              or exists (select from pg_depend d where d.refclassid = 'pg_class'::regclass and d.refobjid = i.oid) as "isNeeded",
            ${definitionSql("i", "x")} as definition,
            pg_has_role(i.relowner, 'USAGE') as "mayOwn", ${mayCleanUpSql("i.relowner")} as "mayCleanUp"
       from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
      where x.indrelid = $1`,
    [record.tableOid],
  );
}

/**
 * Sees how a rebuild ended and removes what it has left. The record is taken away once nothing is left.
 * The backend that carried it out must be at its end: see `endOrphan`.
 */
export async function settle(
  session: Session,
  records: RebuildRecords,
  record: RebuildRecord,
): Promise<Settlement> {
  const indexes = await readTable(session, record);
  const present = indexes.find((index) => index.index === record.index && index.schema === record.schema);
  const settlement: Settlement = {
    state:
      present === undefined
        ? "gone"
        : present.oid !== record.indexOid && present.isValid && !record.indexesBefore.includes(present.oid)
          ? "rebuilt"
          : "as before",
    bytesAfter: null,
    dropped: [],
    remaining: [],
  };
  for (const index of indexes.filter((candidate) => isLeftover(record, candidate))) {
    const problem = await drop(session, index);
    if (problem === undefined) settlement.dropped.push({ schema: index.schema, index: index.index });
    else {
      const sql = `DROP INDEX CONCURRENTLY ${qualified(index.schema, index.index)}`;
      settlement.remaining.push({ schema: index.schema, index: index.index, why: problem, sql });
    }
  }
  if (settlement.state === "rebuilt" && present !== undefined) {
    const rows = await session.query<{ bytes: number | null }>(
      "select pg_relation_size($1::oid)::int8 as bytes",
      [present.oid],
    );
    settlement.bytesAfter = rows[0]?.bytes ?? null;
  }
  if (settlement.remaining.length === 0) await records.end(session, record);
  return settlement;
}

/** The end of a rebuild that the server has reported as done: takes the record away and says how large it is now. */
export async function finish(
  session: Session,
  records: RebuildRecords,
  record: RebuildRecord,
): Promise<Settlement> {
  const rows = await session.query<{ bytes: number | null }>(
    `${records.obstacle === null ? "with ended as (delete from pgkeep.index_rebuild where index_oid = $4)" : ""}
     select pg_relation_size(i.oid)::int8 as bytes
       from pg_class i join pg_index x on x.indexrelid = i.oid join pg_namespace n on n.oid = i.relnamespace
      where x.indrelid = $1 and n.nspname::text = $2 and i.relname::text = $3`,
    [record.tableOid, record.schema, record.index, ...(records.obstacle === null ? [record.indexOid] : [])],
  );
  return { state: "rebuilt", bytesAfter: rows[0]?.bytes ?? null, dropped: [], remaining: [] };
}

/** What a recorded rebuild has left, without touching it. */
export async function findLeftovers(session: Session, record: RebuildRecord): Promise<TableIndex[]> {
  return (await readTable(session, record)).filter((index) => isLeftover(record, index));
}

/** Resolves to why it could not be dropped. */
async function drop(session: Session, index: TableIndex): Promise<string | undefined> {
  try {
    // Concurrently is for the owner; the function takes a short exclusive lock, in the owner's place.
    if (index.mayOwn) await session.query(`DROP INDEX CONCURRENTLY ${qualified(index.schema, index.index)}`);
    else if (index.mayCleanUp) await session.query("select pgkeep.drop_index_leftover($1::oid)", [index.oid]);
    else return `the role ${session.user} may not drop it`;
    return undefined;
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && error.code !== "deadline") {
      return errorMessage(error);
    }
    throw error;
  }
}

/** How long a backend may take to end once it was told to. */
const endingMilliseconds = 15_000;

/**
 * Ends the backend of a killed run, which goes on without its client, and waits until it is gone. The caller holds
 * the job's lock, so that no living run can be meant; the time at which the backend began tells it from a later one
 * with the same number.
 * @throws PgkeepError `timeout` when it does not end, `insufficient-privilege` when it may not be ended
 */
export async function endOrphan(session: Session, clock: Clock, record: RebuildRecord): Promise<boolean> {
  const isAlive = async (end: boolean) => {
    const rows = await session.query<{ pid: number }>(
      `select pid, ${end ? "pg_terminate_backend(pid)" : "true"} from pg_stat_activity
        where pid = $1 and backend_start = $2::timestamptz and pid <> pg_backend_pid()`,
      [record.backendPid, record.backendStartedAt],
    );
    return rows.length > 0;
  };
  if (!(await isAlive(true))) return false;
  const begin = performance.now();
  while (await isAlive(false)) {
    if (performance.now() - begin > endingMilliseconds) {
      throw new PgkeepError(
        "timeout",
        `process ${record.backendPid}, which rebuilds ${qualified(record.schema, record.index)} for a run that is dead, does not end`,
        { remedy: `see what it waits for: SELECT * FROM pg_stat_activity WHERE pid = ${record.backendPid}` },
      );
    }
    await clock.sleep(50);
  }
  return true;
}
