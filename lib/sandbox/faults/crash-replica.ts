import { crash, startAgain } from "./crash-server.ts";
import type { Fault } from "./fault.ts";
import { firstReplica } from "./first-replica.ts";

export const crashReplica: Fault = {
  name: "crash-replica",
  alarms: ["replication-stopped", "replica-lag", "replica-not-serving"],
  summary:
    "kill every process of the first replica: it is routed as unreachable and the others take its reads; repair starts it and it catches up",
  apply: async ({ state }) => crash(firstReplica(state)),
  repair: async ({ state, signal }) => startAgain(state, firstReplica(state), signal),
};
