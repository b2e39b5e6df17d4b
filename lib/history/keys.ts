import type { Session } from "../ports/databases.ts";

/** An integer column that a sequence fills: serial, identity, or a default that names the sequence. */
export interface KeyColumn {
  tableOid: number;
  schema: string;
  table: string;
  /** `attnum` */
  number: number;
  column: string;
  sequenceOid: number;
  sequence: string;
  /** Of the type, below domains: smallint, integer or bigint. */
  type: string;
  typeLargest: number;
  sequenceLargest: number;
  sequenceSmallest: number;
  increment: number;
  cycles: boolean;
}

/** A foreign key's column that holds fewer values than the key it refers to. */
export interface NarrowReference {
  schema: string;
  table: string;
  column: string;
  constraint: string;
  type: string;
  typeLargest: number;
  /** The column that it refers to. */
  referencedOid: number;
  referencedNumber: number;
}

const integerTypes = `(values (21::oid, 'smallint', 32767::int8), (23::oid, 'integer', 2147483647::int8),
  (20::oid, 'bigint', 9223372036854775807::int8)) as`;

/** Every key column of the database, by oid and column number. Takes no locks. */
export function readKeyColumns(session: Session): Promise<KeyColumn[]> {
  return session.query<KeyColumn>(`
with sequences as materialized (
  select s.*, n.nspname::text || '.' || c.relname::text as name
    from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
   where c.relpersistence <> 't'
), used as materialized (
  select d.refobjid as relation, d.refobjsubid as number, d.objid as sequence
    from pg_depend d
   where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0
     and d.deptype in ('a', 'i') and d.objid in (select seqrelid from sequences)
  union
  select f.adrelid, f.adnum, d.refobjid
    from pg_depend d join pg_attrdef f on f.oid = d.objid
   where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
     and d.refobjid in (select seqrelid from sequences)
)
select c.oid::int8 as "tableOid", n.nspname::text as schema, c.relname::text as table, a.attnum::int as number,
       a.attname::text as column, s.seqrelid::int8 as "sequenceOid", s.name as sequence, i.name as type,
       i.largest::float8 as "typeLargest", s.seqmax::float8 as "sequenceLargest", s.seqmin::float8 as "sequenceSmallest",
       s.seqincrement::float8 as increment, s.seqcycle as cycles
  from used u
  join sequences s on s.seqrelid = u.sequence
  join pg_attribute a on a.attrelid = u.relation and a.attnum = u.number and not a.attisdropped
  join pg_class c on c.oid = u.relation and c.relkind in ('r', 'p')
  join pg_namespace n on n.oid = c.relnamespace
  join pg_type t on t.oid = a.atttypid
  join ${integerTypes} i (oid, name, largest) on i.oid = case t.typtype when 'd' then t.typbasetype else t.oid end
 order by c.oid, a.attnum`);
}

/** Foreign keys whose columns are smaller than what they refer to; those of partitions stand for themselves once. */
export function readNarrowReferences(session: Session): Promise<NarrowReference[]> {
  return session.query<NarrowReference>(`
select n.nspname::text as schema, c.relname::text as table, fa.attname::text as column, f.conname::text as constraint,
       fi.name as type, fi.largest::float8 as "typeLargest",
       f.confrelid::int8 as "referencedOid", pa.attnum::int as "referencedNumber"
  from pg_constraint f
  cross join lateral unnest(f.conkey, f.confkey) as k (referencing, referenced)
  join pg_attribute fa on fa.attrelid = f.conrelid and fa.attnum = k.referencing
  join pg_attribute pa on pa.attrelid = f.confrelid and pa.attnum = k.referenced
  join pg_type ft on ft.oid = fa.atttypid
  join pg_type pt on pt.oid = pa.atttypid
  join ${integerTypes} fi (oid, name, largest) on fi.oid = case ft.typtype when 'd' then ft.typbasetype else ft.oid end
  join ${integerTypes} pi (oid, name, largest) on pi.oid = case pt.typtype when 'd' then pt.typbasetype else pt.oid end
  join pg_class c on c.oid = f.conrelid
  join pg_namespace n on n.oid = c.relnamespace
 where f.contype = 'f' and f.conparentid = 0 and fi.largest < pi.largest
 order by f.oid, k.referencing`);
}
