import { jobs } from "../../lib/jobs/index.ts";
import type { Json } from "../../lib/json.ts";
import { sandboxAlarms } from "../../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { alarmsAsJson } from "../../lib/sandbox/alarms/live.ts";
import type { AlarmView } from "../../lib/sandbox/alarms/watch.ts";
import { configFor } from "../helpers/config.ts";

const server = (name: string) => ({ name, dataDirectory: "", port: 1 });

const everyAlarm = sandboxAlarms({
  state: { primary: server("primary"), replicas: [server("replica-1")], poolers: null },
  config: configFor("shop"),
  jobs,
  maxConnections: 100,
});

/** What a sandbox answers: every alarm of the catalogue, two on, one of which the other silences. */
export function alarmAnswer(
  on: readonly string[] = ["database-down", "replica-lag-replica-1"],
  faults: readonly string[] = [],
): Json {
  const since = new Date(Date.now() - 300_000);
  const views = everyAlarm.map((alarm): AlarmView => {
    const isOn = on.includes(alarm.name);
    return {
      alarm,
      state: isOn ? "ALARM" : alarm.name === "heartbeat-late" ? "INSUFFICIENT_DATA" : "OK",
      since,
      value: isOn ? alarm.threshold : 0,
      reason: "as the test has it",
      suppressedBy:
        isOn && alarm.consequenceOf.includes("database-down") && on.includes("database-down")
          ? { by: "alarm", causes: ["database-down"] }
          : undefined,
    };
  });
  return { workload: { reads: 1234, writes: 5 }, faults: [...faults], alarms: alarmsAsJson(views) };
}
