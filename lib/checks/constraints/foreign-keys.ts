import { majorOf } from "../../postgres/versions.ts";
import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** A foreign key as the catalog has it; columns by position in the key. */
export interface ForeignKey {
  oid: number;
  name: string;
  /** The key of the partitioned table that it was made for. */
  parent: number | null;
  tableOid: number;
  schema: string;
  table: string;
  /** Column numbers and names. */
  numbers: number[];
  columns: string[];
  types: string[];
  /** pg_type's numbers, of a domain those of what it is made of. */
  typeOids: number[];
  collations: number[];
  isNullable: boolean;
  referencedOid: number;
  referencedSchema: string;
  referencedTable: string;
  referencedColumns: string[];
  referencedTypes: string[];
  referencedTypeOids: number[];
  /** `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default. */
  onDelete: string;
  onUpdate: string;
  isValidated: boolean;
  /** PostgreSQL 18: false for NOT ENFORCED. */
  isEnforced: boolean;
  /** PostgreSQL 18: its last column is a PERIOD. */
  hasPeriod: boolean;
}

/** Every foreign key of the user's tables, those of partitions too. One query, no locks on relations. */
export function readForeignKeys(context: ReviewContext): Promise<ForeignKey[]> {
  return context.once("foreign-keys", () => {
    const { session } = context;
    const is18 = majorOf(session.serverVersionNumber) >= 18;
    return session.query<ForeignKey>(
      `with key_columns as (
         select con.oid, k.place, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
                coalesce(nullif(at.typbasetype, 0), a.atttypid)::int8 as type_oid, a.attcollation::int8 as rules,
                not a.attnotnull as nullable,
                ra.attname::text as r_name, format_type(ra.atttypid, ra.atttypmod) as r_type,
                coalesce(nullif(rt.typbasetype, 0), ra.atttypid)::int8 as r_type_oid
           from pg_constraint con
          cross join lateral unnest(con.conkey, con.confkey) with ordinality as k(column_number, referenced, place)
           join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.column_number
           join pg_type at on at.oid = a.atttypid
           join pg_attribute ra on ra.attrelid = con.confrelid and ra.attnum = k.referenced
           join pg_type rt on rt.oid = ra.atttypid
          where con.contype = 'f'
       ), keys as (
         select oid, array_agg(name order by place) as columns, array_agg(type order by place) as types,
                array_agg(type_oid order by place) as type_oids, array_agg(rules order by place) as collations,
                bool_or(nullable) as nullable, array_agg(r_name order by place) as r_columns,
                array_agg(r_type order by place) as r_types, array_agg(r_type_oid order by place) as r_type_oids
           from key_columns group by oid
       )
       select con.oid::int8 as oid, con.conname::text as name, nullif(con.conparentid, 0)::int8 as parent,
              con.conrelid::int8 as "tableOid", n.nspname::text as schema, c.relname::text as table,
              con.conkey as numbers, k.columns, k.types, k.type_oids::float8[] as "typeOids",
              k.collations::float8[] as collations, k.nullable as "isNullable",
              con.confrelid::int8 as "referencedOid", rn.nspname::text as "referencedSchema",
              rc.relname::text as "referencedTable", k.r_columns as "referencedColumns",
              k.r_types as "referencedTypes", k.r_type_oids::float8[] as "referencedTypeOids",
              con.confdeltype::text as "onDelete", con.confupdtype::text as "onUpdate",
              con.convalidated as "isValidated", ${is18 ? "con.conenforced" : "true"} as "isEnforced",
              ${is18 ? "con.conperiod" : "false"} as "hasPeriod"
         from pg_constraint con
         join keys k on k.oid = con.oid
         join pg_class c on c.oid = con.conrelid
         join pg_namespace n on n.oid = c.relnamespace
         join pg_class rc on rc.oid = con.confrelid
         join pg_namespace rn on rn.oid = rc.relnamespace
        where con.contype = 'f' and ${userRelation()}
        order by con.oid`,
    );
  });
}
