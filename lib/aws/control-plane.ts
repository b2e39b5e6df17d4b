import type { Backups } from "../ports/backups.ts";
import type { Notifications } from "../ports/notifications.ts";
import type { Routing } from "../ports/routing.ts";
import { type RdsBackupsOptions, rdsBackups } from "./backups.ts";
import type { AwsClients } from "./clients.ts";
import { snsNotifications } from "./notifications.ts";
import type { PlatformResources } from "./resources.ts";
import { ssmRouting } from "./routing.ts";

/** The ports that call AWS; they work outside of the VPC and know no database session. */
export function controlPlanePorts(
  clients: AwsClients,
  resources: PlatformResources,
  options: RdsBackupsOptions = {},
): { backups: Backups; routing: Routing; notifications: Notifications } {
  return {
    backups: rdsBackups(clients, resources, options),
    routing: ssmRouting(clients, resources),
    notifications: snsNotifications(clients, resources),
  };
}
