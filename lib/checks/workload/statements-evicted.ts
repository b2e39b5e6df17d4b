import { countText, durationText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { isMissing } from "./common.ts";
import { workloadOf } from "./statements.ts";

/** Each time the least used twentieth leaves (`entry_dealloc` in pg_stat_statements.c): once a day is the odd job. */
const oftenPerDay = 1;
/** Entries that servers with many kinds of statements need; 10,000 take about 5 MB of shared memory. */
const roomy = 10_000;

/** Statements that were forgotten for lack of room: what the review says of the workload leaves them out. */
export const statementsEvicted: ReviewCheck = {
  name: "statements-evicted",
  title: "Were statements forgotten before anybody looked?",
  area: "workload",
  async run(context) {
    const { session } = context;
    const workload = await workloadOf(context);
    if (isMissing(workload)) return concludeReview({ obstacle: workload.reason });
    const { evictions, seconds, since } = workload;
    if (evictions === null) {
      return concludeReview({
        obstacle: `pg_stat_statements 1.${workload.view.minor} does not tell: ALTER EXTENSION pg_stat_statements UPDATE;`,
      });
    }
    const [row] = await session.query<{ max: number; track: string; utility: string }>(
      `select current_setting('pg_stat_statements.max')::int as max, current_setting('pg_stat_statements.track') as track,
              current_setting('pg_stat_statements.track_utility') as utility`,
    );
    const max = row?.max ?? 5_000;
    const perDay = evictions / Math.max(1, (seconds ?? 0) / 86_400);
    const facts = { evictions, max, since: since?.toISOString() ?? null, trackUtility: row?.utility ?? null };
    if (evictions === 0 || perDay < oftenPerDay) {
      return concludeReview({
        facts,
        good: evictions === 0 ? [`pg_stat_statements has room for every statement (${max}).`] : [],
      });
    }
    const wanted = Math.max(roomy, max * 2);
    return concludeReview({
      facts,
      findings: [
        {
          check: "statements-evicted",
          key: "statements-evicted/pg_stat_statements.max",
          severity: "low",
          confidence: "certain",
          object: { name: "pg_stat_statements.max" },
          title: `pg_stat_statements had to forget statements ${countText(evictions, "time")}`,
          evidence: { ...facts, evictionsPerDay: round(perDay) },
          impact: `With room for ${max} statements, the least used were forgotten ${countText(evictions, "time")}${seconds === null ? "" : ` in ${durationText(seconds)}`}: what is said of queries leaves them out.`,
          blastRadius: "only what is known of the workload; each time costs the server a moment",
          rootCause:
            "More kinds of statements run than it has room for: often names made up for each call (temporary tables, savepoints, cursors), or lists of values before 18.",
          prevention: "Keep made-up names out of statements; give lists as one array (= ANY($1)).",
          effort: "minutes",
          ...(since === null ? {} : { since: since.toISOString() }),
          remediation: {
            sql: `ALTER SYSTEM SET pg_stat_statements.max = ${wanted};`,
            lock: "none; it takes effect when the server is restarted (on a managed server, in its parameter group)",
            rollback: "ALTER SYSTEM RESET pg_stat_statements.max;",
          },
        },
      ],
    });
  },
};
