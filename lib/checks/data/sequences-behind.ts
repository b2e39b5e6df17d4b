import type { KeyColumn } from "../../history/keys.ts";
import { DatabaseError, hasSqlState } from "../../postgres/errors.ts";
import { identifier, literal, qualified } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { readTables, type Tables } from "../indexes/tables.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { readUserKeys } from "../types/user-keys.ts";

/** Keys that one statement looks up: each takes ACCESS SHARE on its table and its sequence. */
const atOnce = 200;
/** Opening tables and sequences takes time: the largest tables come first, check-integrity looks at all of them. */
const mostKeys = 2_500;
/** The next insert fails; those of some time from now; further away a large number is one that was chosen (99999999 for "none"). */
const soon = 10_000;
const far = 1_000_000;

interface Position {
  tableOid: number;
  number: number;
  lastValue: number;
  isCalled: boolean;
  nextValue: number;
  /** The first existing value that the sequence will reach; null when it is ahead of all. */
  nextTaken: string | null;
  distance: number | null;
}

type Key = KeyColumn & { sequenceSchema: string; sequenceName: string; isUnique: boolean };

/** Sequences whose next numbers exist already: after a restore of rows without them, or inserts with numbers of their own. */
export const sequencesBehind: ReviewCheck = {
  name: "sequences-behind",
  title: "Will sequences give out numbers that exist already?",
  area: "integrity",
  async run(context) {
    const { session } = context;
    const { lookable, unseen } = await readLookable(context);
    const positions: Position[] = [];
    const hasTime = proofTime(context);
    let behindLocks = 0;
    const { batches, left } = batched(lookable, await readTables(context));
    let notLookedAt = left;
    const queue = batches;
    for (let keys = queue.shift(); keys !== undefined; keys = queue.shift()) {
      context.signal.throwIfAborted();
      if (!hasTime()) {
        notLookedAt += keys.length;
        continue;
      }
      try {
        positions.push(...(await session.query<Position>(keys.map(lookUp).join("\nunion all\n"))));
      } catch (error) {
        if (!(error instanceof DatabaseError) || error.code === "unreachable") throw error;
        // One table that is locked, dropped or hidden must not hide the others.
        if (keys.length > 1) {
          const half = Math.ceil(keys.length / 2);
          queue.unshift(keys.slice(0, half), keys.slice(half));
        } else if (!hasSqlState(error, SqlState.undefinedTable, SqlState.undefinedColumn)) behindLocks += 1;
      }
    }
    const byKey = new Map(lookable.map((key) => [`${key.tableOid}/${key.number}`, key]));
    const findings = positions.flatMap((position) => {
      const key = byKey.get(`${position.tableOid}/${position.number}`);
      return key === undefined ? [] : finding(key, position);
    });
    return concludeReview({
      findings: findings.sort((a, b) => a.key.localeCompare(b.key, "en")),
      facts: {
        sequences: positions.length,
        withoutIndex: unseen.withoutIndex,
        notLookedAt,
        locked: behindLocks,
      },
      good: positions.length === 0 ? [] : ["Every sequence is ahead of the numbers that its column has."],
      obstacle: obstacleOf(context, { ...unseen, notLookedAt, behindLocks }),
    });
  },
};

/** A partitioned table counts as its partitions: all of them are locked with it, and the server's lock table is small. */
function batched(keys: readonly Key[], tables: Tables): { batches: Key[][]; left: number } {
  const rowsOf = ({ tableOid }: Key) => tables.byOid.get(tableOid)?.rows ?? 0;
  const weightOf = ({ tableOid }: Key) => {
    const table = tables.byOid.get(tableOid);
    return table === undefined ? 1 : Math.max(1, tables.leavesOf(table).length);
  };
  const batches: Key[][] = [];
  let weight = atOnce;
  let total = 0;
  let left = 0;
  for (const key of keys.toSorted((a, b) => rowsOf(b) - rowsOf(a))) {
    const own = weightOf(key);
    if (own > atOnce || total + own > mostKeys) {
      left += 1;
      continue;
    }
    if (weight + own > atOnce) {
      batches.push([]);
      weight = 0;
    }
    batches.at(-1)?.push(key);
    weight += own;
    total += own;
  }
  return { batches, left };
}

/** Keys that can be looked up by an index, at the price of a few pages each. */
async function readLookable(context: ReviewContext): Promise<{
  lookable: Key[];
  unseen: { withoutIndex: number; hidden: number; underRowSecurity: number };
}> {
  const keys = (await readUserKeys(context)).filter(({ cycles }) => !cycles);
  const rows = await context.session.query<{
    sequenceSchema: string;
    sequenceName: string;
    isUnique: boolean | null;
    readable: boolean;
    underRowSecurity: boolean;
    unlogged: boolean;
  }>(
    `select sn.nspname::text as "sequenceSchema", s.relname::text as "sequenceName", i.is_unique as "isUnique",
            has_schema_privilege(n.oid, 'USAGE') and has_column_privilege(c.oid, k.number::int2, 'SELECT')
              and has_schema_privilege(sn.oid, 'USAGE')
              and case when s.relkind = 'S' then has_sequence_privilege(s.oid, 'SELECT') end as readable,
            c.relrowsecurity and row_security_active(c.oid) as "underRowSecurity",
            'u' in (c.relpersistence, s.relpersistence) and pg_is_in_recovery() as unlogged
       from unnest($1::oid[], $2::int[], $3::oid[]) with ordinality as k(relation, number, sequence, position)
       join pg_class c on c.oid = k.relation join pg_namespace n on n.oid = c.relnamespace
       join pg_class s on s.oid = k.sequence join pg_namespace sn on sn.oid = s.relnamespace
       left join (select x.indrelid, x.indkey[0] as number, bool_or(x.indisunique and x.indnkeyatts = 1) as is_unique
                    from pg_index x join pg_class i on i.oid = x.indexrelid join pg_am a on a.oid = i.relam
                   where x.indisvalid and x.indpred is null and x.indkey[0] <> 0 and a.amname = 'btree'
                   group by 1, 2) i on i.indrelid = c.oid and i.number = k.number
      order by k.position`,
    [keys.map((key) => key.tableOid), keys.map((key) => key.number), keys.map((key) => key.sequenceOid)],
  );
  const unseen = { withoutIndex: 0, hidden: 0, underRowSecurity: 0 };
  const lookable: Key[] = [];
  const counted = rows.length === keys.length ? rows : [];
  for (const [position, row] of counted.entries()) {
    const key = keys[position];
    if (key === undefined || row.unlogged) continue;
    if (!row.readable) unseen.hidden += 1;
    else if (row.underRowSecurity) unseen.underRowSecurity += 1;
    // Without an index its greatest number is found by reading the table.
    else if (row.isUnique === null) unseen.withoutIndex += 1;
    else lookable.push({ ...key, ...row, isUnique: row.isUnique });
  }
  if (rows.length !== keys.length) unseen.hidden += keys.length;
  return { lookable, unseen };
}

/** The sequence is read after the snapshot was taken, so that numbers given out meanwhile count as given out. */
function lookUp(key: Key): string {
  const column = identifier(key.column);
  const table = qualified(key.schema, key.table);
  const down = key.increment < 0;
  const next = `least(greatest(s.last_value::numeric + case when s.is_called then ${key.increment} else 0 end, -9223372036854775808), 9223372036854775807)::int8`;
  return `(select ${key.tableOid}::int8 as "tableOid", ${key.number}::int as number, s.last_value::float8 as "lastValue",
       s.is_called as "isCalled", n.next::float8 as "nextValue", t.taken::text as "nextTaken",
       abs(t.taken::numeric - n.next)::float8 as distance
  from ${qualified(key.sequenceSchema, key.sequenceName)} s
  cross join lateral (select ${next} as next) n
  left join lateral (select x.${column}::int8 as taken from ${table} x
                      where x.${column} ${down ? "<=" : ">="} n.next order by x.${column} ${down ? "desc" : ""} limit 1) t on true)`;
}

function severityOf(key: Key, distance: number): Severity {
  if (!key.isUnique) return distance === 0 ? "medium" : "low";
  return distance === 0 ? "high" : distance <= soon ? "medium" : "low";
}

function finding(key: Key, position: Position): ReviewFinding[] {
  const { nextTaken, distance } = position;
  if (nextTaken === null || distance === null || distance > far) return [];
  const table = qualified(key.schema, key.table);
  const now = distance === 0;
  const sequence = literal(qualified(key.sequenceSchema, key.sequenceName)).trim();
  const edge = key.increment > 0 ? "max" : "min";
  const up = `SELECT setval(${sequence}, (SELECT ${edge}(${identifier(key.column)}) FROM ${table}));`;
  const down = `SELECT setval(${sequence}, ${position.lastValue}, ${position.isCalled});`;
  return [
    {
      check: "sequences-behind",
      key: `sequences-behind/${key.schema}.${key.table}.${key.column}`,
      severity: severityOf(key, distance),
      confidence: now ? "certain" : "likely",
      object: {
        schema: key.schema,
        table: key.table,
        column: key.column,
        name: qualified(key.sequenceSchema, key.sequenceName),
      },
      title: now
        ? `the next number of ${qualified(key.sequenceSchema, key.sequenceName)} exists in ${table}.${identifier(key.column)} already`
        : `in ${countText(distance, "number")}, ${qualified(key.sequenceSchema, key.sequenceName)} comes to one that ${table}.${identifier(key.column)} has`,
      evidence: {
        nextValue: position.nextValue,
        firstTaken: Number(nextTaken),
        numbersUntilThen: distance,
        unique: key.isUnique,
      },
      impact: key.isUnique
        ? `${now ? "The next insert" : "An insert then"} that draws from it fails with a duplicate key, and so does each until the taken numbers are passed.`
        : "Two rows get the same number, and nothing notices.",
      blastRadius: `inserts into ${table}`,
      rootCause:
        "Rows came with numbers of their own: restored, replicated or copied without their sequence, or inserted with an explicit key.",
      prevention:
        "Set sequences after each load of rows (setval); GENERATED ALWAYS keeps explicit numbers out.",
      effort: "minutes",
      remediation: { sql: up, lock: "ROW EXCLUSIVE on the sequence", rollback: down },
      fix: {
        up: [up],
        down: [down],
        proof: [`next value ${position.nextValue}, and the column has ${nextTaken}`],
      },
    },
  ];
}

function obstacleOf(
  { session }: ReviewContext,
  unseen: {
    hidden: number;
    underRowSecurity: number;
    withoutIndex: number;
    notLookedAt: number;
    behindLocks: number;
  },
): string | undefined {
  const parts: string[] = [];
  if (unseen.hidden > 0) {
    parts.push(
      `${countText(unseen.hidden, "key or its sequence is", "keys or their sequences are")} hidden from ${session.user}: GRANT pg_read_all_data TO ${identifier(session.user)};`,
    );
  }
  if (unseen.underRowSecurity > 0) {
    parts.push(
      `row security hides rows of ${countText(unseen.underRowSecurity, "table")}: ask as a role with BYPASSRLS`,
    );
  }
  if (unseen.behindLocks > 0) {
    parts.push(`${countText(unseen.behindLocks, "table")} could not be read at once: ask again`);
  }
  if (unseen.notLookedAt > 0) {
    parts.push(
      `${countText(unseen.notLookedAt, "key")} of smaller tables, or of very many partitions, left out for want of time: pgkeep run check-integrity looks at all`,
    );
  }
  // Every insert is logged with numbers ahead, which a standby shows as if they were used.
  if (session.isStandby) parts.push("a standby shows sequences up to 32 numbers ahead: ask the primary");
  return parts.length === 0 ? undefined : parts.join("; ");
}
