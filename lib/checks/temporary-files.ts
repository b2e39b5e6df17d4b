import { bytesText, durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { readDatabaseTotals } from "./database-counters.ts";
import { conclude, metric, round } from "./outcome.ts";
import { differenceSince } from "./samples.ts";

/** A tenth of the 125 MiB/s that a gp3 volume gives without extra charge (Amazon EBS documentation). */
const bytesPerSecondLimit = (125 * 1024 * 1024) / 10;

/** Bytes that sorts, hashes and materialisations wrote to disk since the previous sample. */
export const temporaryFiles: Check = {
  name: "temporary-files",
  title: "Do statements spill to disk?",
  async run(context) {
    const { totals, resetAt } = await readDatabaseTotals(context.session);
    const difference = differenceSince(context, totals, resetAt);
    if (!difference.comparable) return conclude({ obstacle: difference.reason, counters: totals });
    const written = difference.of("TemporaryBytes");
    const files = difference.of("TemporaryFiles");
    const perSecond = written / Math.max(1, difference.seconds);
    const facts = {
      files,
      bytes: written,
      bytesPerSecond: Math.round(perSecond),
      limitBytesPerSecond: bytesPerSecondLimit,
      seconds: round(difference.seconds),
    };
    return conclude({
      counters: totals,
      facts,
      metrics: [metric("TemporaryBytes", written), metric("TemporaryFiles", files)],
      findings:
        perSecond < bytesPerSecondLimit
          ? []
          : [
              {
                check: "temporary-files",
                key: "temporary-files",
                severity: "medium",
                confidence: "certain",
                object: { name: context.session.database },
                title: `statements wrote ${bytesText(written)} of temporary files in the last ${durationText(difference.seconds)}`,
                evidence: facts,
                impact: "Sorts and hashes that do not fit in work_mem take the disk's throughput and space.",
                blastRadius: "everything that reads or writes the same disk",
                remediation: {
                  sql: "-- which statements (needs the extension pg_stat_statements)\nSELECT queryid, calls, temp_blks_written, left(query, 200) FROM pg_stat_statements ORDER BY temp_blks_written DESC LIMIT 10;",
                  lock: "none",
                  rollback: "none needed; raise work_mem for the role that needs it, not for all",
                },
              },
            ],
    });
  },
};
