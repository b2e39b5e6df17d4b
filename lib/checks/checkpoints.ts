import { durationText } from "../words.ts";
import type { Check, CheckContext } from "./check.ts";
import { conclude, metric, round } from "./outcome.ts";
import { differenceSince } from "./samples.ts";

interface Checkpoints {
  resetAt: Date | null;
  timed: number;
  requested: number;
  /** Position in the WAL, as a number of bytes. */
  walBytes: number;
  timeoutSeconds: number;
  completionTarget: number;
  maxWalSizeMegabytes: number;
}

/**
 * Checkpoints since the previous sample. Those that WAL volume forces should be the exception: the
 * documentation ("WAL Configuration") has `max_wal_size` raised when they come often. A finding when two or
 * more came at less than half of `checkpoint_timeout` on average.
 *
 * The server counts those of backups, CREATE DATABASE and CHECKPOINT among the requested ones. Volume forces
 * one each `max_wal_size / (1 + checkpoint_completion_target)` (`CalculateCheckpointSegments`, xlog.c): no
 * more can be its doing than the WAL written in between allows.
 */
export const checkpoints: Check = {
  name: "checkpoints",
  title: "Does the volume of WAL force checkpoints?",
  async run(context) {
    const row = await readCheckpoints(context);
    // These statistics are reset apart from the database's, so their own time of reset goes with them.
    const resetAt = row.resetAt?.getTime() ?? 0;
    const totals = {
      CheckpointsTimed: row.timed,
      CheckpointsRequested: row.requested,
      "checkpoints.resetAt": resetAt,
      "checkpoints.walBytes": row.walBytes,
    };
    const before = context.previous?.counters["checkpoints.resetAt"];
    const difference = differenceSince(
      context,
      totals,
      row.resetAt,
      before === undefined || before === 0 ? null : new Date(before),
    );
    if (!difference.comparable) return conclude({ obstacle: difference.reason, counters: totals });
    const requested = difference.of("CheckpointsRequested");
    const timed = difference.of("CheckpointsTimed");
    const walBytes = difference.of("checkpoints.walBytes");
    const bytesBetween = (row.maxWalSizeMegabytes * 1024 ** 2) / (1 + row.completionTarget);
    const byVolume = Math.min(requested, Math.floor(walBytes / bytesBetween));
    const meanSeconds = byVolume === 0 ? null : difference.seconds / byVolume;
    const facts = {
      timed,
      requested,
      byVolume,
      walBytes,
      seconds: round(difference.seconds),
      meanSecondsBetween: meanSeconds === null ? null : round(meanSeconds),
      checkpointTimeoutSeconds: row.timeoutSeconds,
      maxWalSizeMegabytes: row.maxWalSizeMegabytes,
    };
    const tooOften = byVolume >= 2 && meanSeconds !== null && meanSeconds < row.timeoutSeconds / 2;
    return conclude({
      counters: totals,
      facts,
      metrics: [metric("CheckpointsTimed", timed), metric("CheckpointsRequested", requested)],
      findings: !tooOften
        ? []
        : [
            {
              check: "checkpoints",
              key: "checkpoints/by-volume",
              severity: "low",
              confidence: "likely",
              object: {},
              title: `the volume of WAL forced ${byVolume} checkpoints in the last ${durationText(difference.seconds)}, one each ${durationText(meanSeconds ?? 0)}`,
              evidence: facts,
              impact:
                "Each writes all changed pages, and after it every page goes whole into the WAL: more writing of everything.",
              blastRadius: "the whole server's writes",
              remediation: {
                sql: `-- more WAL between two (on a managed server, in its parameter group):\nALTER SYSTEM SET max_wal_size = '${row.maxWalSizeMegabytes * 2}MB';\nSELECT pg_reload_conf();`,
                lock: "none",
                rollback: `ALTER SYSTEM SET max_wal_size = '${row.maxWalSizeMegabytes}MB'; SELECT pg_reload_conf();`,
              },
            },
          ],
    });
  },
};

/** 17 moved the counters to a view of their own and counts a standby's restartpoints apart. */
async function readCheckpoints({ session }: CheckContext): Promise<Checkpoints> {
  const { view, timed, requested } =
    session.serverVersionNumber < 170_000
      ? { view: "pg_stat_bgwriter", timed: "checkpoints_timed", requested: "checkpoints_req" }
      : session.isStandby
        ? { view: "pg_stat_checkpointer", timed: "restartpoints_timed", requested: "restartpoints_req" }
        : { view: "pg_stat_checkpointer", timed: "num_timed", requested: "num_requested" };
  const position = session.isStandby ? "pg_last_wal_replay_lsn()" : "pg_current_wal_lsn()";
  const [row] = await session.query<Checkpoints>(
    `select stats_reset as "resetAt", ${timed} as timed, ${requested} as requested,
            pg_wal_lsn_diff(${position}, '0/0')::float8 as "walBytes",
            current_setting('checkpoint_completion_target')::float8 as "completionTarget",
            (select setting::int from pg_settings where name = 'checkpoint_timeout') as "timeoutSeconds",
            (select setting::int from pg_settings where name = 'max_wal_size') as "maxWalSizeMegabytes"
       from ${view}`,
  );
  if (row === undefined) throw new Error(`${view} is empty`);
  return row;
}
