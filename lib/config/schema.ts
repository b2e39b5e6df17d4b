import { z } from "zod";
import { account } from "./sections/account.ts";
import { alarms } from "./sections/alarms.ts";
import { backups } from "./sections/backups.ts";
import { cache } from "./sections/cache.ts";
import { database } from "./sections/database.ts";
import { files } from "./sections/files.ts";
import { resourceName } from "./sections/forms.ts";
import { health } from "./sections/health.ts";
import { history } from "./sections/history.ts";
import { integrity } from "./sections/integrity.ts";
import { logicalBackups } from "./sections/logical-backups.ts";
import { maintenance } from "./sections/maintenance.ts";
import { network } from "./sections/network.ts";
import { notifications } from "./sections/notifications.ts";
import { partitions } from "./sections/partitions.ts";
import { pooling } from "./sections/pooling.ts";
import { replicas } from "./sections/replicas.ts";
import { review } from "./sections/review.ts";
import { roles } from "./sections/roles.ts";
import { runs } from "./sections/runs.ts";
import { schedules } from "./sections/schedules.ts";
import type { Suppression } from "./suppressions.ts";

/** Sections that each database has; at the top of the file they are the defaults of all. */
export const perDatabaseSections = {
  database,
  replicas,
  pooling,
  backups,
  logicalBackups,
  maintenance,
  partitions,
  health,
  history,
  integrity,
  review,
  roles,
  alarms,
  schedules,
  runs,
  files,
  cache,
} as const;

/** Sections that the file has once. */
export const sharedSections = { network, notifications, account } as const;

/** One database with every default filled in. */
export const databaseConfigSchema = z.strictObject(withDefaults(perDatabaseSections));

/** Name under `databases:`, part of the names of AWS resources. */
export const databaseKeySchema = resourceName;

/** The sections that the file has once, with every default filled in. */
export const sharedConfigSchema = z.strictObject(withDefaults(sharedSections));

/** A section that is left out is one with nothing set. */
function withDefaults<Sections extends Record<string, z.ZodObject>>(sections: Sections) {
  return Object.fromEntries(
    Object.entries(sections).map(([name, section]) => [name, section.prefault({})]),
  ) as { [Name in keyof Sections]: z.ZodPrefault<Sections[Name]> };
}

type Sections = z.output<typeof databaseConfigSchema>;

/** What a job or a stack is told about one database. */
export interface DatabaseConfig extends Sections {
  /** Its key under `databases:`; without that section, made from the database's name. */
  key: string;
  /** What the file that `review.suppressions` names has; read together with the configuration's own file. */
  suppressions?: readonly Suppression[];
}

/** Sections that stacks and the command line read and no job does: changing one changes no function. */
export const sectionsWithoutJobs = ["alarms", "logicalBackups", "runs", "files", "cache"] as const;

/** What jobs and checks are told. */
export type JobConfig = Omit<DatabaseConfig, (typeof sectionsWithoutJobs)[number]>;

export interface Config extends z.output<typeof sharedConfigSchema> {
  databases: DatabaseConfig[];
}
