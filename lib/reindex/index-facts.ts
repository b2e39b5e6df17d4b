import { PgkeepError } from "../errors.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { majorOf } from "../postgres/versions.ts";
import type { IndexName } from "./arguments.ts";

/** One index as the catalog has it. */
export interface IndexFacts {
  oid: number;
  schema: string;
  index: string;
  tableOid: number;
  table: string;
  /** `btree`, `gin` … */
  method: string;
  /** The table of the user's that a TOAST index belongs to, as SQL; null for other indexes. */
  toastOf: string | null;
  /** Of system catalogs, made by initdb. */
  isSystem: boolean;
  isValid: boolean;
  /** False once DROP INDEX CONCURRENTLY has begun to take it away. */
  isLive: boolean;
  isExclusion: boolean;
  /** It enforces a constraint. */
  backsConstraint: boolean;
  /** What it indexes and how, without its name: two indexes of a table with the same text are duplicates. */
  definition: string;
  /** A valid index of the same table with the same definition. */
  twin: string | null;
  /** A build, or a rebuild, of an index of the table is running. */
  isBeingBuilt: boolean;
  pages: number;
  tablePages: number;
  isPartial: boolean;
  /** `reltuples` of the index and the table; −1: nobody has looked. */
  indexTuples: number;
  tableTuples: number;
  liveTuples: number;
  fillFactor: number;
  deduplicates: boolean;
  /** Named by the person who started the run, or on a table or partition that was. */
  isRequested: boolean;
  isPermitted: boolean;
  /** Why not, and the statement that would change it. */
  obstacle: string | null;
}

export interface IndexesWanted {
  indexes?: readonly IndexName[];
  tables?: readonly TableName[];
  /** Those that an interrupted run was at. */
  interrupted: ReadonlySet<number>;
  /** Other valid indexes below this size are left out, unless named. */
  minimumBytes: number;
}

interface Row extends Omit<IndexFacts, "isPermitted" | "obstacle" | "twin"> {
  owner: string;
  mayMaintain: boolean;
  mayOwn: boolean;
  mayCleanUp: boolean;
  mayUseSchema: boolean;
  twin: string | null;
}

/** First OID that is not given out by initdb (FirstNormalObjectId in `access/transam.h`). */
const firstUserOid = 16_384;

/**
 * Reads every index that may need a rebuild: those of some size, those that are not valid, those that were named.
 * Sizes are of the files; when one of them is locked, those of the last VACUUM or ANALYZE.
 * @throws PgkeepError `not-found` when an index or table that was named does not exist
 */
export async function readIndexes(session: Session, wanted: IndexesWanted): Promise<IndexFacts[]> {
  await requireNamed(session, wanted);
  const values = [
    wanted.minimumBytes,
    (wanted.indexes ?? []).map((name) => name.schema),
    (wanted.indexes ?? []).map((name) => name.index),
    (wanted.tables ?? []).map((name) => name.schema),
    (wanted.tables ?? []).map((name) => name.table),
    [...wanted.interrupted],
  ];
  const rows = await readWith("coalesce(pg_relation_size(i.oid) / b.size, i.relpages)").catch((error) => {
    if (hasSqlState(error, SqlState.lockNotAvailable, SqlState.queryCanceled)) return readWith("i.relpages");
    throw error;
  });
  return rows.map((row) => factsOf(row, session));

  function readWith(pages: string): Promise<Row[]> {
    return session.query<Row>(indexesQuery(session.serverVersionNumber, pages), values);
  }
}

async function requireNamed(session: Session, { indexes = [], tables = [] }: IndexesWanted): Promise<void> {
  if (indexes.length + tables.length === 0) return;
  const missing = await session.query<{ schema: string; name: string; kind: string }>(
    `select wanted.schema, wanted.name, wanted.kind
       from (select * from unnest($1::text[], $2::text[], array_fill('index'::text, array[cardinality($1::text[])]))
             union all
             select * from unnest($3::text[], $4::text[], array_fill('table'::text, array[cardinality($3::text[])]))
            ) as wanted(schema, name, kind)
      where not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         where n.nspname::text = wanted.schema and c.relname::text = wanted.name
                           and c.relkind = any(case wanted.kind when 'index' then array['i', 'I']
                                                    else array['r', 'm', 'p', 't'] end::"char"[]))
      limit 1`,
    [
      indexes.map((name) => name.schema),
      indexes.map((name) => name.index),
      tables.map((name) => name.schema),
      tables.map((name) => name.table),
    ],
  );
  const first = missing[0];
  if (first === undefined) return;
  throw new PgkeepError(
    "not-found",
    `${qualified(first.schema, first.name)} is not ${first.kind === "index" ? "an index" : "a table or materialized view"} of ${session.database}`,
    { remedy: "check schema and spelling; names without quotes are lower case" },
  );
}

function indexesQuery(serverVersionNumber: number, pages: string): string {
  // MAINTAIN covers ownership and pg_maintain; before 17 there is only ownership.
  const mayMaintain =
    majorOf(serverVersionNumber) >= 17
      ? "has_table_privilege(c.oid, 'MAINTAIN')"
      : "pg_has_role(i.relowner, 'USAGE')";
  return `
with recursive named as (
  select c.oid
    from unnest($2::text[], $3::text[]) as wanted(schema, name)
    join pg_namespace n on n.nspname::text = wanted.schema
    join pg_class c on c.relnamespace = n.oid and c.relname::text = wanted.name and c.relkind in ('i', 'I')
  union
  select x.indexrelid
    from unnest($4::text[], $5::text[]) as wanted(schema, name)
    join pg_namespace n on n.nspname::text = wanted.schema
    join pg_class c on c.relnamespace = n.oid and c.relname::text = wanted.name
    join pg_class t on t.oid in (
      with recursive tree as (
        select c.oid union all select h.inhrelid from tree join pg_inherits h on h.inhparent = tree.oid)
      select tree.oid from tree
      union all select m.reltoastrelid from tree join pg_class m on m.oid = tree.oid where m.reltoastrelid <> 0)
    join pg_index x on x.indrelid = t.oid
  union
  select h.inhrelid from named join pg_inherits h on h.inhparent = named.oid
), block as (select current_setting('block_size')::int as size
), sized as materialized (
  select i.oid, i.relname, i.relnamespace, i.relam, i.relowner, i.reltuples, i.reloptions, i.oid in (select oid from named) as requested,
         (case when i.oid in (select relation from pg_locks where locktype = 'relation' and mode = 'AccessExclusiveLock'
                               and database = (select oid from pg_database where datname = current_database()))
               then i.relpages else ${pages} end)::int8 as pages, b.size as block_size
    from pg_class i cross join block b
   where i.relkind = 'i' and i.relpersistence <> 't'
), building as materialized (
  select p.relid, p.index_relid from pg_stat_progress_create_index p
   where p.datname = current_database()
), chosen as materialized (
  select i.*, x.indrelid, x.indisvalid, x.indislive, x.indisready, x.indisunique, x.indisexclusion, x.indkey, x.indclass, x.indcollation,
         x.indoption, x.indnkeyatts, x.indnatts, x.indexprs, x.indpred
    from sized i join pg_index x on x.indexrelid = i.oid
   where i.requested or not x.indisvalid or i.oid = any($6::oid[]) or i.oid >= ${firstUserOid} and i.pages * i.block_size >= $1::int8
)
select i.oid::int8 as oid, n.nspname::text as schema, i.relname::text as index, c.oid::int8 as "tableOid", c.relname::text as table,
       am.amname::text as method,
       owner.oid::regclass::text as "toastOf",
       c.oid < ${firstUserOid} as "isSystem", i.indisvalid as "isValid", i.indislive as "isLive",
       i.indisexclusion as "isExclusion",
       exists (select from pg_constraint k where k.conindid = i.oid and k.contype in ('p', 'u', 'x')) as "backsConstraint",
       d.definition,
       case when i.indisvalid then null else (
         select y.indexrelid::regclass::text from pg_index y join pg_class j on j.oid = y.indexrelid
          where y.indrelid = i.indrelid and y.indisvalid and y.indexrelid <> i.oid
            and ${definitionSql("j", "y")} = d.definition limit 1) end as twin,
       exists (select from building b where b.index_relid = i.oid or not i.indisvalid and b.relid = c.oid) as "isBeingBuilt",
       i.pages, greatest(c.relpages, 0)::int8 as "tablePages", i.indpred is not null as "isPartial",
       i.reltuples::float8 as "indexTuples", c.reltuples::float8 as "tableTuples",
       pg_stat_get_live_tuples(c.oid)::int8 as "liveTuples",
       coalesce((select o.option_value::int from pg_options_to_table(i.reloptions) o where o.option_name = 'fillfactor'), 90)
         as "fillFactor",
       ${deduplicatesSql("i", "i")} as deduplicates,
       i.requested as "isRequested",
       pg_get_userbyid(i.relowner)::text as owner, ${mayMaintain} as "mayMaintain",
       pg_has_role(i.relowner, 'USAGE') as "mayOwn",
       ${mayCleanUpSql("i.relowner")} as "mayCleanUp",
       has_schema_privilege(n.oid, 'USAGE') as "mayUseSchema"
  from chosen i
  join pg_class c on c.oid = i.indrelid
  left join (select oid, reltoastrelid from pg_class where reltoastrelid <> 0) as owner on owner.reltoastrelid = c.oid
  join pg_namespace n on n.oid = i.relnamespace
  join pg_am am on am.oid = i.relam
 cross join lateral (select ${definitionSql("i", "i")} as definition) d
 order by i.oid`;
}

/**
 * Whether an index stores equal keys once when it is built; `relation` is its row of `pg_class`, `index` of `pg_index`,
 * and `am` that of `pg_am`.
 */
export function deduplicatesSql(relation: string, index: string): string {
  return `am.amname = 'btree' and not ${index}.indisunique and ${index}.indnatts = ${index}.indnkeyatts
         and coalesce((select o.option_value::bool from pg_options_to_table(${relation}.reloptions) o
                        where o.option_name = 'deduplicate_items'), true)
         -- The fourth support function says whether equal means the same bytes; with a nondeterministic collation it does not.
         and not exists (select from unnest(${index}.indclass::oid[], ${index}.indcollation::oid[]) as k(operators, rules)
                           join pg_opclass oc on oc.oid = k.operators
                           where (select co.collisdeterministic from pg_collation co where co.oid = k.rules) is false
                             or not exists (select from pg_amproc p where p.amprocfamily = oc.opcfamily and p.amprocnum = 4
                                              and p.amproclefttype = oc.opcintype))`;
}

/** What an index indexes and how, as text; `relation` is its row of `pg_class`, `index` of `pg_index`. */
export function definitionSql(relation: string, index: string): string {
  return `concat_ws('|', ${relation}.relam, ${index}.indisunique, ${index}.indnkeyatts, ${index}.indkey, ${index}.indclass,
    ${index}.indcollation, ${index}.indoption, pg_get_expr(${index}.indexprs, ${index}.indrelid),
    'where ' || pg_get_expr(${index}.indpred, ${index}.indrelid))`;
}

/** Whether the session may have leftovers on tables of this owner removed by the function of schema pgkeep. */
export function mayCleanUpSql(owner: string): string {
  return `coalesce((select has_schema_privilege(f.pronamespace, 'USAGE') and has_function_privilege(f.oid, 'EXECUTE')
                       and pg_has_role(f.proowner, ${owner}, 'USAGE')
                  from pg_proc f join pg_namespace own on own.oid = f.pronamespace
                 where own.nspname = 'pgkeep' and f.proname = 'drop_index_leftover' limit 1), false)`;
}

function factsOf(row: Row, session: Session): IndexFacts {
  const { owner: _owner, mayMaintain: _may, mayOwn, mayCleanUp, mayUseSchema, ...facts } = row;
  const obstacle = obstacleOf(row, session);
  return { ...facts, isPermitted: obstacle === null, obstacle };
}

function obstacleOf(row: Row, session: Session): string | null {
  const user = identifier(session.user);
  if (row.isSystem) return "an index of a system catalog cannot be rebuilt while the database is in use";
  if (!row.mayMaintain) {
    return majorOf(session.serverVersionNumber) >= 17
      ? `GRANT MAINTAIN ON ${qualified(row.schema, row.table)} TO ${user} (or GRANT pg_maintain TO ${user})`
      : `GRANT ${identifier(row.owner)} TO ${user}: before PostgreSQL 17 only the owner may reindex it`;
  }
  if (!row.mayUseSchema) {
    return row.toastOf === null
      ? `GRANT USAGE ON SCHEMA ${identifier(row.schema)} TO ${user}`
      : `REINDEX TABLE CONCURRENTLY ${row.toastOf}: only a superuser may name what is in ${row.schema}`;
  }
  if (!row.mayOwn && !row.mayCleanUp) {
    return `GRANT ${identifier(row.owner)} TO ${user}: what an interrupted rebuild leaves could not be removed without it`;
  }
  return null;
}
