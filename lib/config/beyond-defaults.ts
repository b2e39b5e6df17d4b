import { isSection, type Section } from "./deployed.ts";
import { databaseConfigSchema, type JobConfig, sectionsWithoutJobs } from "./schema.ts";

/** What stands where nothing is configured: a bundled function gets it beside its code. */
export function configDefaults(): Omit<JobConfig, "key"> {
  const without: readonly string[] = sectionsWithoutJobs;
  return Object.fromEntries(
    Object.entries(databaseConfigSchema.parse({})).filter(([name]) => !without.includes(name)),
  ) as unknown as Omit<JobConfig, "key">;
}

/**
 * What functions are told of the configuration of one database, as short JSON: its key and what differs from the
 * defaults. Deterministic, and small enough for a Lambda's environment (4 KB in all). `deployedConfig` reads it.
 * What no job reads is left out, so that changing it touches no function.
 */
export function beyondDefaults(config: JobConfig): string {
  const { key, ...sections } = config;
  const defaults: Section = configDefaults();
  const known = Object.entries(sections).filter(([name]) => name in defaults);
  return JSON.stringify({ key, ...difference(Object.fromEntries(known), defaults) });
}

/** The same without what neither roles nor passwords depend on: schedules, limits of the health check, the history. */
export function beyondDefaultsForAccess(config: JobConfig): string {
  const { health, history, review, schedules } = configDefaults();
  return beyondDefaults({ ...config, health, history, review, schedules });
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
