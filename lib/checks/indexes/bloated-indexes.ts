import { qualified } from "../../postgres/identifiers.ts";
import { deduplicatesSql, type IndexFacts } from "../../reindex/index-facts.ts";
import { type MeasuredBloat, measureAll } from "../../reindex/measure.ts";
import { estimateAll } from "../../reindex/statistics.ts";
import { bytesText, countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

export interface BloatLimits {
  /** The rebuild of a smaller one frees nothing that matters. */
  leastBytes: number;
  /** A B-tree settles at about two thirds under random writes (Yao, "On random 2–3 trees"): less free space is normal. */
  leastPercent: number;
  leastWastedBytes: number;
  /** With so much to gain it is worth doing soon. */
  muchWastedBytes: number;
}

/** So many of the largest are estimated, and so many of those measured. */
const estimated = 500;
const measured = 20;
/** Of the review's budget, measuring may take this share, and never more than so many seconds. */
const budgetShare = 0.25;
const mostSeconds = 10;

type Facts = Pick<
  IndexFacts,
  | "oid"
  | "schema"
  | "index"
  | "table"
  | "method"
  | "pages"
  | "isPartial"
  | "indexTuples"
  | "tableTuples"
  | "liveTuples"
  | "fillFactor"
  | "deduplicates"
>;

interface Suspect {
  index: Facts;
  /** What a rebuild frees at least and at most, by the statistics alone; percent. */
  least: number;
  most: number;
  measurement: MeasuredBloat | undefined;
  /** Why it was not measured. */
  unmeasured: string | undefined;
}

/**
 * B-trees that a rebuild would make much smaller. Estimated from the statistics between two limits, then read with
 * `pgstatindex` as far as the budget allows; what was not read is only suspected, and only when even the lower limit
 * says so.
 */
export function bloatedIndexesBeyond(limits: BloatLimits): ReviewCheck {
  return {
    name: "bloated-indexes",
    title: "Are there indexes that a rebuild would make much smaller?",
    area: "indexes",
    async run(context) {
      const { session } = context;
      const [block] = await session.query<{ size: number }>(
        "select current_setting('block_size')::int as size",
      );
      const blockBytes = block?.size ?? 8192;
      const large = await session.query<Facts>(largestQuery, [
        Math.floor(limits.leastBytes / blockBytes),
        estimated,
      ]);
      const estimates = await estimateAll(session, large, blockBytes);
      const suspects = large
        .map((index) => ({ index, range: estimates.get(index.oid) ?? { leastPercent: 0, mostPercent: 0 } }))
        .filter(({ range }) => range.mostPercent >= limits.leastPercent)
        .sort((a, b) => gain(b.index, b.range) - gain(a.index, a.range))
        .map(({ index, range }) => ({ index, least: range.leastPercent, most: range.mostPercent }));
      const { results, obstacle } = await confirm(context, suspects, blockBytes);
      const found = results.filter((one) => isBloated(one, limits, blockBytes));
      const unsure = results.filter((one) => one.measurement === undefined && !found.includes(one));
      return concludeReview({
        facts: {
          largeIndexes: large.length,
          suspected: suspects.length,
          measured: results.length - unsure.length,
        },
        findings: found.map((one) => finding(one, limits, blockBytes)),
        good: large.length > 0 ? ["No large index is mostly empty."] : [],
        obstacle:
          unsure.length === 0
            ? undefined
            : `of ${countText(unsure.length, "index", "indexes")} the statistics say too little, and they were not measured: ${obstacle ?? "the budget was used up; give more with --budget"}`,
      });
    },
  };
}

export const bloatedIndexes = bloatedIndexesBeyond({
  leastBytes: 10 * 2 ** 20,
  leastPercent: 50,
  leastWastedBytes: 10 * 2 ** 20,
  muchWastedBytes: 2 ** 30,
});

const largestQuery = `
  select i.oid::int8 as oid, n.nspname::text as schema, i.relname::text as index, c.relname::text as table,
         'btree' as method, i.relpages::int8 as pages, x.indpred is not null as "isPartial",
         i.reltuples::float8 as "indexTuples", c.reltuples::float8 as "tableTuples",
         pg_stat_get_live_tuples(c.oid)::int8 as "liveTuples",
         coalesce((select o.option_value::int from pg_options_to_table(i.reloptions) o where o.option_name = 'fillfactor'), 90)
           as "fillFactor",
         ${deduplicatesSql("i", "x")} as deduplicates
    from pg_index x
    join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
    join pg_am am on am.oid = i.relam and am.amname = 'btree'
    join pg_class c on c.oid = x.indrelid
    join pg_namespace n on n.oid = c.relnamespace
   where x.indisvalid and x.indisready and x.indislive and i.relpages >= $1 and ${userRelation()}
   order by i.relpages desc, i.oid limit $2`;

function gain(index: Facts, range: { mostPercent: number }): number {
  return index.pages * range.mostPercent;
}

async function confirm(
  context: ReviewContext,
  suspects: readonly Omit<Suspect, "measurement" | "unmeasured">[],
  blockBytes: number,
): Promise<{ results: Suspect[]; obstacle: string | undefined }> {
  const { session, budget, signal } = context;
  const chosen = suspects.slice(0, measured);
  if (chosen.length === 0) return { results: [], obstacle: undefined };
  const [before] = await session.query<{ limit: string }>(
    "select current_setting('statement_timeout') as limit",
  );
  const seconds = Math.min(mostSeconds, (budget.left() / 1000) * budgetShare);
  try {
    const { measured: measurements, unmeasured } = await measureAll(
      session,
      chosen.map(({ index }) => index),
      { budgetSeconds: seconds, blockBytes, deadline: signal, progress: () => {} },
    );
    const results = suspects.map((one) => ({
      ...one,
      measurement: measurements.get(one.index.oid),
      unmeasured: reason(unmeasured.get(one.index.oid)),
    }));
    return { results, obstacle: reason([...unmeasured.values()][0]) };
  } finally {
    // Measuring has given the session a limit of its own.
    await session.query("select set_config('statement_timeout', $1, false)", [before?.limit ?? "0"]);
  }
}

/** The job reindex speaks of its own setting. */
function reason(unmeasured: string | undefined): string | undefined {
  return unmeasured?.replace("measureSeconds", "the budget for measuring");
}

function isBloated({ index, least, measurement }: Suspect, limits: BloatLimits, blockBytes: number): boolean {
  const percent = measurement?.percent ?? least;
  const wasted = measurement?.wastedBytes ?? (index.pages * blockBytes * least) / 100;
  return percent >= limits.leastPercent && wasted >= limits.leastWastedBytes;
}

function finding(
  { index, least, most, measurement, unmeasured }: Suspect,
  limits: BloatLimits,
  blockBytes: number,
): ReviewFinding {
  const { schema, table } = index;
  const name = qualified(schema, index.index);
  const bytes = index.pages * blockBytes;
  const percent = Math.round(measurement?.percent ?? least);
  const wasted = measurement?.wastedBytes ?? (bytes * least) / 100;
  const sql = `REINDEX INDEX CONCURRENTLY ${name};`;
  const shown =
    measurement === undefined
      ? `at least ${percent} % by the statistics`
      : `${percent} %, read with pgstatindex`;
  return {
    check: "bloated-indexes",
    key: `bloated-indexes/${schema}.${index.index}`,
    severity: wasted >= limits.muchWastedBytes ? "medium" : "low",
    confidence: measurement === undefined ? "suspected" : "certain",
    object: { schema, table, index: index.index },
    title: `a rebuild of index ${name} would free ${bytesText(wasted)} of ${bytesText(bytes)}`,
    evidence: {
      size: bytesText(bytes),
      freedByRebuild: bytesText(wasted),
      freedPercent: percent,
      estimatedPercent: `${Math.round(least)}–${Math.round(most)}`,
      leafDensityPercent: measurement?.leafDensity ?? null,
      ...(unmeasured === undefined ? {} : { notMeasuredBecause: unmeasured }),
    },
    impact: `${bytesText(wasted)} of mostly empty pages are cached, backed up and read with the rest.`,
    blastRadius: `queries that read ${name}; the cache that all share`,
    rootCause:
      "Many of its rows were deleted or updated, and what was left of its pages could not be used again.",
    prevention:
      "Let autovacuum keep up with the table, delete by dropping partitions, and run the job reindex on its schedule.",
    effort: "minutes",
    remediation: {
      sql,
      lock: `SHARE UPDATE EXCLUSIVE on the table; it needs ${bytesText(bytes - wasted)} of free disk meanwhile`,
      rollback: "none needed: the definition stays the same",
    },
    fix: { up: [sql], down: [], proof: [`${bytesText(bytes)}, of which ${shown} would be freed`] },
  };
}
