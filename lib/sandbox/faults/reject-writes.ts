import type { Fault } from "./fault.ts";
import { overrideSetting, restoreSetting } from "./server-setting.ts";

export const rejectWrites: Fault = {
  name: "reject-writes",
  alarms: ["heartbeat-late", "rollbacks", "job-failed"],
  summary:
    "make every transaction on the primary read-only unless it asks for more, as somebody does before a switch-over and forgets: reads go on, every write fails, the heartbeat's too",
  apply: async ({ state }) => {
    const details = { server: state.primary.name, setting: "default_transaction_read_only" };
    return (await overrideSetting(state, state.primary.port, "default_transaction_read_only", "on"))
      ? { outcome: "applied", message: "the primary refuses every write", details }
      : { outcome: "already-applied", message: "the primary refuses writes already", details };
  },
  repair: async ({ state }) => {
    const details = { server: state.primary.name, setting: "default_transaction_read_only" };
    return (await restoreSetting(state, state.primary.port, "default_transaction_read_only"))
      ? { outcome: "repaired", message: "the primary accepts writes again", details }
      : { outcome: "not-applied", message: "the primary was not made to refuse writes", details };
  },
};
