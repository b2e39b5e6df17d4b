import { errorMessage } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { readCounters, readTables } from "./catalog.ts";

/** What a table looked like. */
export interface ManifestTable {
  /** A table that was dropped and made again has another. */
  oid: number;
  schema: string;
  name: string;
  /** `pg_relation_filenode`: changes with TRUNCATE and with every rewrite. */
  filenode: number | null;
  /** Names and types of its columns, as a hash. */
  columns: string;
  /** `pg_class.reltuples`, −1 when never analysed. */
  estimatedRows: number;
  /** Exact, when there was time to count. */
  rows?: number;
  /** `rows:hash` of the contents whatever the order of rows; for tables up to the configured size. */
  hash?: string;
  /** Cumulative statistics from just before the snapshot: what happened since is at most the difference. */
  inserted: number;
  updated: number;
  deleted: number;
}

/** What the data looked like just before a backup was taken; the drill compares the restored data with it. */
export interface Manifest {
  formatVersion: 1;
  backupId: string;
  /** ISO 8601, the server's clock. */
  takenAt: string;
  database: string;
  serverVersionNumber: number;
  systemIdentifier: string | null;
  /** `pg_current_snapshot()` of everything below. */
  snapshot: string;
  /** `pg_stat_database.xact_commit`: a smaller number later means that the statistics were reset. */
  transactionsCommitted: number;
  tables: ManifestTable[];
  indexes: number;
  constraints: number;
  sequences: number;
  /** Tables that could not be counted, and why. */
  unread: { schema: string; table: string; reason: string }[];
  seconds: number;
}

export interface ManifestOptions {
  backupId: string;
  budgetSeconds: number;
  hashTablesUpToBytes: number;
  /** What an earlier execution stored for the same backup: what it has read is not read again. */
  previous?: Manifest | undefined;
  signal?: AbortSignal;
}

/**
 * Describes the data in one read-only snapshot, small tables first, until the budget is used up: what it did
 * not reach has the catalog's estimate only and is listed in `unread`. Needs EXECUTE on `pgkeep.table_rows`
 * and `pgkeep.table_hash`, and no right on any table.
 */
export async function takeManifest(session: Session, options: ManifestOptions): Promise<Manifest> {
  const began = performance.now();
  const remaining = () => Math.floor(options.budgetSeconds * 1000 - (performance.now() - began));
  // Before the snapshot: changes in between then count as later ones, which only widens the bounds.
  const counters = await readCounters(session);
  return session.transaction(
    async () => {
      const facts = await readFacts(session);
      // Each table goes with its own counters from just before it was read, so snapshots may differ between tables.
      const known = readBefore(options.previous, counters.transactionsCommitted);
      const tables: ManifestTable[] = [];
      const unread: Manifest["unread"] = [];
      const canRead = await functionsExist(session);
      for (const table of (await readTables(session)).sort((a, b) => a.pages - b.pages)) {
        const before = known.get(table.oid);
        if (before !== undefined && before.schema === table.schema && before.name === table.name) {
          tables.push(before);
          continue;
        }
        const counted = counters.tables.get(table.oid);
        const entry: ManifestTable = {
          oid: table.oid,
          schema: table.schema,
          name: table.name,
          filenode: table.filenode,
          columns: table.columns,
          estimatedRows: table.estimatedRows,
          inserted: counted?.inserted ?? 0,
          updated: counted?.updated ?? 0,
          deleted: counted?.deleted ?? 0,
        };
        tables.push(entry);
        const skip = !canRead
          ? "the functions of schema pgkeep are not installed here (`pgkeep install`)"
          : remaining() <= 0 || options.signal?.aborted === true
            ? `the budget of ${options.budgetSeconds} s was used up`
            : await readContents(session, table.oid, entry, remaining(), options.hashTablesUpToBytes);
        if (skip !== undefined) unread.push({ schema: table.schema, table: table.name, reason: skip });
      }
      tables.sort((a, b) =>
        a.schema === b.schema ? (a.name < b.name ? -1 : 1) : a.schema < b.schema ? -1 : 1,
      );
      return {
        formatVersion: 1,
        backupId: options.backupId,
        database: session.database,
        serverVersionNumber: session.serverVersionNumber,
        transactionsCommitted: counters.transactionsCommitted,
        ...facts,
        tables,
        unread,
        seconds: Math.round(performance.now() - began) / 1000,
      };
    },
    { readOnly: true, isolation: "repeatable read" },
  );
}

/** Tables that were read; none when the statistics were reset meanwhile: their counters mean nothing then. */
function readBefore(
  previous: Manifest | undefined,
  transactionsCommitted: number,
): Map<number, ManifestTable> {
  const tables =
    previous !== undefined && previous.transactionsCommitted <= transactionsCommitted ? previous.tables : [];
  return new Map(tables.filter(({ rows }) => rows !== undefined).map((table) => [table.oid, table]));
}

/**
 * Keeps the manifest in the database, before the backup begins, so that the backup contains its own. An earlier one
 * for the same backup stays, unless `replace`: it is as true, as what happened since is counted either way.
 */
export async function storeManifest(session: Session, manifest: Manifest, replace = false): Promise<void> {
  await session.query(
    `insert into pgkeep.backup_manifest (backup_id, taken_at, manifest) values ($1, $2, $3)
     on conflict (backup_id) do ${replace ? "update set taken_at = excluded.taken_at, manifest = excluded.manifest" : "nothing"}`,
    [manifest.backupId, manifest.takenAt, JSON.stringify(manifest)],
  );
  await session.query("delete from pgkeep.backup_manifest where taken_at < now() - interval '400 days'");
}

/** The manifest of a backup, or undefined when this database has none. */
export async function readManifest(session: Session, backupId: string): Promise<Manifest | undefined> {
  const rows = await session.query<{ manifest: Manifest }>(
    "select manifest from pgkeep.backup_manifest where backup_id = $1",
    [backupId],
  );
  return rows[0]?.manifest;
}

type Facts = Pick<
  Manifest,
  "takenAt" | "systemIdentifier" | "snapshot" | "indexes" | "constraints" | "sequences"
>;

async function readFacts(session: Session): Promise<Facts> {
  const [row] = await session.query<Omit<Facts, "systemIdentifier" | "takenAt"> & { at: Date }>(
    `select clock_timestamp() as at, pg_current_snapshot()::text as snapshot`,
  );
  if (row === undefined) throw new TypeError("a query without a table gave no row");
  return {
    takenAt: row.at.toISOString(),
    snapshot: row.snapshot,
    systemIdentifier: await systemIdentifier(session),
    ...(await countObjects(session)),
  };
}

/** Indexes, constraints and sequences of the application. */
export async function countObjects(
  session: Session,
): Promise<Pick<Manifest, "indexes" | "constraints" | "sequences">> {
  const [row] = await session.query<Pick<Manifest, "indexes" | "constraints" | "sequences">>(
    `with application as (
       select oid from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgkeep'))
     select (select count(*) from pg_class where relkind in ('i', 'I')
               and relnamespace in (select oid from application)) as indexes,
            (select count(*) from pg_constraint where connamespace in (select oid from application)) as constraints,
            (select count(*) from pg_class where relkind = 'S'
               and relnamespace in (select oid from application)) as sequences`,
  );
  return row ?? { indexes: 0, constraints: 0, sequences: 0 };
}

/** Null when the server does not let this role see it. Safe inside a transaction. */
export async function systemIdentifier(session: Session): Promise<string | null> {
  const [row] = await session.query<{ id: string | null }>(
    `select case when has_function_privilege('pg_control_system()', 'execute')
                 then (select system_identifier::text from pg_control_system()) end as id`,
  );
  return row?.id ?? null;
}

async function functionsExist(session: Session): Promise<boolean> {
  const [row] = await session.query<{ exist: boolean }>(
    `select to_regprocedure('pgkeep.table_rows(regclass)') is not null
        and to_regprocedure('pgkeep.table_hash(regclass)') is not null as exist`,
  );
  return row?.exist === true;
}

/** Counts or hashes one table into `entry`. Resolves to why it could not. */
async function readContents(
  session: Session,
  oid: number,
  entry: ManifestTable,
  milliseconds: number,
  hashUpToBytes: number,
): Promise<string | undefined> {
  await session.query("savepoint contents");
  try {
    await session.query("select set_config('statement_timeout', $1, true)", [
      String(Math.max(milliseconds, 1)),
    ]);
    const [size] = await session.query<{ bytes: number | null }>("select pg_table_size($1::oid) as bytes", [
      oid,
    ]);
    if (size?.bytes == null) throw new Error("it was dropped meanwhile");
    if (size.bytes <= hashUpToBytes) {
      const [row] = await session.query<{ hash: string }>("select pgkeep.table_hash($1::oid) as hash", [oid]);
      if (row !== undefined) {
        entry.hash = row.hash;
        entry.rows = Number(row.hash.split(":")[0]);
      }
    } else {
      const [row] = await session.query<{ rows: number }>("select pgkeep.table_rows($1::oid) as rows", [oid]);
      if (row !== undefined) entry.rows = row.rows;
    }
    await session.query("release savepoint contents");
    return undefined;
  } catch (error) {
    await session.query("rollback to savepoint contents");
    return hasSqlState(error, SqlState.queryCanceled)
      ? "reading it would have taken more than the budget"
      : errorMessage(error);
  }
}
