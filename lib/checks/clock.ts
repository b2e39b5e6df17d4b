import { durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { conclude, metric, round } from "./outcome.ts";

/** The quickest answer says most: what is unknown about it is half of the time that it took. */
const questions = 3;

/**
 * How far the server's clock is from that of whoever asks, as NTP measures it: half of the time that the
 * question took is taken as the way there.
 */
export const clock: Check = {
  name: "clock",
  title: "Do the server's clock and the one of whoever asks agree?",
  async run({ session, config, ownNow }) {
    let quickest = Number.POSITIVE_INFINITY;
    let aheadMilliseconds = 0;
    for (let question = 0; question < questions; question++) {
      const asked = ownNow().getTime();
      const began = performance.now();
      const [row] = await session.query<{ at: number }>(
        "select extract(epoch from clock_timestamp())::float8 * 1000 as at",
      );
      const took = performance.now() - began;
      if (row === undefined || took >= quickest) continue;
      quickest = took;
      aheadMilliseconds = row.at - (asked + took / 2);
    }
    const aheadSeconds = round(aheadMilliseconds / 1000, 3);
    const skew = Math.abs(aheadSeconds);
    const facts = { aheadSeconds, uncertainSeconds: round(quickest / 2000, 3) };
    const limit = config.health.clockSkewSeconds;
    return conclude({
      facts,
      metrics: [metric("ClockSkewSeconds", skew)],
      findings:
        skew <= limit
          ? []
          : [
              {
                check: "clock",
                key: "clock",
                severity: "medium",
                confidence: "certain",
                object: { name: session.database },
                title: `the server's clock is ${durationText(skew)} ${aheadSeconds > 0 ? "ahead of" : "behind"} the one here`,
                evidence: { ...facts, limitSeconds: limit },
                impact:
                  "Ages of backups, heartbeats and runs are wrong by as much, and a restore to a moment is one to another moment.",
                blastRadius: "everything that compares a time of the server with one from here",
                remediation: {
                  sql: "SELECT clock_timestamp(); -- compare with a third clock; then, on the machine that is wrong: timedatectl status, chronyc tracking",
                  lock: "none",
                  rollback: "none needed",
                },
              },
            ],
    });
  },
};
