import type { DatabaseConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import { connect } from "../postgres/connect.ts";
import { sandboxBackups } from "./backups.ts";
import { sandboxClock } from "./clock.ts";
import { sandboxDatabases } from "./databases.ts";
import { fileMetrics } from "./metrics.ts";
import { fileNotifications } from "./notifications.ts";
import { fileRouting } from "./routing.ts";
import type { SandboxState } from "./state.ts";

/** The ports of a running sandbox, in the process that owns it and in any other of the same user. */
export function sandboxEnvironment(state: SandboxState, config: DatabaseConfig): Environment {
  return {
    description: `sandbox at 127.0.0.1:${state.primary.port}`,
    config,
    ports: {
      ...sandboxDatabases(state),
      backups: sandboxBackups(state, { recoveryDays: config.backups.pointInTimeRecoveryDays }),
      routing: fileRouting(state.routingFile),
      metrics: fileMetrics(state.metricsFile, state.database),
      notifications: fileNotifications(state.notificationsFile),
      clock: sandboxClock(state),
    },
    connectAsMaster: ({ database = state.database, restored, ...options } = {}) =>
      connect(
        {
          host: "127.0.0.1",
          port: state.primary.port,
          ...restored,
          database,
          ...state.master,
          applicationName: "pgkeep master",
        },
        options,
      ),
    clientLogin: async () => ({
      host: "127.0.0.1",
      port: state.primary.port,
      database: state.database,
      ...state.master,
      tls: { sslmode: "disable" },
    }),
    close: async () => {},
  };
}
