import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import { boundedTransaction } from "./bounded-transaction.ts";
import type { ParentFacts } from "./facts.ts";
import type { Missing } from "./ranges.ts";
import type { Statement } from "./report.ts";
import type { Template } from "./template.ts";

/** One partition to make. */
export interface NewPartition {
  name: string;
  missing: Missing;
  /** Rows of its range that the default partition had when it was looked at. */
  strayRows: number;
}

/** A row that falls into the range came into the default partition meanwhile. */
export const checkViolation = "23514";

const ownLock = "none but on itself: nobody knows it yet";
const attachLock =
  "SHARE UPDATE EXCLUSIVE on the table: reads and writes go on; nothing is scanned, because it is empty";

/**
 * What makes a partition, in this order and in one transaction, so that a run that is killed leaves nothing.
 *
 * Without a default partition, ATTACH stops nobody. With one it is another matter, for two reasons. ATTACH locks the
 * default partition and reads it whole. And a client that has looked at the list of partitions already, and then
 * waits for the default partition, goes on with the list of before: its INSERT fails because the default partition
 * may not take the row any more, and its SELECT or UPDATE misses rows that have moved to a partition it does not
 * know. So the table itself is locked first, for less than the lock timeout in all: whoever comes waits there,
 * before looking at the list, and then sees the new one. For the same reason rows are never moved before they are
 * attached: in a table that is not a partition yet nobody would see them.
 */
export function creationStatements(
  facts: ParentFacts,
  template: Template,
  partition: NewPartition,
  columns: readonly string[],
  triggers: readonly { name: string; enabled: string }[],
): { prepare: Statement[]; locks: Statement[]; work: Statement[] } {
  const name = qualified(template.schema, partition.name);
  const { from, to } = partition.missing;
  const withDefault = facts.defaultPartition;
  const range = `[${from}, ${to})`;
  const prepare: Statement[] = [
    {
      sql: `CREATE ${template.unlogged ? "UNLOGGED " : ""}TABLE ${name} (LIKE ${facts.name} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES)${template.clauses}`,
      lock: "ACCESS SHARE on the table: reads and writes go on",
      why: `no partition has ${range}`,
    },
    ...template.before(name).map(({ sql, why }) => ({ sql, lock: ownLock, why })),
  ];
  const locks: Statement[] = [];
  if (withDefault !== undefined) {
    locks.push(
      {
        sql: `LOCK TABLE ONLY ${facts.name} IN ACCESS EXCLUSIVE MODE`,
        lock: "ACCESS EXCLUSIVE: everybody waits, for less than the lock timeout",
        why: "whoever looks at the list of partitions before the new one is attached must not wait in the middle",
      },
      {
        sql: `LOCK TABLE ONLY ${withDefault.name} IN ACCESS EXCLUSIVE MODE`,
        lock: "ACCESS EXCLUSIVE on the default partition",
        why: "ATTACH reads it, to see that it has no row of the new partition",
      },
    );
  }
  for (const table of facts.refersTo) {
    locks.push({
      sql: `LOCK TABLE ONLY ${table} IN SHARE ROW EXCLUSIVE MODE`,
      lock: "SHARE ROW EXCLUSIVE: writes to that table wait, reads go on",
      why: "the foreign key of the new partition puts a trigger there",
    });
  }
  const work: Statement[] = [];
  if (withDefault !== undefined && partition.strayRows > 0) {
    work.push(...movingStatements(facts, withDefault.name, name, partition, columns, triggers));
  }
  work.push({
    sql: `ALTER TABLE ${facts.name} ATTACH PARTITION ${name} FOR VALUES FROM (${literal(from).trim()}) TO (${literal(to).trim()})`,
    lock:
      withDefault === undefined
        ? attachLock
        : "SHARE UPDATE EXCLUSIVE on the table, ACCESS EXCLUSIVE on the default partition, which is read",
    why: `rows of ${range} go there`,
  });
  return { prepare, locks, work };
}

/**
 * Triggers of the default partition would report rows as deleted that are not. Those of the application are switched
 * off, within the transaction, and get back the state they had.
 */
function movingStatements(
  facts: ParentFacts,
  from: string,
  to: string,
  { missing, strayRows }: NewPartition,
  columns: readonly string[],
  triggers: readonly { name: string; enabled: string }[],
): Statement[] {
  const lock = "the locks taken before";
  const list = columns.map(identifier).join(", ");
  const key = identifier(facts.key);
  const active = triggers.filter(({ enabled }) => enabled !== "D");
  const again: Record<string, string> = { O: "ENABLE", R: "ENABLE REPLICA", A: "ENABLE ALWAYS" };
  return [
    ...active.map(({ name }) => ({
      sql: `ALTER TABLE ONLY ${from} DISABLE TRIGGER ${identifier(name)}`,
      lock,
      why: "rows that move are not deleted",
    })),
    {
      sql: `WITH moved AS (DELETE FROM ONLY ${from} WHERE ${key} >= ${literal(missing.from).trim()} AND ${key} < ${literal(missing.to).trim()} RETURNING ${list}) INSERT INTO ${to} (${list}) SELECT ${list} FROM moved`,
      lock,
      why: `about ${strayRows} rows of it are in the default partition`,
    },
    ...active.map(({ name, enabled }) => ({
      sql: `ALTER TABLE ONLY ${from} ${again[enabled] ?? "ENABLE"} TRIGGER ${identifier(name)}`,
      lock,
      why: "the trigger's state of before",
    })),
  ];
}

/** Columns that can be inserted into, and the default partition's own triggers, the parent's clones included. */
export async function readDefaultDetails(
  session: Session,
  facts: ParentFacts,
): Promise<{ columns: string[]; triggers: { name: string; enabled: string }[] }> {
  const oid = facts.defaultPartition?.oid;
  if (oid === undefined) return { columns: [], triggers: [] };
  const columns = await session.query<{ name: string }>(
    `select attname::text as name from pg_attribute
      where attrelid = $1 and attnum > 0 and not attisdropped and attgenerated = '' order by attnum`,
    [oid],
  );
  const triggers = await session.query<{ name: string; enabled: string }>(
    // Clones of the parent's triggers were internal before 15.
    `select tgname::text as name, tgenabled::text as enabled from pg_trigger t
      where tgrelid = $1 and not exists (select from pg_constraint k where k.oid = t.tgconstraint and k.contype = 'f')
        and (not tgisinternal or tgparentid <> 0)
      order by tgname`,
    [oid],
  );
  return { columns: columns.map(({ name }) => name), triggers };
}

/**
 * Makes and attaches it, with the rows of the default partition that belong there.
 * @returns how many rows were moved
 */
export async function createPartition(
  session: Session,
  facts: ParentFacts,
  template: Template,
  partition: NewPartition,
  limitMilliseconds: number,
): Promise<number> {
  const name = qualified(template.schema, partition.name);
  const { columns, triggers } = await readDefaultDetails(session, facts);
  const { prepare, locks, work } = creationStatements(facts, template, partition, columns, triggers);
  return boundedTransaction(session, { owner: facts.actAs, limitMilliseconds }, async (execute, begun) => {
    let isFirst = true;
    for (const [n, { sql }] of prepare.entries()) {
      await execute(sql);
      if (n === 0) await dropDefaultPrivileges(execute, name);
    }
    for (const { sql } of locks) {
      await execute(sql);
      if (isFirst) await begun();
      isFirst = false;
    }
    for (const { sql } of work) await execute(sql);
    for (const { sql, question, values } of template.after) {
      if (question === undefined) await execute(sql(name));
      else {
        const answer = await execute(question, [name, ...(values ?? [])]);
        const statement = answer[0]?.sql;
        if (typeof statement === "string") await execute(statement);
      }
    }
    if (partition.strayRows === 0) return 0;
    const rows = await execute(`select count(*)::int8 as moved from only ${name}`);
    return Number(rows[0]?.moved);
  });
}

/** Default privileges may have given more than the siblings have. */
async function dropDefaultPrivileges(
  execute: (sql: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>,
  name: string,
): Promise<void> {
  const rows = await execute(
    `select distinct pg_get_userbyid(nullif(a.grantee, 0))::text as grantee
       from pg_class c cross join lateral aclexplode(c.relacl) a
      where c.oid = to_regclass($1::text) and a.grantee <> c.relowner`,
    [name],
  );
  for (const { grantee } of rows) {
    await execute(
      `REVOKE ALL ON TABLE ${name} FROM ${typeof grantee === "string" ? identifier(grantee) : "PUBLIC"}`,
    );
  }
}

/** Whether a row came into the default partition between the look at it and the lock. */
export const isNewStray = (error: unknown) => hasSqlState(error, checkViolation);
