import { PgkeepError } from "../../errors.ts";
import { readTableHistory } from "../../history/read.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText } from "../../words.ts";
import { readTables, type TableEntry } from "../indexes/tables.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";

export interface CandidateLimits {
  /** Smaller ones are vacuumed, copied and indexed in time as they are. */
  smallestBytes: number;
  fewestRows: number;
}

/** Rows come in the order of their time: what is old lies together, and could go together. */
const orderedCorrelation = 0.9;
/** Of what is inserted; more, and old rows are not finished. */
const updatedShare = 0.2;
const historyDays = 90;

interface Column {
  oid: number;
  column: string;
  correlation: number | null;
  isKey: boolean;
}

/** Large tables that grow by time, whose old rows could leave as partitions instead of by DELETE. */
export function partitioningCandidatesBeyond(limits: CandidateLimits): ReviewCheck {
  return {
    name: "partitioning-candidates",
    title: "Which tables would profit from partitions by time?",
    area: "space",
    needs: { primary: true },
    async run(context) {
      const tables = await readTables(context);
      const large = tables.all.filter(
        (one) =>
          one.kind === "r" &&
          one.parent === null &&
          (one.pages * tables.blockBytes >= limits.smallestBytes || one.rows >= limits.fewestRows),
      );
      const growing = large.filter((one) => one.inserted > 0 && one.updated <= one.inserted * updatedShare);
      const columns = await readTimeColumns(context, growing);
      const candidates = growing.flatMap((table) => {
        const ordered = columns.find(
          ({ oid, correlation }) => oid === table.oid && (correlation ?? 0) >= orderedCorrelation,
        );
        return ordered === undefined ? [] : [{ table, column: ordered }];
      });
      const growth = await readGrowth(
        context,
        candidates.map(({ table }) => table),
      );
      return concludeReview({
        findings: candidates.map(({ table, column }) =>
          finding(table, column, growth.get(table.oid), table.pages * tables.blockBytes),
        ),
        facts: { largeTables: large.length },
        good: large.length === 0 ? [] : ["No large table only grows by time without being partitioned."],
        obstacle:
          columns.length === 0 && growing.length > 0 && (await isHidden(context, growing))
            ? `the statistics of large tables are hidden from ${context.session.user}: GRANT pg_read_all_data TO ${identifier(context.session.user)};`
            : undefined,
      });
    },
  };
}

export const partitioningCandidates = partitioningCandidatesBeyond({
  smallestBytes: 50 * 2 ** 30,
  fewestRows: 200_000_000,
});

async function isHidden({ session }: ReviewContext, tables: readonly TableEntry[]): Promise<boolean> {
  const [row] = await session.query<{ hidden: boolean }>(
    "select bool_or(not has_table_privilege(oid, 'SELECT')) as hidden from unnest($1::oid[]) as t(oid)",
    [tables.map(({ oid }) => oid)],
  );
  return row?.hidden === true;
}

function readTimeColumns({ session }: ReviewContext, tables: readonly TableEntry[]): Promise<Column[]> {
  if (tables.length === 0) return Promise.resolve([]);
  return session.query<Column>(
    `select c.oid::int8 as oid, a.attname::text as column, s.correlation::float8 as correlation,
            exists (select from pg_index x where x.indrelid = c.oid and x.indisprimary and a.attnum = any (x.indkey)) as "isKey"
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attnotnull
         and a.atttypid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
       join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname and not s.inherited
      where c.oid = any ($1::oid[])
      order by c.oid, s.correlation desc nulls last, a.attnum`,
    [tables.map(({ oid }) => oid)],
  );
}

interface Growth {
  bytesPerDay: number;
  days: number;
}

/** From the history that pgkeep collects, where it does. */
async function readGrowth(
  { session, now }: ReviewContext,
  tables: readonly TableEntry[],
): Promise<Map<number, Growth>> {
  const found = new Map<number, Growth>();
  if (tables.length === 0) return found;
  const [row] = await session.query<{ readable: boolean }>(
    `select coalesce(bool_and(has_table_privilege(c.oid, 'select')) and count(*) = 3, false) as readable
       from pg_namespace n join pg_class c on c.relnamespace = n.oid
        and c.relname in ('history_day', 'history_table', 'history_table_before')
      where n.nspname = 'pgkeep' and has_schema_privilege(n.oid, 'usage')`,
  );
  if (row?.readable !== true) return found;
  try {
    const sinceDay = new Date(now.getTime() - historyDays * 86_400_000).toISOString().slice(0, 10);
    for (const { oid, samples } of await readTableHistory(session, {
      oids: tables.map((one) => one.oid),
      sinceDay,
    })) {
      const measured = samples.filter(({ bytes }) => bytes !== null);
      const [first, last] = [measured[0], measured.at(-1)];
      if (first === undefined || last === undefined || last.at - first.at < 1) continue;
      const days = last.at - first.at;
      found.set(oid, { bytesPerDay: ((last.bytes ?? 0) - (first.bytes ?? 0)) / days, days });
    }
  } catch (error) {
    // An older schema of pgkeep: the finding stands without the growth.
    if (!(error instanceof PgkeepError) || error.code === "unreachable") throw error;
  }
  return found;
}

function finding(
  table: TableEntry,
  { column, correlation, isKey }: Column,
  growth: Growth | undefined,
  bytes: number,
): ReviewFinding {
  const name = qualified(table.schema, table.table);
  return {
    check: "partitioning-candidates",
    key: `partitioning-candidates/${table.schema}.${table.table}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: table.schema, table: table.table, column },
    title: `${name} (${bytesText(bytes)}) grows by ${identifier(column)} and is one table`,
    evidence: {
      size: bytesText(bytes),
      rows: Math.round(table.rows),
      inserted: table.inserted,
      updated: table.updated,
      deleted: table.deleted,
      correlation: round(correlation ?? 0, 3),
      growthPerDay: growth === undefined ? null : bytesText(growth.bytesPerDay),
      growthMeasuredOverDays: growth === undefined ? null : Math.round(growth.days),
      partOfPrimaryKey: isKey,
    },
    impact:
      "Old rows leave by DELETE, which bloats it; each VACUUM, index build and dump takes all of it; its indexes outgrow memory.",
    blastRadius: `maintenance of ${name}; queries that want only recent rows`,
    rootCause: "It began small.",
    prevention: "Partition tables of events, logs and measurements by time from the start.",
    effort: "days",
    example: {
      before: `CREATE TABLE ${name} (…);`,
      after: `CREATE TABLE ${name} (…) PARTITION BY RANGE (${identifier(column)});`,
    },
    remediation: {
      sql: [
        `-- The primary key and each unique index must contain ${identifier(column)}${isKey ? ", as the primary key does" : ""}.`.replace(
          /\p{Cc}+/gu,
          " ",
        ),
        "-- 1. Beside it make a partitioned table of the same shape. 2. Give the old table a CHECK on its range, NOT VALID, and VALIDATE it.",
        "-- 3. In one short transaction rename both, and attach the old table as the partition of the past: the CHECK saves reading it.",
        "-- 4. Declare it under partitions.tables, so that pgkeep makes partitions ahead and retires old ones.",
      ].join("\n"),
      lock: "ACCESS EXCLUSIVE for the moment of the renaming; SHARE UPDATE EXCLUSIVE while the CHECK is validated",
      rollback: "detach the old table and rename both back, after moving the rows that came since",
    },
  };
}
