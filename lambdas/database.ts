import { awsDatabases } from "../lib/aws/databases.ts";
import { environmentKeys } from "../lib/aws/environment-keys.ts";
import { embeddedMetrics } from "../lib/aws/metrics.ts";
import { systemClock } from "../lib/clock.ts";
import type { OpenPorts } from "./handler.ts";

/** The ports of a `database` step: SQL and metrics, nothing that needs a way out of the VPC. */
export const openPorts: OpenPorts = ({ config, resources }) => ({
  ...awsDatabases(resources, { keys: environmentKeys, now: systemClock.now }),
  clock: systemClock,
  metrics: embeddedMetrics(config.key),
  notifications: {
    send: async ({ severity, subject }) => {
      throw new Error(`a database step cannot reach people (${severity}: ${subject}); alarms do`);
    },
  },
});
