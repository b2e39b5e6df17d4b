import { PgkeepError } from "../errors.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import type { Counters, Relation } from "./relation.ts";
import type { ServerFacts } from "./server.ts";

export interface RelationsWanted {
  /** Only these and their partitions; undefined: the whole database. */
  tables?: readonly TableName[];
  /** Also those for which no counter says anything. */
  all: boolean;
  /** Share of a trigger from which a table is due: what is far below is left out by the server already. */
  threshold: number;
}

/**
 * Reads, in one query without locks, every relation that may need VACUUM or ANALYZE. The filter is only a
 * rough one that never loses a due relation; the exact rules are in `triggersOf`.
 * @throws PgkeepError `not-found` when a table that was named does not exist
 */
export async function readRelations(
  session: Session,
  facts: ServerFacts,
  wanted: RelationsWanted,
): Promise<Relation[]> {
  const names = wanted.tables ?? [];
  const rows = await session.query<Row>(relationsQuery(session.serverVersionNumber), [
    Math.floor(wanted.threshold * facts.settings.freezeMaxAge),
    wanted.all,
    wanted.tables !== undefined,
    names.map((name) => name.schema),
    names.map((name) => name.table),
    facts.ownsDatabase,
    Math.floor(wanted.threshold * facts.settings.multixactFreezeMaxAge),
  ]);
  const found = new Set(rows.map((row) => qualified(row.schema, row.table)));
  const missing = names.find((name) => !found.has(qualified(name.schema, name.table)));
  if (missing !== undefined) {
    throw new PgkeepError(
      "not-found",
      `${qualified(missing.schema, missing.table)} is not a table or materialized view of ${session.database}`,
      { remedy: "check schema and spelling; names without quotes are lower case" },
    );
  }
  return rows.map((row) => relationOf(row, session));
}

interface Row {
  oid: number;
  schema: string;
  table: string;
  owner: string;
  relkind: "r" | "m" | "p";
  system: boolean;
  uncounted: boolean;
  mayMaintain: boolean;
  mayUseSchema: boolean;
  requested: boolean;
  dead: number;
  inserted: number;
  changed: number;
  live: number;
  tuples: number;
  pages: number;
  allVisible: number;
  allFrozen: number;
  xidAge: number;
  mxidAge: number;
  options: string[] | null;
  secondsSinceVacuum: number | null;
  indexPages: number;
  toastOid: number | null;
  toastDead: number;
  toastInserted: number;
  toastTuples: number;
  toastPages: number;
  toastAllVisible: number;
  toastAllFrozen: number;
  toastXidAge: number;
  toastMxidAge: number;
  toastOptions: string[] | null;
}

/** First OID that is not given out by initdb (FirstNormalObjectId in `access/transam.h`). */
const firstUserOid = 16_384;

function relationsQuery(serverVersionNumber: number): string {
  const major = majorOf(serverVersionNumber);
  const frozen = (table: string) => (major >= 18 ? `${table}.relallfrozen` : "0");
  // MAINTAIN covers ownership and pg_maintain; before 17 there is only ownership.
  const mayMaintain =
    major >= 17 ? "has_table_privilege(c.oid, 'MAINTAIN')" : "pg_has_role(c.relowner, 'USAGE')";
  // The age of an absent xid is two billion.
  const age = (table: string) =>
    `case when ${table}.relfrozenxid = '0'::xid then 0 else age(${table}.relfrozenxid) end`;
  const multixactAge = (table: string) =>
    `case when ${table}.relminmxid = '0'::xid then 0 else mxid_age(${table}.relminmxid) end`;
  const analyzed = (oid: string) =>
    `greatest(pg_stat_get_last_analyze_time(${oid}), pg_stat_get_last_autoanalyze_time(${oid}))`;
  return `
with recursive named as (
  select c.oid as root, c.oid as member
    from unnest($4::text[], $5::text[]) as wanted(schema, name)
    join pg_namespace n on n.nspname::text = wanted.schema
    join pg_class c on c.relnamespace = n.oid and c.relname::text = wanted.name
  union
  select named.root, i.inhrelid
    from named
    join pg_class parent on parent.oid = named.member and parent.relkind = 'p'
    join pg_inherits i on i.inhparent = named.member
), tree as (
  select oid as root, oid as member from pg_class where relkind = 'p' and not relispartition
  union all
  select tree.root, i.inhrelid from tree join pg_inherits i on i.inhparent = tree.member
), partitioned as (
  -- Autovacuum never analyses a partitioned table. Its changes are those of its partitions, and where a
  -- partition was analysed later, at least those that made that one due. An hour's grace, because ANALYZE of
  -- the parent also analyses the partitions, after it.
  select tree.root,
         sum(pg_stat_get_mod_since_analyze(c.oid)
             + case when ${analyzed("c.oid")} > ${analyzed("tree.root")} + interval '1 hour'
                    then current_setting('autovacuum_analyze_threshold')::float8
                         + current_setting('autovacuum_analyze_scale_factor')::float8 * greatest(c.reltuples, 0)
                    else 0 end)::float8 as changed,
         sum(pg_stat_get_live_tuples(c.oid))::int8 as live,
         sum(greatest(c.reltuples, 0))::float8 as tuples,
         sum(c.relpages)::int8 as pages
    from tree join pg_class c on c.oid = tree.member and c.relkind = 'r'
   group by tree.root
), measured as materialized (
  select c.oid, c.relname, c.relnamespace, c.relowner, c.relkind, c.relisshared, c.reloptions,
         case when c.relkind = 'p' then coalesce(p.tuples, 0) else c.reltuples end as tuples,
         case when c.relkind = 'p' then coalesce(p.pages, 0) else c.relpages end as pages,
         c.relallvisible as all_visible, ${frozen("c")} as all_frozen,
         ${age("c")} as xid_age, ${multixactAge("c")} as mxid_age,
         pg_stat_get_dead_tuples(c.oid) as dead,
         pg_stat_get_ins_since_vacuum(c.oid) as inserted,
         case when c.relkind = 'p' then coalesce(p.changed, 0)
              else pg_stat_get_mod_since_analyze(c.oid) end as changed,
         case when c.relkind = 'p' then coalesce(p.live, 0) else pg_stat_get_live_tuples(c.oid) end as live,
         case when c.relkind = 'p'
              then ${analyzed("c.oid")} is null and (p.live > 0 or p.tuples > 0)
              else c.oid >= ${firstUserOid}
                   and pg_stat_get_tuples_inserted(c.oid) = 0 and pg_stat_get_live_tuples(c.oid) = 0
                   and pg_stat_get_dead_tuples(c.oid) = 0 and pg_stat_get_mod_since_analyze(c.oid) = 0
                   and pg_stat_get_vacuum_count(c.oid) = 0 and pg_stat_get_autovacuum_count(c.oid) = 0
                   and pg_stat_get_analyze_count(c.oid) = 0 and pg_stat_get_autoanalyze_count(c.oid) = 0
              end as uncounted,
         t.oid as toast_oid, t.reloptions as toast_options, t.reltuples as toast_tuples,
         t.relpages as toast_pages, t.relallvisible as toast_all_visible, ${frozen("t")} as toast_all_frozen,
         ${age("t")} as toast_xid_age, ${multixactAge("t")} as toast_mxid_age,
         pg_stat_get_dead_tuples(t.oid) as toast_dead,
         pg_stat_get_ins_since_vacuum(t.oid) as toast_inserted
    from pg_class c
    left join pg_class t on t.oid = c.reltoastrelid
    left join partitioned p on p.root = c.oid
   where c.relpersistence <> 't'
     and (c.relkind in ('r', 'm') or c.relkind = 'p' and (not c.relispartition or $3))
     and (not $3 or c.oid in (select member from named))
)
select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table,
       pg_get_userbyid(c.relowner)::text as owner, c.relkind::text as relkind,
       c.oid < ${firstUserOid} as system, coalesce(c.uncounted, false) as uncounted,
       ${mayMaintain} or ($6 and not c.relisshared) as "mayMaintain",
       has_schema_privilege(n.oid, 'USAGE') as "mayUseSchema",
       $3 as requested,
       c.dead, c.inserted, c.changed, c.live, c.tuples, c.pages,
       c.all_visible as "allVisible", c.all_frozen as "allFrozen", c.xid_age as "xidAge",
       c.mxid_age as "mxidAge", c.reloptions as options,
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_vacuum_time(c.oid),
                                                       pg_stat_get_last_autovacuum_time(c.oid)))::float8
         as "secondsSinceVacuum",
       coalesce((select sum(i.relpages) from pg_index x join pg_class i on i.oid = x.indexrelid
                  where x.indrelid = c.oid), 0)::int8 as "indexPages",
       c.toast_oid::int8 as "toastOid", c.toast_dead as "toastDead", c.toast_inserted as "toastInserted",
       c.toast_tuples as "toastTuples", c.toast_pages as "toastPages",
       c.toast_all_visible as "toastAllVisible", c.toast_all_frozen as "toastAllFrozen",
       c.toast_xid_age as "toastXidAge", c.toast_mxid_age as "toastMxidAge",
       c.toast_options as "toastOptions"
  from measured c join pg_namespace n on n.oid = c.relnamespace
 where $2 or $3 or c.uncounted or c.dead > 0 or c.inserted > 0 or c.changed > 0
    or c.toast_dead > 0 or c.toast_inserted > 0
    or greatest(c.xid_age, c.toast_xid_age) >= $1::int8 or greatest(c.mxid_age, c.toast_mxid_age) >= $7::int8
    or array_to_string(c.reloptions || c.toast_options, ' ') like '%freeze_max_age=%'`;
}

function relationOf(row: Row, session: Session): Relation {
  const toast: Counters | null =
    row.toastOid === null
      ? null
      : {
          deadTuples: row.toastDead,
          insertsSinceVacuum: row.toastInserted,
          changesSinceAnalyze: 0,
          relTuples: row.toastTuples,
          relPages: row.toastPages,
          allVisiblePages: row.toastAllVisible,
          allFrozenPages: row.toastAllFrozen,
          transactionIdAge: row.toastXidAge,
          multixactAge: row.toastMxidAge,
          options: row.toastOptions,
        };
  return {
    oid: row.oid,
    schema: row.schema,
    table: row.table,
    kind: row.relkind === "p" ? "partitioned table" : row.relkind === "m" ? "materialized view" : "table",
    isSystem: row.system,
    isUncounted: row.uncounted,
    deadTuples: row.dead,
    insertsSinceVacuum: row.inserted,
    changesSinceAnalyze: row.changed,
    liveTuples: row.live,
    relTuples: row.tuples,
    relPages: row.pages,
    allVisiblePages: row.allVisible,
    allFrozenPages: row.allFrozen,
    transactionIdAge: row.xidAge,
    multixactAge: row.mxidAge,
    options: row.options,
    secondsSinceVacuum: row.secondsSinceVacuum,
    indexPages: row.indexPages,
    toast,
    isPermitted: row.mayMaintain && row.mayUseSchema,
    obstacle: obstacleOf(row, session),
    isRequested: row.requested,
  };
}

function obstacleOf(row: Row, session: Session): string | null {
  const user = identifier(session.user);
  if (!row.mayMaintain) {
    return majorOf(session.serverVersionNumber) >= 17
      ? `GRANT MAINTAIN ON ${qualified(row.schema, row.table)} TO ${user} (or GRANT pg_maintain TO ${user})`
      : `GRANT ${identifier(row.owner)} TO ${user}: before PostgreSQL 17 only the owner may vacuum it`;
  }
  return row.mayUseSchema ? null : `GRANT USAGE ON SCHEMA ${identifier(row.schema)} TO ${user}`;
}
