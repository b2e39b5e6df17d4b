import { errorMessage, PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import { type IndexCatalogue, readIndexCatalogue } from "../indexes/catalogue.ts";
import { readTables, type TableEntry, type Tables } from "../indexes/tables.ts";
import { readUsageWindow } from "../indexes/usage-window.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";

export interface UnusedTableLimits {
  /** A whole month and its end have been seen. */
  shortestDays: number;
  /** Dropping smaller ones gains nothing. */
  smallestBytes: number;
}

const daySeconds = 86_400;
const largeBytes = 10 * 2 ** 30;

/**
 * Large tables that nothing has read or written since the statistics began, here and on every replica that was given.
 * What is written and never read may be an audit trail, and is left out; what a dump reads counts as read.
 */
export function unusedTablesWithin(limits: UnusedTableLimits): ReviewCheck {
  return {
    name: "unused-tables",
    title: "Are there large tables that nobody uses?",
    area: "space",
    needs: { primary: true },
    async run(context) {
      const tables = await readTables(context);
      const catalogue = await readIndexCatalogue(context);
      const large = tables.all.filter(
        (one) => one.parent === null && one.pages * tables.blockBytes >= limits.smallestBytes,
      );
      const idle = large.filter((one) => isIdle(one, tables, catalogue));
      if (idle.length === 0) {
        return concludeReview({
          facts: { largeTables: large.length },
          good: large.length === 0 ? [] : ["Every large table is used."],
        });
      }
      const usage = await readReplicas(context, idle, tables);
      if (typeof usage === "string") return concludeReview({ obstacle: usage });
      const seconds = Math.max(0, (context.now.getTime() - usage.since.getTime()) / 1000);
      if (seconds < limits.shortestDays * daySeconds) {
        return concludeReview({
          facts: { since: usage.since.toISOString(), idleUntilNow: idle.length },
          obstacle: `reads are counted since ${usage.since.toISOString()} only, ${durationText(seconds)}: ask again when that is ${limits.shortestDays} days`,
        });
      }
      const unused = idle.filter((one) =>
        leaves(one, tables).every(
          ({ schema, table }) => (usage.reads.get(qualified(schema, table)) ?? 0) === 0,
        ),
      );
      return concludeReview({
        findings: unused.map((one) => finding(one, usage, seconds, tables)),
        facts: { largeTables: large.length, since: usage.since.toISOString() },
        good: ["Every large table is used."],
      });
    },
  };
}

export const unusedTables = unusedTablesWithin({ shortestDays: 31, smallestBytes: 100 * 2 ** 20 });

const leaves = (table: TableEntry, tables: Tables): TableEntry[] =>
  table.kind === "p" ? tables.leavesOf(table) : [table];

function isIdle(table: TableEntry, tables: Tables, catalogue: IndexCatalogue): boolean {
  return (
    table.sequentialScans + table.inserted + table.updated + table.deleted === 0 &&
    [table, ...tables.leavesOf(table)].every((one) =>
      (catalogue.byTable.get(one.oid) ?? []).every(({ scans }) => scans === 0),
    )
  );
}

interface Usage {
  since: Date;
  asked: string[];
  unasked: number;
  /** Scans on the replicas, by quoted name. */
  reads: ReadonlyMap<string, number>;
}

/** As text: why nothing can be said. */
async function readReplicas(
  { session, window, replicas, replicasUnseen }: ReviewContext,
  idle: readonly TableEntry[],
  tables: Tables,
): Promise<Usage | string> {
  let since = await readUsageWindow(session, window);
  const wanted = idle.flatMap((one) => leaves(one, tables));
  const reads = new Map<string, number>();
  for (const replica of replicas) {
    try {
      const theirs = await readUsageWindow(replica.session);
      if (theirs > since) since = theirs;
      for (const { schema, table, scans } of await readsOn(replica.session, wanted)) {
        const name = qualified(schema, table);
        reads.set(name, (reads.get(name) ?? 0) + scans);
      }
    } catch (error) {
      if (!(error instanceof PgkeepError)) throw error;
      return `the replica ${replica.name} could not be asked, and what it reads is unknown: ${errorMessage(error)}`;
    }
  }
  const [standbys] = await session.query<{ connected: number }>(
    "select count(*)::int as connected from pg_stat_replication",
  );
  return {
    since,
    asked: replicas.map(({ name }) => name),
    unasked: Math.max(replicasUnseen.length, (standbys?.connected ?? 0) - replicas.length, 0),
    reads,
  };
}

function readsOn(session: Session, wanted: readonly TableEntry[]) {
  return session.query<{ schema: string; table: string; scans: number }>(
    `select w.schema, w.name as table,
            (pg_stat_get_numscans(c.oid) + coalesce((select sum(pg_stat_get_numscans(x.indexrelid)) from pg_index x
                                                      where x.indrelid = c.oid), 0))::int8 as scans
       from unnest($1::text[], $2::text[]) as w(schema, name)
       join pg_namespace n on n.nspname = w.schema join pg_class c on c.relnamespace = n.oid and c.relname = w.name`,
    [wanted.map((one) => one.schema), wanted.map((one) => one.table)],
  );
}

function finding(table: TableEntry, usage: Usage, seconds: number, tables: Tables): ReviewFinding {
  const name = qualified(table.schema, table.table);
  const bytes = table.pages * tables.blockBytes;
  const kind = table.kind === "m" ? "MATERIALIZED VIEW" : "TABLE";
  const retired = identifier(`${table.table}_unused`.slice(0, 63));
  const unasked =
    usage.unasked === 0
      ? ""
      : ` ${countText(usage.unasked, "standby", "standbys")} not asked: name each with --replica.`;
  return {
    check: "unused-tables",
    key: `unused-tables/${table.schema}.${table.table}`,
    severity: bytes >= largeBytes ? "medium" : "low",
    confidence: "suspected",
    object: { schema: table.schema, table: table.table },
    title: `nothing has read or written ${name} (${bytesText(bytes)}) since ${usage.since.toISOString().slice(0, 10)}`,
    evidence: {
      size: bytesText(bytes),
      rows: Math.round(table.rows),
      countedSince: usage.since.toISOString(),
      window: durationText(seconds),
      replicasAsked: usage.asked,
      standbysNotAsked: usage.unasked,
    },
    impact: `It takes ${bytesText(bytes)} on disk, in backups and on replicas.${unasked}`,
    blastRadius: "disk, backups and the time that restores take",
    rootCause: "A copy from a migration, an archive, or a feature that is gone.",
    prevention: "Name copies with the date on which they may go; look at this list each quarter.",
    effort: "hours",
    since: usage.since.toISOString(),
    remediation: {
      sql: `-- Dump it (pg_dump -t), rename it, and drop it when nobody has missed it for a month:\nALTER ${kind} ${name} RENAME TO ${retired};`,
      lock: "ACCESS EXCLUSIVE on it for a moment",
      rollback: `ALTER ${kind} ${identifier(table.schema)}.${retired} RENAME TO ${identifier(table.table)};`,
    },
  };
}
