import { durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { readDatabaseTotals } from "./database-counters.ts";
import { conclude, metric, round } from "./outcome.ts";
import { differenceSince } from "./samples.ts";

/** Fewer block reads than this (8 MiB) say nothing about a ratio. */
const leastReads = 1000;

/**
 * Share of block reads that shared buffers answered since the previous sample; the lifetime ratio hides
 * every change. Limit: `health.cacheHitPercent`. A miss may still come from the operating system's cache.
 */
export const cacheHitRatio: Check = {
  name: "cache-hit-ratio",
  title: "Are reads answered from memory?",
  async run(context) {
    const { totals, resetAt } = await readDatabaseTotals(context.session);
    const counters = totals;
    const difference = differenceSince(context, totals, resetAt);
    if (!difference.comparable) return conclude({ obstacle: difference.reason, counters });
    const hit = difference.of("BlocksHit");
    const read = difference.of("BlocksRead");
    const facts = { blocksHit: hit, blocksRead: read, seconds: Math.round(difference.seconds) };
    if (hit + read < leastReads) {
      return conclude({
        obstacle: `only ${hit + read} block reads in ${durationText(difference.seconds)}: too few for a ratio (${leastReads} are needed)`,
        facts,
        counters,
      });
    }
    const percent = (100 * hit) / (hit + read);
    const limit = context.config.health.cacheHitPercent;
    return conclude({
      counters,
      facts: { ...facts, hitPercent: round(percent, 2), limitPercent: limit },
      metrics: [metric("CacheHitPercent", round(percent, 2))],
      findings:
        percent >= limit
          ? []
          : [
              {
                check: "cache-hit-ratio",
                key: "cache-hit-ratio",
                severity: percent < limit / 2 ? "medium" : "low",
                confidence: "likely",
                object: { name: context.session.database },
                title: `shared buffers answered ${round(percent)} % of the block reads of the last ${durationText(difference.seconds)}`,
                evidence: { ...facts, hitPercent: round(percent, 2), limitPercent: limit },
                impact:
                  "Reads go to the operating system and the disk: statements become slower, and storage has to carry the reads.",
                blastRadius: "statements that read what does not fit",
                remediation: {
                  sql: "-- which tables are read from outside shared buffers\nSELECT relid::regclass, heap_blks_read, heap_blks_hit FROM pg_statio_user_tables ORDER BY heap_blks_read DESC LIMIT 10;",
                  lock: "none",
                  rollback: "none needed",
                },
              },
            ],
    });
  },
};
