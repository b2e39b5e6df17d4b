import { isSection, type Section } from "./deployed.ts";
import { type DatabaseConfig, databaseConfigSchema } from "./schema.ts";

/** What stands where nothing is configured: a bundled function gets it beside its code. */
export function configDefaults(): Omit<DatabaseConfig, "key"> {
  return databaseConfigSchema.parse({});
}

/**
 * The configuration of one database as short JSON: its key and what differs from the defaults. Deterministic,
 * and small enough for a Lambda's environment (4 KB in all). `deployedConfig` reads it.
 */
export function beyondDefaults(config: DatabaseConfig): string {
  const { key, ...sections } = config;
  return JSON.stringify({ key, ...difference(sections, configDefaults()) });
}

/** The same without what only alarms read: changing that must not touch a function. */
export function beyondDefaultsForJobs(config: DatabaseConfig): string {
  const { enabled, cpuPercent, replicaLagSeconds } = configDefaults().alarms;
  return beyondDefaults({ ...config, alarms: { ...config.alarms, enabled, cpuPercent, replicaLagSeconds } });
}

/** The same without what neither roles nor passwords depend on: limits of alarms, and schedules. */
export function beyondDefaultsForAccess(config: DatabaseConfig): string {
  const { alarms, schedules } = configDefaults();
  return beyondDefaults({ ...config, alarms, schedules });
}

function difference(value: Section, defaults: Section): Section {
  const different: Section = {};
  for (const name of Object.keys(value).sort()) {
    const [ours, theirs] = [value[name], defaults[name]];
    if (isSection(ours) && isSection(theirs)) {
      const inner = difference(ours, theirs);
      if (Object.keys(inner).length > 0) different[name] = inner;
    } else if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      different[name] = ours;
    }
  }
  return different;
}
