import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { DatabaseError } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import type { Abilities, Way } from "./abilities.ts";
import type { ConstraintItem, EnumItem, Item, ReferenceItem } from "./items.ts";

/** Damage of a table or an index, as the server words it. */
export interface Damage {
  message: string;
  block: number | null;
  item: number | null;
}

/** Rows that are not as they should be. */
export interface Violations {
  violations: number;
  /** Rows that were compared; null where only violations are counted. */
  referring: number | null;
  /** Primary keys of some of them. */
  keys: Json[];
  /** Of the constraint that they violate. */
  definition: string | null;
}

export interface SequenceBehind {
  tableSchema: string;
  table: string;
  column: string;
  nextValue: number;
  lastValue: number;
  isCalled: boolean;
  /** As text: it may be larger than a number here can be. */
  extreme: string;
  ascending: boolean;
}

/** Why a look gave no answer. */
export type Failure =
  /** Another run may have more luck. */
  | { kind: "later"; because: string }
  | { kind: "refused"; because: string }
  | { kind: "gone" }
  /** `statement_timeout`, the deadline, or someone for whom it was cancelled. */
  | { kind: "cut" }
  /** The server met a broken page. */
  | { kind: "damage"; message: string };

/** Rows whose keys are named. */
const sample = 5;

const damaged: readonly string[] = [SqlState.dataCorrupted, SqlState.indexCorrupted, "58030", "58P01"];
const gone: readonly string[] = [SqlState.undefinedTable, SqlState.undefinedObject, "42809"];

/** @throws whatever is no answer of the server: a lost connection, an aborted signal */
export function failureOf(error: unknown, way?: Way): Failure {
  if (!(error instanceof DatabaseError) || error.code === "unreachable") throw error;
  const message = serverMessage(error);
  const { sqlState } = error;
  if (sqlState === SqlState.queryCanceled) return { kind: "cut" };
  if (sqlState === SqlState.lockNotAvailable) {
    return { kind: "later", because: "somebody holds a lock on it, or waits for one" };
  }
  if (sqlState === SqlState.serializationFailure || sqlState === SqlState.deadlockDetected) {
    return { kind: "later", because: message };
  }
  if (damaged.includes(sqlState)) return { kind: "damage", message };
  // amcheck's own functions report some damage so; pgkeep's turn that into rows.
  if (way?.by === "amcheck" && sqlState === "XX000") return { kind: "damage", message };
  if (gone.includes(sqlState)) return { kind: "gone" };
  return { kind: "refused", because: message };
}

function serverMessage(error: DatabaseError): string {
  return error.cause instanceof Error ? error.cause.message : error.message;
}

/** Pages of the table now. Waits for a lock no longer than the session's `lock_timeout`. */
export async function readPages(session: Session, oid: number): Promise<number> {
  const [row] = await session.query<{ pages: number }>(
    "select coalesce(pg_relation_size($1::oid::regclass) / current_setting('block_size')::bigint, 0)::bigint as pages",
    [oid],
  );
  return row?.pages ?? 0;
}

/** Damage in these blocks of a table. */
export async function askTable(
  session: Session,
  way: Way,
  oid: number,
  first: number,
  last: number,
): Promise<Damage[]> {
  if (way.by === "pgkeep") {
    return session.query<Damage>(
      "select block, item, problem as message from pgkeep.check_heap_blocks($1::oid, $2, $3) limit 100",
      [oid, first, last],
    );
  }
  if (way.by === "nothing") throw new TypeError("there is no way to look at tables");
  return session.query<Damage>(
    `select v.blkno as block, v.offnum::int as item, v.msg as message
       from ${way.schema}.verify_heapam(relation => $1::oid::regclass, check_toast => true, startblock => $2, endblock => $3) v
      limit 100`,
    [oid, first, last],
  );
}

/** Damage of an index, and entries that its table has and it has not. Null when it is sound. */
export async function askIndex(
  session: Session,
  way: Way,
  oid: number,
  method: string,
): Promise<string | null> {
  if (way.by === "pgkeep") {
    const [row] = await session.query<{ problem: string | null }>(
      "select pgkeep.check_index($1::oid) as problem",
      [oid],
    );
    return row?.problem ?? null;
  }
  if (way.by === "nothing") throw new TypeError("there is no way to look at indexes");
  const call =
    method === "gin"
      ? "gin_index_check($1::oid)"
      : `bt_index_check($1::oid, true${way.checksUnique ? ", true" : ""})`;
  await session.query(`select ${way.schema}.${call}`, [oid]);
  return null;
}

/** The way to look at this item. */
export function wayOf(abilities: Abilities, item: Item): Way {
  return item.kind === "index" && item.stored.method === "gin" ? abilities.gin : abilities.ways[item.kind];
}

export async function askRows(
  session: Session,
  item: ConstraintItem | ReferenceItem | EnumItem,
): Promise<Violations> {
  const [sql, values] =
    item.kind === "reference"
      ? [
          "referring, violations, keys, null as definition from pgkeep.reference_orphans($1::oid, $2::int2, $3::oid, $4)",
          [item.oid, item.columnNumber, item.parent, sample],
        ]
      : item.kind === "enum-like"
        ? [
            "referring, violations, keys, null as definition from pgkeep.values_outside_enum($1::oid, $2::int2, $3::oid, $4)",
            [item.oid, item.columnNumber, item.enumOid, sample],
          ]
        : [
            `null as referring, violations, keys, case when violations > 0 then pg_get_constraintdef($1::oid) end as definition
               from pgkeep.constraint_violations($1::oid, $2)`,
            [item.oid, sample],
          ];
  const [row] = await session.query<Violations>(`select ${sql}`, values as unknown[]);
  return row ?? { violations: 0, referring: null, keys: [], definition: null };
}

/** Columns that have passed the next number of the sequence. */
export function askSequence(session: Session, oid: number): Promise<SequenceBehind[]> {
  return session.query<SequenceBehind>(
    `select n.nspname::text as "tableSchema", c.relname::text as "table", s.column_name as "column",
            s.next_value as "nextValue", s.last_value as "lastValue", s.is_called as "isCalled",
            s.column_extreme::text as extreme, q.seqincrement > 0 as ascending
       from pgkeep.sequence_state($1::oid) s
       join pg_class c on c.oid = s.table_oid join pg_namespace n on n.oid = c.relnamespace
       join pg_sequence q on q.seqrelid = $1::oid
      where s.ahead = false`,
    [oid],
  );
}
