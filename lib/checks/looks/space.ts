import { forecastKeys } from "../../history/forecast-keys.ts";
import { readDays } from "../../history/read.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import { bytesText, countText } from "../../words.ts";
import { maskLiterals } from "../mask-literals.ts";
import { scalars } from "./clues-of-finding.ts";
import { type Clue, rankOf, type ShortLook, tableName } from "./short-look.ts";

/** Tables that are measured one by one. */
const candidates = 8;
/** History is older than this look by a day or so: keys that end within a year are told. */
const keyDays = 366;

/** WAL beyond this many times max_wal_size is kept by something. */
const walFactor = 2;

interface Table {
  oid: number;
  schema: string;
  table: string;
  bytes: number;
  /** When collect-history last saw it. */
  bytesBefore: number | null;
  dayBefore: string | null;
}

/** WAL that something keeps, and the table that grows, else the largest one. */
export const lookAtStorage: ShortLook = async ({ session }) => {
  const wal = await lookAtWal(session);
  const tables = await readTables(session);
  const growth = ({ bytes, bytesBefore }: Table) => (bytesBefore === null ? 0 : bytes - bytesBefore);
  const largest = [...tables].sort((a, b) => b.bytes - a.bytes)[0];
  const fastest = [...tables].sort((a, b) => growth(b) - growth(a))[0];
  const clues: Clue[] = [...wal];
  if (fastest !== undefined && growth(fastest) > 0) {
    clues.push({
      from: "storage",
      rank: rankOf("medium"),
      text: `table ${tableName(fastest.schema, fastest.table)} has grown by ${bytesText(growth(fastest))} since ${fastest.dayBefore}, to ${bytesText(fastest.bytes)}`,
      evidence: scalars({
        table: tableName(fastest.schema, fastest.table),
        bytes: fastest.bytes,
        grownByBytes: growth(fastest),
        since: fastest.dayBefore,
      }),
    });
  }
  if (largest !== undefined && (largest !== fastest || growth(largest) <= 0)) {
    clues.push({
      from: "storage",
      rank: rankOf("low"),
      text: `the largest table is ${tableName(largest.schema, largest.table)}: ${bytesText(largest.bytes)}`,
      evidence: scalars({ table: tableName(largest.schema, largest.table), bytes: largest.bytes }),
    });
  }
  return { clues };
};

async function lookAtWal(session: Session): Promise<Clue[]> {
  const rows = await session
    .query<{ files: number; bytes: number; most: number; slot: string | null; slotBytes: number | null }>(
      `select count(*)::int as files, coalesce(sum(size), 0)::float8 as bytes,
              (select setting::float8 * 1024 * 1024 from pg_settings where name = 'max_wal_size') as most,
              (select slot_name::text from pg_replication_slots where restart_lsn is not null
                order by restart_lsn limit 1) as slot,
              ${session.isStandby ? "null::float8" : "(select max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::float8 from pg_replication_slots)"} as "slotBytes"
         from pg_ls_waldir()`,
    )
    .catch(unlessForbidden);
  const [wal] = rows;
  if (wal === undefined || wal.bytes <= walFactor * wal.most) return [];
  const keeper =
    wal.slot === null
      ? ""
      : `; slot ${JSON.stringify(wal.slot)} needs ${bytesText(wal.slotBytes ?? 0)} of it`;
  return [
    {
      from: "storage",
      rank: rankOf("high"),
      text: `WAL takes ${bytesText(wal.bytes)}, and max_wal_size is ${bytesText(wal.most)}${keeper}`,
      evidence: scalars({
        walBytes: wal.bytes,
        maxWalSizeBytes: wal.most,
        slot: wal.slot,
        slotBytes: wal.slotBytes,
      }),
    },
  ];
}

/**
 * The largest tables by relpages, and those with most rows written, each measured by itself: a table that somebody has
 * locked is passed over after lock_timeout. With its size when collect-history last saw it.
 */
async function readTables(session: Session): Promise<Table[]> {
  const found = await session.query<{ oid: number; schema: string; table: string; estimate: number }>(
    `with sized as (
       select c.oid, n.nspname::text as schema, c.relname::text as table,
              c.relpages::float8 * current_setting('block_size')::float8 as estimate,
              coalesce(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid), 0) as written
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_t')
     (select oid::int8 as oid, schema, "table", estimate from sized order by estimate desc limit $1)
     union
     (select oid::int8, schema, "table", estimate from sized where written > 0 order by written desc limit $1)`,
    [candidates],
  );
  const before = await readBefore(
    session,
    found.map(({ oid }) => oid),
  );
  const tables: Table[] = [];
  for (const { oid, schema, table, estimate } of found) {
    const known = before.get(oid);
    tables.push({
      oid,
      schema,
      table,
      bytes: (await measure(session, oid)) ?? estimate,
      bytesBefore: known?.bytes ?? null,
      dayBefore: known?.day ?? null,
    });
  }
  return tables;
}

async function measure(session: Session, oid: number): Promise<number | null> {
  try {
    const [row] = await session.query<{ bytes: number | null }>(
      "select pg_total_relation_size($1::int8::oid::regclass)::float8 as bytes",
      [oid],
    );
    return row?.bytes ?? null;
  } catch (error) {
    if (hasSqlState(error, SqlState.lockNotAvailable, SqlState.queryCanceled)) return null;
    throw error;
  }
}

async function readBefore(
  session: Session,
  oids: readonly number[],
): Promise<Map<number, { bytes: number; day: string }>> {
  const rows = await session
    .query<{ oid: number; bytes: number; day: string }>(
      `select h.table_oid::int8 as oid, (select max(day)::text from pgkeep.history_day) as day,
              (h.heap_pages + h.toast_pages + coalesce((select sum(p) from unnest(h.index_pages) p), 0))::float8
                * current_setting('block_size')::float8 as bytes
         from pgkeep.history_table h
        where h.table_oid = any($1::int8[]::oid[]) and h.gone_day is null and h.heap_pages is not null`,
      [oids],
    )
    .catch(unlessForbidden);
  return new Map(rows.map(({ oid, ...row }) => [oid, row]));
}

/** Sessions that have temporary files in the default tablespace now: their names begin with the process. */
export const lookAtTemporarySpace: ShortLook = async ({ session }) => {
  const rows = await session
    .query<{
      pid: number;
      role: string | null;
      application: string | null;
      bytes: number;
      seconds: number | null;
      statement: string | null;
    }>(
      `select f.pid, a.usename::text as role, a.application_name as application, f.bytes, a.query as statement,
              extract(epoch from clock_timestamp() - a.query_start)::float8 as seconds
         from (select substring(name from '^pgsql_tmp(\\d+)\\.')::int as pid, sum(size)::float8 as bytes
                 from pg_ls_tmpdir() group by 1) f
         left join pg_stat_activity a using (pid)
        where f.bytes > 0 order by f.bytes desc limit 3`,
    )
    .catch(unlessForbidden);
  return {
    clues: rows.map(({ pid, role, application, bytes, seconds, statement }) => ({
      from: "temporary-space",
      rank: rankOf("medium"),
      text: `a statement of ${JSON.stringify(role)} (${JSON.stringify(application)}, pid ${pid}) has ${bytesText(bytes)} in temporary files now`,
      evidence: scalars({
        pid,
        user: role,
        application,
        temporaryBytes: bytes,
        ageSeconds: seconds === null ? null : Math.round(seconds),
        statement: statement === null ? null : maskLiterals(statement),
      }),
    })),
  };
};

/** The integer keys that end first, by what collect-history has seen. */
export const lookAtKeys: ShortLook = async ({ session }) => {
  const { forecasts } = await forecastKeys(session, await readDays(session));
  const ending = forecasts
    .filter((one) => one.verdict === "ends" && (one.days ?? keyDays) < keyDays)
    .sort((a, b) => (a.days ?? 0) - (b.days ?? 0));
  return {
    clues: ending.slice(0, 3).map((one) => ({
      from: "keys",
      rank: rankOf("medium"),
      text: `${one.subject} has no value left in ${countText(Math.floor(one.days ?? 0), "day")}`,
      evidence: scalars({
        name: one.subject,
        days: Math.floor(one.days ?? 0),
        used: one.used,
        limit: one.limit,
        limitBasis: one.limitBasis,
      }),
    })),
  };
};

/** What is not there or may not be read says nothing. */
function unlessForbidden(error: unknown): [] {
  if (
    hasSqlState(
      error,
      SqlState.insufficientPrivilege,
      SqlState.undefinedTable,
      SqlState.undefinedColumn,
      SqlState.invalidSchemaName,
      SqlState.featureNotSupported,
    )
  ) {
    return [];
  }
  throw error;
}
