import { registerBackup } from "./backup.ts";
import type { Register } from "./cli.ts";
import { registerConfig } from "./config.ts";
import { registerDump } from "./dump.ts";
import { registerForecast } from "./forecast.ts";
import { registerHealth } from "./health.ts";
import { registerHistory } from "./history.ts";
import { registerInstall } from "./install.ts";
import { registerMetrics } from "./metrics.ts";
import { registerPools } from "./pools.ts";
import { registerQueries } from "./queries.ts";
import { registerRestore } from "./restore.ts";
import { registerReview } from "./review.ts";
import { registerRoles } from "./roles.ts";
import { registerRouting } from "./routing.ts";
import { registerRun } from "./run.ts";
import { registerRuns } from "./runs.ts";
import { registerSandbox } from "./sandbox.ts";
import { registerStatus } from "./status.ts";

/** Every command, in the order of the help. */
export const commands: readonly Register[] = [
  registerSandbox,
  registerRun,
  registerRuns,
  registerStatus,
  registerHealth,
  registerReview,
  registerQueries,
  registerHistory,
  registerForecast,
  registerMetrics,
  registerPools,
  registerBackup,
  registerDump,
  registerRestore,
  registerRouting,
  registerInstall,
  registerRoles,
  registerConfig,
];
