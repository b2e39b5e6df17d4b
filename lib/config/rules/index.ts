import { backupRules } from "./backups.ts";
import { cacheRules } from "./cache.ts";
import { connectionRules } from "./connections.ts";
import { engineRules } from "./engine.ts";
import { filesRules } from "./files.ts";
import { limitRules } from "./limits.ts";
import { nameRules } from "./names.ts";
import { networkRules } from "./network.ts";
import { regionRules } from "./regions.ts";
import { replicaRules } from "./replicas.ts";
import { restoreRules } from "./restore.ts";
import type { Rule } from "./rule.ts";
import { scheduleRules } from "./schedules.ts";
import { windowRules } from "./windows.ts";

/** Every demand on several settings together, in the order in which problems are reported. */
export const rules: readonly Rule[] = [
  ...nameRules,
  ...engineRules,
  ...restoreRules,
  ...replicaRules,
  ...regionRules,
  ...connectionRules,
  ...backupRules,
  ...windowRules,
  ...limitRules,
  ...scheduleRules,
  ...networkRules,
  ...filesRules,
  ...cacheRules,
];
