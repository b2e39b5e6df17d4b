import type { Session } from "../ports/databases.ts";
import { identifier } from "../postgres/identifiers.ts";
import { type Calendar, calendarOf } from "./calendar.ts";
import type { Declared, ParentFacts, Partition } from "./facts.ts";

/** A range without a partition that should have one. */
export interface Missing {
  /** As text of the key's type. */
  from: string;
  to: string;
  suffix: string;
  /** The interval it belongs to, as text: rows in the default partition are counted by it. */
  start: string;
  /** `now`: the present lies in it. */
  place: "past" | "now" | "ahead";
  /** Only wanted when gaps are to be filled, or because the default partition has rows of it. */
  isGap: boolean;
  /** It is only a part of an interval, because other partitions have the rest. */
  isPartial: boolean;
}

/** Rows of one interval in the default partition. */
export interface Stray {
  start: string;
  rows: number;
  /** `expired`: before what is kept; `beyond`: after what is made ahead. */
  place: "expired" | "wanted" | "beyond";
}

export interface DefaultContent {
  strays: Stray[];
  /** NULL and infinite: no partition can take them. */
  homeless: number;
}

/** Where the table stands. */
export interface Standing {
  /** The begin of the current interval, as text; null for ids while there are none. */
  current: string | null;
  /** Partitions that end at or before this are expired; null: all are kept. */
  cutoff: string | null;
}

/** At most so many intervals of the past are looked through. */
const furthestBack = 2_000;

const bounds = (partitions: readonly Partition[]) =>
  [partitions.map(({ from }) => from), partitions.map(({ to }) => to)] as const;

/** The partitions' ranges, as a table `existing (r)`. */
function existing(calendar: Calendar): string {
  return `existing as (
    select ${calendar.rangeType}(b.lower::${calendar.keyType}, b.upper::${calendar.keyType}) as r
      from unnest($1::text[], $2::text[]) as b(lower, upper))`;
}

/**
 * The current interval: by the server's clock, and for ids by the greatest that there is. For retention only the
 * partitions count there, because one wrong id in the default partition must not make everything else look old.
 */
export async function readStanding(
  session: Session,
  facts: ParentFacts,
  declared: Declared,
): Promise<Standing> {
  const calendar = calendarOf(facts, declared);
  let now = calendar.now;
  let forRetention = now;
  if (now === undefined) {
    const inPartitions = await greatestId(session, facts);
    const inDefault = await greatestIdInDefault(session, facts, declared);
    if (inPartitions === null && inDefault === null) return { current: "0", cutoff: null };
    now = `${Math.max(inPartitions ?? 0, inDefault ?? 0)}::int8`;
    forRetention = `${inPartitions ?? 0}::int8`;
  }
  const rows = await session.query<Standing>(
    `select ${calendar.floor(now)}::text as current,
            ${declared.keep === undefined ? "null" : `${calendar.toKey(calendar.plus(calendar.floor(forRetention ?? now), String(-declared.keep)))}::text`} as cutoff`,
  );
  return rows[0] ?? { current: null, cutoff: null };
}

/** From the highest partition that has rows. */
async function greatestId(session: Session, facts: ParentFacts): Promise<number | null> {
  const descending = facts.partitions
    .filter(({ isDetachPending }) => !isDetachPending)
    .sort((a, b) => Number(b.from ?? -Infinity) - Number(a.from ?? -Infinity));
  for (const { name } of descending) {
    const found = await greatestIn(session, name, facts.key);
    if (found !== null) return found;
  }
  return null;
}

async function greatestIdInDefault(
  session: Session,
  facts: ParentFacts,
  declared: Declared,
): Promise<number | null> {
  if (facts.defaultPartition === undefined || typeof declared.interval !== "number") return null;
  const last = Math.max(0, ...facts.partitions.map(({ to }) => Number(to ?? 0)));
  // Further away it is not the next id but a wrong one.
  const furthest = Math.min(last + declared.interval * 1_000, facts.greatest);
  return greatestIn(session, facts.defaultPartition.name, facts.key, furthest);
}

async function greatestIn(session: Session, name: string, key: string, below?: number) {
  const column = identifier(key);
  const rows = await session.query<{ id: number | null }>(
    `select max(${column})::int8 as id from only ${name}${below === undefined ? "" : ` where ${column} < ${below}::int8`}`,
  );
  return rows[0]?.id ?? null;
}

/**
 * The ranges that should have a partition and have none: from the current interval to `premake` ahead, and what was
 * missed since the last partition that ends before now. With `gaps`, everything since the first partition. `strays`
 * are intervals of which the default partition has rows. Parts of an interval that others cover are left out, so
 * what is made never overlaps.
 */
export async function readMissing(
  session: Session,
  facts: ParentFacts,
  declared: Declared,
  standing: Standing,
  wanted: { gaps: boolean; strays: readonly string[] },
): Promise<Missing[]> {
  const calendar = calendarOf(facts, declared);
  const { startType, keyType } = calendar;
  const rows = await session.query<Missing>(
    `with ${existing(calendar)},
     edge as (
       select $3::text::${startType} as current,
              ${calendar.plus(`$3::text::${startType}`, `${declared.premake}`)} as last,
              ${calendar.plus(`$3::text::${startType}`, `-${furthestBack}`)} as furthest,
              ${calendar.toKey(`$3::text::${startType}`)} as now),
     since as (
       select e.*, greatest(e.furthest, least(e.current,
                (select ${calendar.floor("max(upper(r))")} from existing
                  where upper(r) <= e.now and not exists (select from existing x where x.r @> e.now)))) as begin,
              (select ${calendar.floor("min(coalesce(lower(r), upper(r)))")} from existing) as first
         from edge e),
     intervals as (
       select s as start, false as gap from since, ${calendar.series("since.begin", "since.last")} s
       union
       select s, true from since, ${calendar.series("greatest(since.first, since.furthest)", "since.begin")} s
        where $4::bool and since.first < since.begin and s < since.begin
       union
       select x::${startType}, true from unnest($5::text[]) as x, since
        where x::${startType} < since.begin),
     covered as (select coalesce(range_agg(r), '{}') as m from existing),
     pieces as (
       select i.start, bool_and(i.gap) as gap, ${calendar.rangeType}(${calendar.toKey("i.start")},
              ${calendar.toKey(calendar.plus("i.start", "1"))}) as whole
         from intervals i group by i.start)
     select lower(piece)::text as "from", upper(piece)::text as "to", p.start::text as start, p.gap as "isGap",
            piece <> p.whole as "isPartial",
            case when p.start = since.current then 'now' when p.start > since.current then 'ahead' else 'past' end as place,
            case when lower(piece) = lower(p.whole) then ${calendar.suffix("p.start", false)}
                 else ${calendar.suffix(localStart(calendar, facts), true)} end as suffix
       from pieces p cross join since cross join covered
      cross join lateral unnest(${calendar.multirangeType}(p.whole) - covered.m) as piece
      where not isempty(p.whole)
        and ($6::text is null or upper(piece) > $6::text::${keyType})
        ${facts.keyKind === "integer" ? `and upper(piece) <= ${facts.greatest}` : ""}
      order by p.start < since.current, case when p.start < since.current then since.current - p.start end, piece`,
    [...bounds(facts.partitions), standing.current, wanted.gaps, [...wanted.strays], standing.cutoff],
  );
  return rows;
}

function localStart(calendar: Calendar, facts: ParentFacts): string {
  return facts.keyKind === "integer" ? "lower(piece)" : `lower(piece)::${calendar.startType}`;
}

/** Rows in the default partition by interval, the oldest first. Reads it whole: only with a limit on the statement. */
export async function readDefault(
  session: Session,
  facts: ParentFacts,
  declared: Declared,
  standing: Standing,
): Promise<DefaultContent> {
  if (facts.defaultPartition === undefined) return { strays: [], homeless: 0 };
  const calendar = calendarOf(facts, declared);
  const key = identifier(facts.key);
  const { startType, keyType } = calendar;
  const rows = await session.query<{ start: string | null; rows: number; place: Stray["place"] }>(
    `select counted.start::text as start, counted.rows,
            case when $2::text is not null
                  and ${calendar.toKey(calendar.plus("counted.start", "1"))} <= $2::text::${keyType} then 'expired'
                 when counted.start > ${calendar.plus(`$1::text::${startType}`, String(declared.premake))} then 'beyond'
                 else 'wanted' end as place
       from (select case when ${key} is not null and ${calendar.isFinite(key)} then ${calendar.floor(key)} end as start,
                    count(*)::int8 as rows
               from only ${facts.defaultPartition.name} group by 1 order by 1 limit 10000) as counted
      order by counted.start`,
    [standing.current, standing.cutoff],
  );
  return {
    strays: rows.flatMap(({ start, ...row }) => (start === null ? [] : [{ start, ...row }])),
    homeless: rows.find(({ start }) => start === null)?.rows ?? 0,
  };
}

/** Partitions whose whole range lies before what is kept, the oldest first. */
export async function readExpired(
  session: Session,
  facts: ParentFacts,
  declared: Declared,
  standing: Standing,
): Promise<Partition[]> {
  if (standing.cutoff === null) return [];
  const { keyType } = calendarOf(facts, declared);
  const rows = await session.query<{ oid: number }>(
    `select p.oid from unnest($1::int8[], $2::text[]) as p(oid, upper)
      where p.upper::${keyType} <= $3::text::${keyType} order by p.upper::${keyType}`,
    [facts.partitions.map(({ oid }) => oid), facts.partitions.map(({ to }) => to), standing.cutoff],
  );
  return rows.flatMap(({ oid }) => facts.partitions.find((partition) => partition.oid === oid) ?? []);
}

export interface Shape {
  /** Ranges between the first partition and the last of those made ahead that nobody has. */
  gaps: { from: string; to: string }[];
  /** Partitions whose range is not one interval. Overlaps cannot be: the server refuses them. */
  irregular: number[];
}

export async function readShape(session: Session, facts: ParentFacts, declared: Declared): Promise<Shape> {
  const calendar = calendarOf(facts, declared);
  const gaps = await session.query<{ from: string; to: string }>(
    `with ${existing(calendar)},
     whole as (select range_agg(r) as m from existing)
     select lower(gap)::text as "from", upper(gap)::text as "to"
       from whole cross join lateral unnest(${calendar.multirangeType}(range_merge(whole.m)) - whole.m) as gap
      order by gap limit 1000`,
    [...bounds(facts.partitions)],
  );
  const irregular = await session.query<{ oid: number }>(
    `select p.oid from unnest($1::int8[], $2::text[], $3::text[]) as p(oid, lower, upper)
      where p.lower is null or p.upper is null
         or ${calendar.toKey(calendar.floor(`p.lower::${calendar.keyType}`))} <> p.lower::${calendar.keyType}
         or ${calendar.toKey(calendar.plus(calendar.floor(`p.lower::${calendar.keyType}`), "1"))} <> p.upper::${calendar.keyType}`,
    [
      facts.partitions.map(({ oid }) => oid),
      facts.partitions.map(({ from }) => from),
      facts.partitions.map(({ to }) => to),
    ],
  );
  return { gaps, irregular: irregular.map(({ oid }) => oid) };
}
