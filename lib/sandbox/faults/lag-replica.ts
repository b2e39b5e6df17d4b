import { PgkeepError } from "../../errors.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { firstReplica } from "./first-replica.ts";
import { pidOf, requireApplication } from "./held-fault.ts";
import { withSuperuser } from "./held-sessions.ts";
import { overrideSetting, restoreSetting } from "./server-setting.ts";

const name = "lag-replica";

/** Read by nearly nobody: whoever reads it on the replica waits behind replay, as in the incident that this is. */
const table = "shop.warehouses";

/**
 * A conflict between recovery and a query, the usual reason of a replica that falls behind: a report reads a
 * table on the replica and does not end, the primary locks the same table exclusively (any ALTER TABLE does), and
 * replay may wait for queries without end (`max_standby_streaming_delay = -1`, as set for long reports). WAL still
 * arrives; nothing of it is replayed.
 */
export const lagReplica: Fault = {
  name,
  alarms: ["replica-lag", "replica-not-serving"],
  summary:
    "run a report on the first replica that conflicts with replay and may not be cancelled: WAL arrives, none is replayed, and its lag grows",
  apply: async (context) => {
    const { state, held } = context;
    const replica = firstReplica(state);
    await requireApplication(context);
    const pids = await held.pids(name, state, replica.port);
    const details = { server: replica.name, table };
    if (pids.length > 0) {
      const message = `a report keeps ${replica.name} from replaying`;
      return { outcome: "already-applied", message, details: { ...details, pids } };
    }
    try {
      await overrideSetting(state, replica.port, "max_standby_streaming_delay", "-1");
      const report = await held.open(name, state, state.application.reporting, replica.port);
      const pid = await pidOf(report);
      await report.query("begin isolation level repeatable read");
      await report.query(`select count(*) from ${table}`);
      // Ends with its session; nobody waits for it.
      report.query("select pg_sleep(86400)").catch(() => {});
      await lockOnPrimary(context);
      await waitUntilBlocked(context, replica.port);
      return {
        outcome: "applied",
        message: `process ${pid} of ${replica.name} reads ${table} for a day, and replay waits for it`,
        details: { ...details, pid },
      };
    } catch (error) {
      await held.end(name, state, replica.port);
      await restoreSetting(state, replica.port, "max_standby_streaming_delay");
      throw error;
    }
  },
  repair: async ({ state, held }) => {
    const replica = firstReplica(state);
    const ended = await held.end(name, state, replica.port);
    const restored = await restoreSetting(state, replica.port, "max_standby_streaming_delay");
    const details = { server: replica.name, sessions: ended };
    return ended === 0 && !restored
      ? { outcome: "not-applied", message: `no report keeps ${replica.name} from replaying`, details }
      : {
          outcome: "repaired",
          message: `the report on ${replica.name} ended, and it replays again`,
          details,
        };
  },
};

/** For a moment; what it writes to WAL is what every ALTER TABLE writes. */
function lockOnPrimary({ state }: FaultContext): Promise<void> {
  return withSuperuser(state, (session) =>
    session.transaction(async () => {
      await session.query(`lock table ${table} in access exclusive mode`);
    }),
  );
}

async function waitUntilBlocked({ state, clock, signal }: FaultContext, port: number): Promise<void> {
  await withSuperuser(
    state,
    async (session) => {
      for (let attempt = 0; attempt < 500; attempt++) {
        const waiting = await session.query(
          `select 1 from pg_locks l join pg_stat_activity a using (pid)
            where a.backend_type = 'startup' and not l.granted and l.mode = 'AccessExclusiveLock'`,
        );
        if (waiting.length > 0) return;
        await clock.sleep(20, signal);
      }
      throw new PgkeepError("timeout", "replay did not meet the report within 10 s", {
        remedy: "see whether the replica streams; repair other faults of replicas first",
      });
    },
    port,
  );
}
