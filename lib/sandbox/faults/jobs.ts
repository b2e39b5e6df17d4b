import type { JobConfig } from "../../config/schema.ts";
import type { Fault } from "./fault.ts";

/** Every job that has a schedule. */
export const scheduledJobs = [
  "check-health",
  "route-replicas",
  "back-up",
  "check-recovery",
  "vacuum",
  "manage-partitions",
  "reindex",
  "check-integrity",
  "collect-history",
  "review-database",
  "drill-restore",
] as const satisfies readonly (keyof JobConfig["schedules"])[];

/** For faults of one job, with its name behind the fault's. */
export const jobArgument: NonNullable<Fault["argument"]> = { word: "JOB", values: scheduledJobs };
