import { PgkeepError } from "../errors.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

/** The server as a whole on one day. */
export type DaySample = {
  /** UTC: `2026-01-31`. */
  day: string;
  /** Moment of the sample in days since 1970. */
  at: number;
  databaseBytes: number;
  sizeBasis: "files" | "estimate";
  nextTransactionId: number;
  transactionIdAge: number;
  nextMultixactId: number;
  multixactAge: number;
  tables: number;
  tablesUnmeasured: number;
};

/** One table on one day. Counters are totals since the statistics were last reset. */
export type TableSample = {
  day: string;
  at: number;
  /** Null until somebody has vacuumed or analysed the table. */
  heapBytes: number | null;
  /** Its TOAST table with that one's index. */
  toastBytes: number;
  indexBytes: number;
  /** All of it; null while the heap is unknown. */
  bytes: number | null;
  /** As VACUUM and ANALYZE estimate; null when they have not. */
  rows: number | null;
  liveRows: number;
  deadRows: number;
  rowsInserted: number;
  rowsUpdated: number;
  rowsDeleted: number;
  sequentialScans: number;
  vacuums: number;
  indexes: { oid: number; bytes: number; scans: number }[];
  /** Where the sequences of its key columns stand, by `attnum`. */
  keys: { number: number; value: number }[];
};

export type TableHistory = {
  oid: number;
  /** The topmost partitioned table that it belongs to. */
  rootOid: number | null;
  schema: string;
  table: string;
  /** `pg_class.relkind`: r, m or p. */
  kind: string;
  firstDay: string;
  /** First day on which it was not there any more. */
  goneDay: string | null;
  indexNames: Record<string, string>;
  /** One for each day on which history was collected, oldest first. */
  samples: TableSample[];
};

interface Values {
  heapPages: number | null;
  toastPages: number;
  rowEstimate: number;
  liveRows: number;
  deadRows: number;
  rowsInserted: number;
  rowsUpdated: number;
  rowsDeleted: number;
  sequentialScans: number;
  vacuums: number;
  indexOids: number[];
  indexPages: number[];
  indexScans: number[];
  keyColumns: number[];
  keyValues: number[];
}

interface Row extends Values {
  oid: number;
  rootOid: number | null;
  schema: string;
  table: string;
  kind: string;
  firstDay: string;
  goneDay: string | null;
  indexNames: string[];
  /** Null: until now. */
  untilDay: string | null;
}

const values = (alias: string) => `${alias}.heap_pages as "heapPages", ${alias}.toast_pages as "toastPages",
  ${alias}.row_estimate::float8 as "rowEstimate", ${alias}.live_rows as "liveRows", ${alias}.dead_rows as "deadRows",
  ${alias}.rows_inserted as "rowsInserted", ${alias}.rows_updated as "rowsUpdated", ${alias}.rows_deleted as "rowsDeleted",
  ${alias}.sequential_scans as "sequentialScans", ${alias}.vacuums,
  to_jsonb(${alias}.index_oids::int8[]) as "indexOids", to_jsonb(${alias}.index_pages) as "indexPages",
  to_jsonb(${alias}.index_scans) as "indexScans", to_jsonb(${alias}.key_columns) as "keyColumns",
  to_jsonb(${alias}.key_values) as "keyValues"`;

/** The days of history, oldest first. @throws PgkeepError `not-installed`, `insufficient-privilege` */
export function readDays(session: Session): Promise<DaySample[]> {
  return readable(session, () =>
    session.query<DaySample>(
      `select day::text as day, extract(epoch from taken_at)::float8 / 86400 as at, database_bytes as "databaseBytes",
              size_basis as "sizeBasis", next_transaction_id as "nextTransactionId", transaction_id_age as "transactionIdAge",
              next_multixact_id as "nextMultixactId", multixact_age as "multixactAge", tables, tables_unmeasured as "tablesUnmeasured"
         from pgkeep.history_day order by day`,
    ),
  );
}

/**
 * What is known of tables, by oid or by name, day by day; without either of all, which is much in a large database.
 * By name, earlier tables of that name come too; a partitioned table has its partitions beside it.
 * @throws PgkeepError `not-installed`, `insufficient-privilege`
 */
export async function readTableHistory(
  session: Session,
  wanted: { oids?: readonly number[]; names?: readonly TableName[]; sinceDay?: string } = {},
): Promise<TableHistory[]> {
  const days = (await readDays(session)).filter(({ day }) => day >= (wanted.sinceDay ?? ""));
  const [firstDay] = days;
  if (firstDay === undefined) return [];
  const rows = await readable(session, () =>
    session.query<Row>(
      `with blocks as materialized (
         select h.* from pgkeep.history_table h
          where ($1::oid[] is null or h.table_oid = any($1::oid[]) or h.root_oid = any($1::oid[]))
            and ($2::text[] is null or (h.schema_name, h.table_name) in (select * from unnest($2::text[], $3::text[]))
                 or h.root_oid in (select r.table_oid from pgkeep.history_table r join unnest($2::text[], $3::text[]) w (s, t)
                                      on r.schema_name = w.s and r.table_name = w.t))
            and (h.gone_day is null or h.gone_day > $4::date))
       select h.table_oid::int8 as oid, h.root_oid::int8 as "rootOid", h.schema_name as schema, h.table_name as table, h.kind::text as kind,
              h.first_day::text as "firstDay", h.gone_day::text as "goneDay", to_jsonb(h.index_names) as "indexNames",
              b.until_day::text as "untilDay", ${values("b")}
         from blocks h join pgkeep.history_table_before b
           on b.table_oid = h.table_oid and b.until_day >= greatest(h.first_day, $4::date)
              and (h.gone_day is null or b.until_day < h.gone_day)
       union all
       select h.table_oid::int8, h.root_oid::int8, h.schema_name, h.table_name, h.kind::text,
              h.first_day::text, h.gone_day::text, to_jsonb(h.index_names), null, ${values("h")}
         from blocks h
       order by 3, 4, 1, 6, 9 nulls last`,
      [
        wanted.oids ?? null,
        wanted.names?.map(({ schema }) => schema) ?? null,
        wanted.names?.map(({ table }) => table) ?? null,
        firstDay.day,
      ],
    ),
  );
  const blockBytes = await readBlockBytes(session);
  return grouped(rows).map((segments) => historyOf(segments, days, blockBytes));
}

/** Consecutive rows of the same table. */
function grouped(rows: readonly Row[]): Row[][] {
  const groups: Row[][] = [];
  for (const row of rows) {
    const group = groups.at(-1);
    const known = group?.[0];
    if (group !== undefined && known?.oid === row.oid && known.firstDay === row.firstDay) group.push(row);
    else groups.push([row]);
  }
  return groups;
}

function historyOf(segments: readonly Row[], days: readonly DaySample[], blockBytes: number): TableHistory {
  const now = segments.at(-1) as Row;
  const { oid, rootOid, schema, table, kind, firstDay, goneDay } = now;
  const present = days.filter(({ day }) => day >= firstDay && (goneDay === null || day < goneDay));
  return {
    oid,
    rootOid,
    schema,
    table,
    kind,
    firstDay,
    goneDay,
    indexNames: Object.fromEntries(now.indexOids.map((index, at) => [index, now.indexNames[at] ?? ""])),
    samples: present.map(({ day, at }) => ({
      day,
      at,
      ...sampleOf(segments.find(({ untilDay }) => untilDay === null || untilDay >= day) ?? now, blockBytes),
    })),
  };
}

export function sampleOf(row: Values, blockBytes: number): Omit<TableSample, "day" | "at"> {
  const bytes = (pages: number) => pagesOf(pages) * blockBytes;
  const indexes = row.indexOids.map((oid, at) => ({
    oid,
    bytes: bytes(row.indexPages[at] ?? 0),
    scans: row.indexScans[at] ?? 0,
  }));
  const heapBytes = row.heapPages === null ? null : bytes(row.heapPages);
  const toastBytes = bytes(row.toastPages);
  const indexBytes = indexes.reduce((sum, index) => sum + index.bytes, 0);
  const { liveRows, deadRows, rowsInserted, rowsUpdated, rowsDeleted, sequentialScans, vacuums } = row;
  return {
    heapBytes,
    toastBytes,
    indexBytes,
    bytes: heapBytes === null ? null : heapBytes + toastBytes + indexBytes,
    rows: row.rowEstimate < 0 ? null : row.rowEstimate,
    liveRows,
    deadRows,
    rowsInserted,
    rowsUpdated,
    rowsDeleted,
    sequentialScans,
    vacuums,
    indexes,
    keys: row.keyColumns.map((number, at) => ({ number, value: row.keyValues[at] ?? 0 })),
  };
}

/** `relpages` is a block number in a signed integer. */
export function pagesOf(stored: number): number {
  return stored < 0 ? stored + 2 ** 32 : stored;
}

export async function readBlockBytes(session: Session): Promise<number> {
  const rows = await session.query<{ size: number }>("select current_setting('block_size')::int as size");
  return rows[0]?.size ?? 8192;
}

/** Says in the user's terms why there is no history to read. */
export async function readable<T>(session: Session, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (hasSqlState(error, SqlState.undefinedTable, SqlState.invalidSchemaName, SqlState.undefinedColumn)) {
      throw new PgkeepError(
        "not-installed",
        `database ${session.database} has no history: its tables are missing`,
        {
          remedy: "run `pgkeep install` as the master user, then `pgkeep run collect-history` each day",
          cause: error,
        },
      );
    }
    if (hasSqlState(error, SqlState.insufficientPrivilege)) {
      throw new PgkeepError(
        "insufficient-privilege",
        `the role ${session.user} may not read the history in schema pgkeep of database ${session.database}`,
        { remedy: "connect as pgkeep_monitoring or pgkeep_maintenance", cause: error },
      );
    }
    throw error;
  }
}
