import type { Fault, FaultContext } from "./fault.ts";
import { firstReplica } from "./first-replica.ts";
import { withSuperuser } from "./held-sessions.ts";
import { overrideSetting, restoreSetting } from "./server-setting.ts";

export const stopReplication: Fault = {
  name: "stop-replication",
  alarms: [
    "replication-stopped",
    "replica-not-serving",
    "inactive-slots",
    "oldest-slot-lag",
    "transaction-logs-disk",
  ],
  summary:
    "take the primary's address from the first replica: it answers and shows older and older rows, nothing streams to it, and the primary keeps WAL for its slot",
  apply: async (context) => {
    const { state } = context;
    const { name, port } = firstReplica(state);
    const details = { server: name };
    if (!(await overrideSetting(state, port, "primary_conninfo", ""))) {
      return { outcome: "already-applied", message: `${name} does not know its primary`, details };
    }
    await waitForReceiver(context, port, false);
    return {
      outcome: "applied",
      message: `${name} no longer knows its primary: nothing streams to it`,
      details,
    };
  },
  repair: async (context) => {
    const { state } = context;
    const { name, port } = firstReplica(state);
    const details = { server: name };
    if (!(await restoreSetting(state, port, "primary_conninfo"))) {
      return { outcome: "not-applied", message: `${name} knows its primary`, details };
    }
    await waitForReceiver(context, port, true);
    return { outcome: "repaired", message: `${name} streams from its primary again`, details };
  },
};

/** It streams again within a second of `wal_retrieve_retry_interval`; with a dead primary it cannot, and that is not ours. */
async function waitForReceiver(
  { state, clock, signal }: FaultContext,
  port: number,
  wanted: boolean,
): Promise<void> {
  await withSuperuser(
    state,
    async (session) => {
      for (let attempt = 0; attempt < 250; attempt++) {
        const receivers = await session.query(
          "select 1 from pg_stat_wal_receiver where status = 'streaming'",
        );
        if (receivers.length > 0 === wanted) return;
        await clock.sleep(20, signal);
      }
    },
    port,
  );
}
