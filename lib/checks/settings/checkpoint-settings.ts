import { bytesText, durationText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding } from "./server-settings.ts";

/** Too few say nothing about what is usual. */
const enoughCheckpoints = 20;
/** PostgreSQL means most of them to come by time ("WAL Configuration"): each early one writes whole pages anew. */
const manyRequestedShare = 0.3;

/** Whether checkpoints come by time and are spread out. */
export const checkpointSettings: ReviewCheck = {
  name: "checkpoint-settings",
  title: "Do checkpoints come by time, and gently?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const { session, now } = context;
    const [row] = await session.query<{ timed: number; requested: number; since: Date | null }>(
      session.serverVersionNumber >= 170_000
        ? `select num_timed as timed, num_requested as requested, stats_reset as since from pg_stat_checkpointer`
        : `select checkpoints_timed as timed, checkpoints_req as requested, stats_reset as since from pg_stat_bgwriter`,
    );
    const timed = row?.timed ?? 0;
    const requested = row?.requested ?? 0;
    const total = timed + requested;
    const faults: SettingFault[] = [];
    if (settings.number("checkpoint_timeout") < 300) {
      faults.push({
        name: "checkpoint_timeout",
        wanted: "15min",
        severity: "medium",
        confidence: "likely",
        title: `a checkpoint comes at least every ${durationText(settings.number("checkpoint_timeout"))}`,
        impact:
          "Each page that changes after a checkpoint is written whole to the WAL: much more WAL, archive and replication traffic",
        rootCause: "lowered to shorten recovery",
        prevention: "measure recovery with restore drills before paying for it with WAL",
      });
    }
    if (total >= enoughCheckpoints && requested / total > manyRequestedShare) {
      faults.push({
        name: "max_wal_size",
        wanted: `${Math.max(4096, settings.number("max_wal_size") * 2)}MB`,
        severity: "medium",
        confidence: "likely",
        title: `${round((100 * requested) / total)} % of checkpoints come early, because max_wal_size is reached or somebody asks`,
        impact:
          "Writes come in bursts, and each page that changes after a checkpoint is written whole to the WAL",
        rootCause: `the WAL of one checkpoint_timeout does not fit into ${bytesText(settings.bytes("max_wal_size"))}`,
        prevention: "watch the share of requested checkpoints when the write load grows",
        evidence: { timed, requested, since: row?.since?.toISOString() ?? null },
      });
    }
    if (settings.number("checkpoint_completion_target") < 0.7) {
      faults.push({
        name: "checkpoint_completion_target",
        wanted: "0.9",
        severity: "low",
        confidence: "certain",
        title: `checkpoints write within ${round(settings.number("checkpoint_completion_target") * 100)} % of their interval`,
        impact: "The disk is flooded for a while and idle afterwards",
        rootCause: "the default of versions before 14, carried along",
        prevention: "compare the configuration with the defaults after each upgrade",
      });
    }
    const hours = row?.since == null ? null : (now.getTime() - row.since.getTime()) / 3_600_000;
    return concludeReview({
      findings: faults.map((fault) => settingFinding("checkpoint-settings", settings, fault)),
      facts: { timed, requested, hours: hours === null ? null : round(hours) },
      good: ["Checkpoints come by time and are spread over it."],
      obstacle:
        faults.length === 0 && total < enoughCheckpoints
          ? `only ${total} checkpoints were counted since the statistics began; ${enoughCheckpoints} tell what is usual`
          : undefined,
    });
  },
};
