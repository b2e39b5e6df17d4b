import type { JobConfig } from "../../config/schema.ts";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
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

/** @throws PgkeepError `refused` when pgkeep's schema is not in the database */
export async function requireSchema(session: Session): Promise<void> {
  const [row] = await session.query<{ present: boolean }>(
    "select to_regclass('pgkeep.job_run') is not null as present",
  );
  if (row?.present === true) return;
  throw new PgkeepError("refused", "the schema pgkeep is not in this sandbox's database", {
    remedy: "start the sandbox again: it installs the schema",
  });
}
