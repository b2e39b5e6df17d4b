import { errorMessage, PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { bytesText, countText, durationText } from "../../words.ts";
import type { Confidence } from "../check.ts";
import { readForeignKeys } from "../constraints/foreign-keys.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import {
  type IndexCatalogue,
  type IndexEntry,
  isIndispensable,
  readIndexCatalogue,
  treeOf,
} from "./catalogue.ts";
import { type Dropping, readDroppings } from "./definitions.ts";
import { covers } from "./foreign-key-cover.ts";
import { judgedAlready } from "./redundant-indexes.ts";
import { readTables, type Tables } from "./tables.ts";
import { readKnownSince, readUsageWindow } from "./usage-window.ts";
import { costText, largest, sizeSeverity, writesOf } from "./weigh.ts";

export interface UnusedLimits {
  /** Counters of fewer days say nothing: some work comes once a week. */
  shortestDays: number;
  /** A whole month and its end have been seen. */
  enoughDays: number;
  /** Read long ago and not since (16 and newer). */
  forgottenDays: number;
  /** Dropping smaller ones gains nothing. */
  smallestBytes: number;
}

const daySeconds = 86_400;

/** What the primary and every replica that was asked have in common. */
interface Usage {
  since: Date;
  windowSeconds: number;
  /** Standbys that are connected and not asked. */
  unasked: number;
  asked: string[];
  /** Scans on the replicas, by schema and name. */
  scans: ReadonlyMap<string, { scans: number; lastScanAt: Date | null }>;
}

/**
 * Indexes that no query has read in the whole window of the statistics, here and on every replica that was given.
 * Those that enforce something or serve the look-ups of a foreign key are needed without being read; those that another
 * check advises about (duplicate, redundant) are left to it.
 */
export function unusedIndexesWithin(limits: UnusedLimits): ReviewCheck {
  return {
    name: "unused-indexes",
    title: "Are there indexes that no query uses?",
    area: "indexes",
    needs: { primary: true },
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const { candidates, forForeignKeys } = await candidatesOf(context, catalogue, limits);
      const usage = await readUsage(context, candidates, catalogue);
      if (typeof usage === "string") return concludeReview({ obstacle: usage });
      if (usage.windowSeconds < limits.shortestDays * daySeconds) {
        return concludeReview({
          facts: { since: usage.since.toISOString(), days: Math.floor(usage.windowSeconds / daySeconds) },
          obstacle: `scans are counted since ${usage.since.toISOString()} only, ${durationText(usage.windowSeconds)}: ask again when that is ${limits.shortestDays} days (statistics are reset by pg_stat_reset(), by a crash and by a major upgrade)`,
        });
      }
      const unread = candidates.filter(
        (one) =>
          one.pages * tables.blockBytes >= limits.smallestBytes &&
          treeOf(one, catalogue).every((part) => isUnread(part, usage, context.now, limits)),
      );
      const listed = largest(unread, (one) => one.pages);
      const droppings = await readDroppings(context, catalogue, listed);
      const knownSince = unread.length === 0 ? () => undefined : await readKnownSince(context.session);
      return concludeReview({
        facts: {
          indexes: catalogue.indexes.length,
          unused: unread.length,
          notListed: unread.length - listed.length,
          since: usage.since.toISOString(),
          keptForForeignKeys: forForeignKeys,
        },
        findings: listed.flatMap((index) => {
          const dropping = droppings.get(index.oid);
          const known = knownSince(index.oid);
          return dropping === undefined
            ? []
            : [finding({ index, usage, dropping, known, tables, now: context.now, limits })];
        }),
        good:
          catalogue.indexes.length > 0
            ? [
                `Every index of some size is used, as counted since ${usage.since.toISOString().slice(0, 10)}.`,
              ]
            : [],
      });
    },
  };
}

const usual: UnusedLimits = {
  shortestDays: 7,
  enoughDays: 31,
  forgottenDays: 180,
  smallestBytes: 2 ** 20,
};

export const unusedIndexes = unusedIndexesWithin(usual);

/** Indexes that nothing has read lately, however short the window: what to do about them is for this check to say. */
export async function unreadIndexes(context: ReviewContext): Promise<Set<number>> {
  const { candidates } = await candidatesOf(context, await readIndexCatalogue(context), usual);
  return new Set(candidates.map(({ oid }) => oid));
}

async function candidatesOf(
  context: ReviewContext,
  catalogue: IndexCatalogue,
  limits: UnusedLimits,
): Promise<{ candidates: IndexEntry[]; forForeignKeys: number }> {
  const forgotten = forgottenBefore(context.now, limits);
  const judged = await judgedAlready(context);
  const unread = catalogue.indexes.filter(
    (one) =>
      !judged.has(one.oid) &&
      one.isUsable &&
      one.parent === null &&
      !one.isUnique &&
      !isIndispensable(one) &&
      (one.scans === 0 || (one.lastScanAt !== null && one.lastScanAt < forgotten)),
  );
  const going = new Set(unread.map((one) => one.oid));
  const kept = new Set<number>();
  for (const key of await readForeignKeys(context)) {
    const serving = (catalogue.byTable.get(key.tableOid) ?? []).filter((one) => covers(one, key));
    const [first] = serving;
    if (first !== undefined && serving.every((one) => going.has(one.oid))) kept.add(first.oid);
  }
  return { candidates: unread.filter((one) => !kept.has(one.oid)), forForeignKeys: kept.size };
}

function forgottenBefore(now: Date, { forgottenDays }: UnusedLimits): Date {
  return new Date(now.getTime() - forgottenDays * daySeconds * 1000);
}

function isUnread(part: IndexEntry, usage: Usage, now: Date, limits: UnusedLimits): boolean {
  const there = usage.scans.get(qualified(part.schema, part.index));
  if (there === undefined || there.scans === 0) return true;
  return there.lastScanAt !== null && there.lastScanAt < forgottenBefore(now, limits);
}

/** Why nothing can be said, as text, when a replica that was named does not answer. */
async function readUsage(
  { session, window, replicas, now }: ReviewContext,
  candidates: readonly IndexEntry[],
  catalogue: IndexCatalogue,
): Promise<Usage | string> {
  let since = await readUsageWindow(session, window);
  const parts = candidates.flatMap((one) => treeOf(one, catalogue)).filter((one) => !one.isPartitioned);
  const scans = new Map<string, { scans: number; lastScanAt: Date | null }>();
  for (const replica of replicas) {
    try {
      const theirs = await readUsageWindow(replica.session);
      if (theirs > since) since = theirs;
      for (const row of await scansOn(replica.session, parts)) {
        const name = qualified(row.schema, row.index);
        const known = scans.get(name);
        const last = [known?.lastScanAt, row.lastScanAt].filter((one) => one !== null && one !== undefined);
        scans.set(name, {
          scans: (known?.scans ?? 0) + row.scans,
          lastScanAt: last.sort((a, b) => b.getTime() - a.getTime())[0] ?? null,
        });
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
    windowSeconds: Math.max(0, (now.getTime() - since.getTime()) / 1000),
    unasked: Math.max(0, (standbys?.connected ?? 0) - replicas.length),
    asked: replicas.map(({ name }) => name),
    scans,
  };
}

interface Scanned {
  schema: string;
  index: string;
  scans: number;
  lastScanAt: Date | null;
}

/** By name, because a logical replica has other numbers. */
function scansOn(session: Session, parts: readonly IndexEntry[]): Promise<Scanned[]> {
  if (parts.length === 0) return Promise.resolve([]);
  const last =
    majorOf(session.serverVersionNumber) >= 16 ? "pg_stat_get_lastscan(c.oid)" : "null::timestamptz";
  return session.query<Scanned>(
    `select wanted.schema, wanted.index, pg_stat_get_numscans(c.oid)::int8 as scans, ${last} as "lastScanAt"
       from unnest($1::text[], $2::text[]) as wanted(schema, index)
       join pg_namespace n on n.nspname = wanted.schema
       join pg_class c on c.relnamespace = n.oid and c.relname = wanted.index`,
    [parts.map((one) => one.schema), parts.map((one) => one.index)],
  );
}

interface Unused {
  index: IndexEntry;
  usage: Usage;
  dropping: Dropping;
  known: Date | undefined;
  tables: Tables;
  now: Date;
  limits: UnusedLimits;
}

function confidenceOf({ index, usage, known, now, limits }: Unused): Confidence {
  const enough = limits.enoughDays * daySeconds;
  const age = known === undefined ? -1 : (now.getTime() - known.getTime()) / 1000;
  const hasExpression = index.keys.some((key) => key.expression !== null);
  const isSure = usage.windowSeconds >= enough && age >= enough && usage.unasked === 0 && !hasExpression;
  return isSure ? "likely" : "suspected";
}

function finding(unused: Unused): ReviewFinding {
  const { index, usage, dropping, known, tables } = unused;
  const { schema, table } = index;
  const name = qualified(schema, index.index);
  const bytes = index.pages * tables.blockBytes;
  const writes = writesOf(tables.byOid.get(index.tableOid));
  const since = (index.lastScanAt ?? usage.since).toISOString();
  const where = usage.asked.length === 0 ? "" : `, and none on ${usage.asked.join(", ")}`;
  const unasked =
    usage.unasked === 0
      ? ""
      : ` ${countText(usage.unasked, "standby", "standbys")} not asked, with queries of its own: name it with --replica.`;
  const estimates = index.keys.some((key) => key.expression !== null)
    ? " ANALYZE also collects statistics of its expression, which plans may rely on."
    : "";
  return {
    check: "unused-indexes",
    key: `unused-indexes/${schema}.${index.index}`,
    severity: sizeSeverity(bytes),
    confidence: confidenceOf(unused),
    object: { schema, table, index: index.index },
    title: `no query has used index ${name} since ${since.slice(0, 10)}`,
    evidence: {
      scans: index.scans,
      lastUsed: index.lastScanAt?.toISOString() ?? null,
      countedSince: usage.since.toISOString(),
      window: durationText(usage.windowSeconds),
      existsAtLeastSince: known?.toISOString() ?? null,
      size: bytesText(bytes),
      writesToTheTable: writes,
      replicasAsked: usage.asked,
      standbysNotAsked: usage.unasked,
    },
    impact: `${costText(bytes, writes)}${unasked}${estimates}`,
    blastRadius: `writes to ${qualified(schema, table)}`,
    rootCause: "The query that it was made for is gone, or was never planned with it.",
    prevention: "Prove an index with the plan of the query that it is for; look at this list each quarter.",
    effort: "minutes",
    since,
    remediation: { sql: dropping.sql, lock: dropping.lock, rollback: dropping.rollback },
    ...(dropping.fix === undefined
      ? {}
      : {
          fix: {
            ...dropping.fix,
            proof: [
              `no scan on the primary${where} since ${since} (${durationText(usage.windowSeconds)} of statistics)`,
              `${bytesText(bytes)} are freed`,
            ],
          },
        }),
  };
}
