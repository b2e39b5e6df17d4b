import type { Backups } from "./backups.ts";
import type { Clock } from "./clock.ts";
import type { Primary, Replicas, Restored } from "./databases.ts";
import type { Metrics } from "./metrics.ts";
import type { Notifications } from "./notifications.ts";
import type { Routing } from "./routing.ts";

/** What a step may ask for by name. */
export interface NeedablePorts {
  primary: Primary;
  replicas: Replicas;
  restored: Restored;
  backups: Backups;
  routing: Routing;
}

/** What an environment (sandbox, AWS, a URL) offers. Absent ports make the jobs that need them not runnable there. */
export interface Ports extends Partial<NeedablePorts> {
  clock: Clock;
  metrics: Metrics;
  notifications: Notifications;
}

export type PortName = keyof NeedablePorts;
