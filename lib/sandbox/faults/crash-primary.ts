import { crash, startAgain } from "./crash-server.ts";
import type { Fault } from "./fault.ts";

export const crashPrimary: Fault = {
  name: "crash-primary",
  alarms: ["database-down"],
  summary:
    "kill every process of the primary: writes fail, health says down, reads go on from the replicas; repair starts it and it recovers",
  apply: ({ state }) => crash(state.primary),
  repair: ({ state, signal }) => startAgain(state, state.primary, signal),
};
