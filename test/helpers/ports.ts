import { systemClock } from "../../lib/clock.ts";
import type { Primary } from "../../lib/ports/databases.ts";
import type { Ports } from "../../lib/ports/index.ts";
import type { MetricDatum } from "../../lib/ports/metrics.ts";
import { type ConnectionTarget, connect } from "../../lib/postgres/connect.ts";

export interface RecordingPorts extends Ports {
  primary: Primary;
  /** Everything that was put. */
  data: MetricDatum[];
}

/** Real database, real clock; metrics are kept in memory, notifications dropped. */
export function portsFor(target: ConnectionTarget): RecordingPorts {
  const data: MetricDatum[] = [];
  return {
    primary: {
      endpoint: { host: target.host, port: target.port },
      connect: ({ role: _, ...options }) => connect(target, options),
    },
    clock: systemClock,
    metrics: { put: async (more) => void data.push(...more) },
    notifications: { send: async () => {} },
    data,
  };
}
