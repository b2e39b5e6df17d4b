import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

export interface Positions {
  /** Columns that sequences fill. */
  columns: number;
  /** Of each table of which one was read today: all its columns; null where the position is not known. */
  values: { tableOid: number; number: number; position: string | null }[];
  /** What could not be read, in words. */
  notes: string[];
}

/**
 * Opening a sequence for the first time in a session takes about 30 µs of the server's time, more than all else that
 * is noted of a table. Where there are many, a run reads this many: those with the largest share of their range used
 * (more than the forecasts follow), and the others in turn, day by day; until then they count as last seen.
 */
const sequencesPerRun = { nearTheirEnd: 250, inTurn: 500 };

/**
 * Where the sequences stand that fill columns. Takes a lock on each sequence for as long as its statement runs.
 * `day`: counted from any.
 */
export async function readKeyPositions(
  session: Session,
  { nearTheirEnd, inTurn } = sequencesPerRun,
  day = Math.floor(Date.now() / 86_400_000),
): Promise<Positions> {
  const uses = await session.query<SequenceUse>(usesQuery, [nearTheirEnd, inTurn, day]);
  const columns = uses[0]?.columns ?? 0;
  const today = uses.filter((use) => use.today);
  const chosen = [...new Set(today.map(({ sequenceOid }) => sequenceOid))];
  const { positions, notes } = await readPositions(session, chosen);
  const values = uses.map(({ tableOid, number, sequenceOid, previous, today }) => {
    return { tableOid, number, position: today ? (positions.get(sequenceOid) ?? null) : previous };
  });
  if (today.length < columns) {
    notes.unshift(
      `the sequences of ${today.length} of ${columns} columns were read: those nearest to their end, and some of the others in turn`,
    );
  }
  return { columns, values, notes };
}

/** A column that a sequence fills, of a table of which one is read. */
interface SequenceUse {
  /** Of the whole database. */
  columns: number;
  tableOid: number;
  /** `attnum` */
  number: number;
  sequenceOid: number;
  /** The position noted last, as PostgreSQL writes it. */
  previous: string | null;
  /** Whether the sequence is to be read. */
  today: boolean;
}

/**
 * Serial and identity columns depend so on their sequence; other defaults name it. Its share is of its own range, or of
 * an integer's while it is below that. Those that are read in turn fall into as many groups as it takes, by their hash.
 *
 * Parameters: how many of those nearest to their end, how many in turn, the day.
 */
const usesQuery = `
with used as materialized (
  select d.refobjid as relation, d.refobjsubid as number, d.objid as sequence
    from pg_depend d
   where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0
     and d.deptype in ('a', 'i') and exists (select from pg_sequence s where s.seqrelid = d.objid)
  union
  select f.adrelid, f.adnum, d.refobjid
    from pg_depend d join pg_attrdef f on f.oid = d.objid
   where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
     and exists (select from pg_sequence s where s.seqrelid = d.refobjid)
), turns as (
  select count(*)::int as columns, greatest(1, ceil((count(*) - $1::int) / $2::float8))::int as turns from used
), noted as (
  select u.*, h.key_values[array_position(h.key_columns, u.number::int2)] as previous
    from used u left join pgkeep.history_table h on h.table_oid = u.relation and h.gone_day is null
), ranked as materialized (
  select n.relation, n.number, n.sequence, n.previous, t.columns,
         abs(hashoid(n.sequence)::int8) % t.turns = $3::int % t.turns
         or row_number() over (order by
              abs(n.previous::float8)
              / greatest(1, least(abs(case when s.seqincrement < 0 then s.seqmin else s.seqmax end::float8),
                  case when abs(n.previous::float8) < 2147483648 then 2147483648 else 9223372036854775808 end))
              desc nulls last) <= $1::int as today
    from noted n join pg_sequence s on s.seqrelid = n.sequence cross join turns t
)
select r.columns, r.relation::int8 as "tableOid", r.number::int as number, r.sequence::int8 as "sequenceOid",
       r.previous::text as previous, r.today
  from ranked r
 where r.relation in (select relation from ranked where today)
 order by r.relation, r.number`;

/** Each stays locked until the statement ends: few enough to leave the server's table of locks to others. */
const sequencesPerStatement = 500;

/** A sequence whose lock does not come within this time is left out; ALTER SEQUENCE holds it until its commit. */
const lockTimeout = "200ms";

/** At most this many sequences without a position are named. */
const shownMissing = 10;

/** Reads in small statements of their own, each its own transaction; those of temporary tables not at all. */
async function readPositions(
  session: Session,
  sequences: readonly number[],
): Promise<{ positions: Map<number, string>; notes: string[] }> {
  const positions = new Map<number, string>();
  const unreadable: number[] = [];
  const locked: number[] = [];
  if (sequences.length === 0) return { positions, notes: [] };
  const read = async (oids: readonly number[]): Promise<void> => {
    try {
      const rows = await session.query<{ oid: number; readable: boolean; value: string | null }>(
        `select sequence_oid::int8 as oid, readable, last_value::text as value
           from pgkeep.sequence_positions(array(
             select c.oid from pg_class c where c.oid = any($1::oid[]) and c.relpersistence <> 't'))`,
        [oids],
      );
      for (const { oid, readable, value } of rows) {
        if (value !== null) positions.set(oid, value);
        if (!readable) unreadable.push(oid);
      }
    } catch (error) {
      // Locked by somebody, dropped meanwhile, or unreadable: the others can be read all the same.
      if (!hasSqlState(error, SqlState.lockNotAvailable, SqlState.undefinedTable, internalError)) throw error;
      const [first] = oids;
      if (first === undefined) return;
      if (oids.length > 1) {
        const half = Math.ceil(oids.length / 2);
        await read(oids.slice(0, half));
        await read(oids.slice(half));
      } else if (hasSqlState(error, SqlState.lockNotAvailable)) locked.push(first);
    }
  };
  const [before] = await session.query<{ value: string }>("select current_setting('lock_timeout') as value");
  await session.query("select set_config('lock_timeout', $1, false)", [lockTimeout]);
  try {
    for (let at = 0; at < sequences.length; at += sequencesPerStatement) {
      await read(sequences.slice(at, at + sequencesPerStatement));
    }
  } finally {
    await session
      .query("select set_config('lock_timeout', $1, false)", [before?.value ?? "0"])
      .catch(() => {});
  }
  return { positions, notes: await describeMissing(session, unreadable, locked) };
}

async function describeMissing(
  session: Session,
  unreadable: readonly number[],
  locked: readonly number[],
): Promise<string[]> {
  const missing = [
    ...unreadable.map((oid) => ({ oid, why: ": the owner of schema pgkeep may not read it" })),
    ...locked.map((oid) => ({ oid, why: " was locked by somebody else" })),
  ];
  if (missing.length === 0) return [];
  const shown = missing.slice(0, shownMissing);
  const rows = await session.query<{ oid: number; name: string }>(
    `select c.oid::int8 as oid, n.nspname::text || '.' || c.relname::text as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any($1::oid[])`,
    [shown.map(({ oid }) => oid)],
  );
  const names = new Map(rows.map(({ oid, name }) => [oid, name]));
  const notes = shown.map(
    ({ oid, why }) => `sequence ${JSON.stringify(names.get(oid) ?? String(oid))}${why}`,
  );
  const more = missing.length - shown.length;
  return more > 0 ? [...notes, `and ${more} more sequences could not be read`] : notes;
}

/** "could not open relation with OID …": dropped after the statement had found it. */
const internalError = "XX000";
