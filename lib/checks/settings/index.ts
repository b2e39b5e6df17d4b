import type { ReviewCheck } from "../review-check.ts";
import { autovacuumSettings } from "./autovacuum-settings.ts";
import { checkpointSettings } from "./checkpoint-settings.ts";
import { durability } from "./durability.ts";
import { logging } from "./logging.ts";
import { memorySettings } from "./memory-settings.ts";
import { pageChecksums } from "./page-checksums.ts";
import { pendingRestart } from "./pending-restart.ts";
import { plannerSettings } from "./planner-settings.ts";
import { queryStatistics } from "./query-statistics.ts";
import { serverVersion } from "./server-version.ts";
import { tablesWithoutAutovacuum } from "./tables-without-autovacuum.ts";
import { timeouts } from "./timeouts.ts";

export const settingsChecks: readonly ReviewCheck[] = [
  durability,
  autovacuumSettings,
  tablesWithoutAutovacuum,
  serverVersion,
  pageChecksums,
  memorySettings,
  checkpointSettings,
  timeouts,
  queryStatistics,
  plannerSettings,
  pendingRestart,
  logging,
];
