import { PgkeepError } from "../errors.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import { qualified } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import type { TableEntry } from "./report.ts";
import type { ServerFacts } from "./server.ts";
import { type Triggers, triggersOf } from "./triggers.ts";

/** How autovacuum does on one table, or on its TOAST table. Rows unless said otherwise, times ISO 8601. */
export type AutovacuumState = TableEntry & {
  /** The numbers are those of the TOAST table. */
  toast?: true;
  /** Parameters are set for each partition, also for those to come. */
  partition?: true;
  rows: number;
  bytes: number;
  deadRows: number;
  insertedSinceVacuum: number;
  changedSinceAnalyze: number;
  lastVacuum: string | null;
  lastAutovacuum: string | null;
  lastAnalyze: string | null;
  lastAutoanalyze: string | null;
  vacuums: number;
  autovacuums: number;
  analyzes: number;
  autoanalyzes: number;
  /** Since the statistics began. */
  inserts: number;
  updates: number;
  deletes: number;
  /** Null where nothing says since when rows were counted. */
  perDay: {
    dead: number | null;
    inserted: number | null;
    changed: number | null;
    autovacuums: number | null;
  };
  /** Counter ÷ the value at which autovacuum acts; null: it never does. */
  share: { dead: number; inserted: number | null; changed: number; age: number };
  triggers: { dead: number; inserted: number | null; changed: number };
  autovacuumIsOn: boolean;
  /** Storage parameters of its own. */
  parameters: string[];
};

interface Row {
  schema: string;
  table: string;
  isToast: boolean;
  isPartition: boolean;
  reltuples: number;
  relpages: number;
  allFrozen: number;
  xidAge: number;
  mxidAge: number;
  options: string[] | null;
  ownerOptions: string[] | null;
  dead: number;
  insertedSince: number;
  changedSince: number;
  lastVacuum: Date | null;
  lastAutovacuum: Date | null;
  lastAnalyze: Date | null;
  lastAutoanalyze: Date | null;
  vacuums: number;
  autovacuums: number;
  analyzes: number;
  autoanalyzes: number;
  inserts: number;
  updates: number;
  deletes: number;
  windowSeconds: number | null;
  sinceVacuum: number | null;
  sinceAnalyze: number | null;
}

/** Less says nothing about a day. */
const shortestWindowSeconds = 60;
const daySeconds = 86_400;

/**
 * Reads the state of these tables (by oid or name; all of the application's without), the one nearest to or beyond its
 * trigger first.
 * @throws PgkeepError `not-found` when a table that was named does not exist
 */
export async function readAutovacuum(
  session: Session,
  facts: ServerFacts,
  wanted: { oids: readonly number[] } | { names: readonly TableName[] } | undefined,
): Promise<AutovacuumState[]> {
  const names = wanted !== undefined && "names" in wanted ? wanted.names : [];
  const rows = await session.query<Row>(autovacuumQuery(session.serverVersionNumber), [
    wanted === undefined,
    wanted !== undefined && "oids" in wanted ? wanted.oids : [],
    names.map((name) => name.schema),
    names.map((name) => name.table),
  ]);
  const found = new Set(rows.map((row) => qualified(row.schema, row.table)));
  const missing = names.find((name) => !found.has(qualified(name.schema, name.table)));
  if (missing !== undefined) {
    throw new PgkeepError(
      "not-found",
      `${qualified(missing.schema, missing.table)} is not a table that autovacuum looks after`,
      { remedy: "check schema and spelling; of a partitioned table name the partitions" },
    );
  }
  return rows.map((row) => stateOf(row, facts)).sort((a, b) => largestShare(b) - largestShare(a));
}

function autovacuumQuery(serverVersionNumber: number): string {
  const frozen = majorOf(serverVersionNumber) >= 18 ? "c.relallfrozen" : "0";
  return `
select n.nspname::text as schema, m.relname::text as table, c.oid <> m.oid as "isToast",
       m.relispartition as "isPartition", c.reltuples, c.relpages, ${frozen} as "allFrozen",
       case when c.relfrozenxid = '0'::xid then 0 else age(c.relfrozenxid) end as "xidAge",
       case when c.relminmxid = '0'::xid then 0 else mxid_age(c.relminmxid) end as "mxidAge",
       c.reloptions as options, m.reloptions as "ownerOptions",
       pg_stat_get_dead_tuples(c.oid) as dead, pg_stat_get_ins_since_vacuum(c.oid) as "insertedSince",
       pg_stat_get_mod_since_analyze(c.oid) as "changedSince",
       pg_stat_get_last_vacuum_time(c.oid) as "lastVacuum", pg_stat_get_last_autovacuum_time(c.oid) as "lastAutovacuum",
       pg_stat_get_last_analyze_time(c.oid) as "lastAnalyze",
       pg_stat_get_last_autoanalyze_time(c.oid) as "lastAutoanalyze",
       pg_stat_get_vacuum_count(c.oid) as vacuums, pg_stat_get_autovacuum_count(c.oid) as autovacuums,
       pg_stat_get_analyze_count(c.oid) as analyzes, pg_stat_get_autoanalyze_count(c.oid) as autoanalyzes,
       pg_stat_get_tuples_inserted(c.oid) as inserts, pg_stat_get_tuples_updated(c.oid) as updates,
       pg_stat_get_tuples_deleted(c.oid) as deletes,
       extract(epoch from clock_timestamp() - d.stats_reset)::float8 as "windowSeconds",
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_vacuum_time(c.oid),
               pg_stat_get_last_autovacuum_time(c.oid)))::float8 as "sinceVacuum",
       extract(epoch from clock_timestamp() - greatest(pg_stat_get_last_analyze_time(c.oid),
               pg_stat_get_last_autoanalyze_time(c.oid)))::float8 as "sinceAnalyze"
  from pg_class m
  join pg_namespace n on n.oid = m.relnamespace
  join pg_class c on c.oid = m.oid or c.oid = nullif(m.reltoastrelid, 0) and c.reltuples > 0
  join pg_stat_database d on d.datname = current_database()
 where m.relkind in ('r', 'm') and m.relpersistence <> 't' and m.oid >= 16384
   and ($1 or m.oid = any($2::oid[])
        or (n.nspname::text, m.relname::text) in (select * from unnest($3::text[], $4::text[])))`;
}

function stateOf(row: Row, facts: ServerFacts): AutovacuumState {
  // Autovacuum takes the owner's parameters when the TOAST table has none at all.
  const options = row.isToast ? (row.options ?? row.ownerOptions) : row.options;
  const triggers = triggersOf(
    { relTuples: row.reltuples, relPages: row.relpages, allFrozenPages: row.allFrozen, options },
    facts.settings,
  );
  const time = (at: Date | null) => at?.toISOString() ?? null;
  const perDay = (count: number, seconds: number | null) =>
    seconds === null || seconds < shortestWindowSeconds ? null : Math.round((count / seconds) * daySeconds);
  const window = row.windowSeconds;
  return {
    schema: row.schema,
    table: row.table,
    ...(row.isToast ? { toast: true as const } : {}),
    ...(row.isPartition ? { partition: true as const } : {}),
    rows: Math.max(0, row.reltuples),
    bytes: row.relpages * facts.blockBytes,
    deadRows: row.dead,
    insertedSinceVacuum: row.insertedSince,
    changedSinceAnalyze: row.changedSince,
    lastVacuum: time(row.lastVacuum),
    lastAutovacuum: time(row.lastAutovacuum),
    lastAnalyze: time(row.lastAnalyze),
    lastAutoanalyze: time(row.lastAutoanalyze),
    vacuums: row.vacuums,
    autovacuums: row.autovacuums,
    analyzes: row.analyzes,
    autoanalyzes: row.autoanalyzes,
    inserts: row.inserts,
    updates: row.updates,
    deletes: row.deletes,
    perDay: {
      // From 15 on statistics that were never reset do not say since when they count; the last vacuum does.
      dead: perDay(row.updates + row.deletes, window) ?? perDay(row.dead, row.sinceVacuum),
      inserted: perDay(row.inserts, window) ?? perDay(row.insertedSince, row.sinceVacuum),
      changed:
        perDay(row.inserts + row.updates + row.deletes, window) ?? perDay(row.changedSince, row.sinceAnalyze),
      autovacuums: perDay(row.autovacuums, window),
    },
    share: sharesOf(row, triggers),
    triggers: {
      dead: Math.round(triggers.dead),
      inserted: triggers.inserted === null ? null : Math.round(triggers.inserted),
      changed: Math.round(triggers.changed),
    },
    autovacuumIsOn: !(options ?? []).some((option) => /^autovacuum_enabled=(?:f|of|n|0)/i.test(option)),
    parameters: (row.options ?? []).filter((option) => option.startsWith("autovacuum_")),
  };
}

function sharesOf(row: Row, triggers: Triggers): AutovacuumState["share"] {
  const share = (value: number, trigger: number) => Math.round((value / Math.max(1, trigger)) * 100) / 100;
  return {
    dead: share(row.dead, triggers.dead),
    inserted: triggers.inserted === null ? null : share(row.insertedSince, triggers.inserted),
    changed: share(row.changedSince, triggers.changed),
    age: Math.max(share(row.xidAge, triggers.transactionIdAge), share(row.mxidAge, triggers.multixactAge)),
  };
}

function largestShare({ share }: AutovacuumState): number {
  return Math.max(share.dead, share.inserted ?? 0, share.changed, share.age);
}
