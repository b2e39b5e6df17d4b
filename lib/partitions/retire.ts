import type { Session } from "../ports/databases.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import { boundedTransaction } from "./bounded-transaction.ts";
import { calendarOf } from "./calendar.ts";
import type { Declared, ParentFacts, Partition } from "./facts.ts";
import { type Marked, markStatement, readComment, unmarkStatement } from "./marks.ts";
import { cut } from "./names.ts";
import type { Retired, Statement } from "./report.ts";

export interface Retirement {
  facts: ParentFacts;
  declared: Declared;
  cutoff: string;
  limitMilliseconds: number;
}

/**
 * CONCURRENTLY locks nobody out, but the server has it not beside a default partition; and where foreign keys refer
 * to the table it would keep writers of those tables out for as long as it looks for rows that refer to the
 * partition, which only a transaction can be stopped from.
 */
export function isConcurrent(facts: ParentFacts): boolean {
  return facts.defaultPartition === undefined && facts.referencedBy.length === 0;
}

const concurrentLock =
  "SHARE UPDATE EXCLUSIVE on the table, ACCESS EXCLUSIVE on the partition at the end: reads and writes of the table go on; it waits for transactions that use the table";
const partitionLock = "ACCESS EXCLUSIVE on what was the partition";

/** What retires a partition, as a dry run shows it. */
export function retirementStatements(
  { facts, declared, cutoff }: Retirement,
  partition: Partition,
): Statement[] {
  const why = `it ends at ${partition.to}, and what ends by ${cutoff} is not kept`;
  const detach: Statement = partition.isDetachPending
    ? {
        sql: `ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name} FINALIZE`,
        lock: concurrentLock,
        why: "a DETACH CONCURRENTLY was interrupted",
      }
    : isConcurrent(facts)
      ? {
          sql: `ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name} CONCURRENTLY`,
          lock: concurrentLock,
          why,
        }
      : {
          sql: `ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name}`,
          lock: "ACCESS EXCLUSIVE on the table, for less than the lock timeout",
          why: `${why}; ${facts.defaultPartition === undefined ? "where foreign keys refer to the table" : "beside a default partition"} it goes only this way`,
        };
  return [detach, ...endingStatements(declared, partition)];
}

function endingStatements(declared: Declared, { name }: { name: string }): Statement[] {
  switch (declared.expired) {
    case "detach":
      return [];
    case "archive":
      return [
        {
          sql: `ALTER TABLE ${name} SET SCHEMA ${identifier(declared.archiveSchema)}`,
          lock: partitionLock,
          why: "expired: archive",
        },
      ];
    case "drop":
      return [{ sql: `DROP TABLE ${name}`, lock: partitionLock, why: "expired: drop" }];
  }
}

/** Detaches it and does with it what was declared. @throws DatabaseError when something is in the way */
export async function retire(
  session: Session,
  retirement: Retirement,
  partition: Partition,
): Promise<Retired> {
  const { facts, limitMilliseconds } = retirement;
  if (!isConcurrent(facts) && !partition.isDetachPending) {
    return boundedTransaction(session, { owner: facts.actAs, limitMilliseconds }, async (execute, begun) => {
      await execute(`LOCK TABLE ONLY ${facts.name} IN ACCESS EXCLUSIVE MODE`);
      await begun();
      await execute(`ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name}`);
      return end(execute, retirement, partition);
    });
  }
  const mark = {
    parent: facts.oid,
    table: partition.oid,
    to: partition.to ?? "",
    comment: await readComment(session, partition.oid),
  };
  await asOwner(session, facts, async () => {
    await session.query(markStatement(partition.name, mark));
    await detachConcurrently(session, facts, partition);
  });
  return finish(session, retirement, { ...partition, mark, isAttached: false });
}

/** Ends what a run has detached: drops it, archives it, or only gives it back its comment. */
export async function finish(session: Session, retirement: Retirement, marked: Marked): Promise<Retired> {
  const { facts, declared, cutoff, limitMilliseconds } = retirement;
  return boundedTransaction(session, { owner: facts.actAs, limitMilliseconds }, async (execute, begun) => {
    await execute(`LOCK TABLE ONLY ${marked.name} IN ACCESS EXCLUSIVE MODE`);
    await begun();
    await execute(unmarkStatement(marked.name, marked.mark));
    const { keyType } = calendarOf(facts, declared);
    // The retention may have been made longer since, and anybody may have written there.
    const young = await execute(
      `select ${literal(marked.mark.to).trim()}::${keyType} > ${literal(cutoff).trim()}::${keyType}
              or exists (select from only ${marked.name} where ${identifier(facts.key)} >= ${literal(cutoff).trim()}::${keyType}) as young`,
    );
    if (young[0]?.young === true)
      return { table: facts.name, partition: marked.name, outcome: "detached", now: marked.name };
    return end(execute, retirement, marked);
  });
}

/** An interrupted one is finished first: until then the server begins no other. */
export async function detachConcurrently(
  session: Session,
  facts: ParentFacts,
  partition: Pick<Partition, "name" | "isDetachPending">,
): Promise<void> {
  await session.query(
    `ALTER TABLE ${facts.name} DETACH PARTITION ${partition.name} ${partition.isDetachPending ? "FINALIZE" : "CONCURRENTLY"}`,
  );
}

/** Statements that go outside a transaction, with the owner's rights. */
export async function asOwner<T>(session: Session, facts: ParentFacts, body: () => Promise<T>): Promise<T> {
  if (facts.actAs === undefined) return body();
  await session.query(`set role ${identifier(facts.actAs)}`);
  try {
    return await body();
  } finally {
    await session.query("reset role").catch(() => {});
  }
}

async function end(
  execute: (sql: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>,
  { facts, declared }: Retirement,
  partition: { schema: string; table: string; name: string },
): Promise<Retired> {
  const shared = { table: facts.name, partition: partition.name };
  switch (declared.expired) {
    case "detach":
      return { ...shared, outcome: "detached", now: partition.name };
    case "drop":
      await execute(`DROP TABLE ${partition.name}`);
      return { ...shared, outcome: "dropped", now: null };
    case "archive": {
      let { table } = partition;
      const taken = await execute("select to_regclass($1) is not null as taken", [
        qualified(declared.archiveSchema, table),
      ]);
      if (taken[0]?.taken === true) {
        const oid = await execute("select to_regclass($1)::oid::int8 as oid", [partition.name]);
        table = `${cut(table, 40)}_${oid[0]?.oid}`;
        await execute(`ALTER TABLE ${partition.name} RENAME TO ${identifier(table)}`);
      }
      await execute(
        `ALTER TABLE ${qualified(partition.schema, table)} SET SCHEMA ${identifier(declared.archiveSchema)}`,
      );
      return { ...shared, outcome: "archived", now: qualified(declared.archiveSchema, table) };
    }
  }
}
