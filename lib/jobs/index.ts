import { closest } from "fastest-levenshtein";
import { UsageError } from "../errors.ts";
import { backUp } from "./back-up.ts";
import { checkHealth } from "./check-health.ts";
import { checkIntegrity } from "./check-integrity.ts";
import { checkRecovery } from "./check-recovery.ts";
import { collectHistory } from "./collect-history.ts";
import { drillRestore } from "./drill-restore.ts";
import type { Job } from "./job.ts";
import { managePartitions } from "./manage-partitions.ts";
import { reindex } from "./reindex.ts";
import { reviewDatabase } from "./review-database.ts";
import { routeReplicas } from "./route-replicas.ts";
import { vacuum } from "./vacuum.ts";

/** Every job. Each becomes a command, a schedule in the sandbox and a Lambda or state machine on AWS. */
export const jobs: readonly Job[] = [
  checkHealth,
  routeReplicas,
  backUp,
  checkRecovery,
  vacuum,
  managePartitions,
  reindex,
  checkIntegrity,
  collectHistory,
  reviewDatabase,
  drillRestore,
];

/** @throws UsageError that lists the jobs, and the nearest one */
export function jobNamed(name: string): Job {
  const found = jobs.find((job) => job.name === name);
  if (found !== undefined) return found;
  const names = jobs.map((job) => job.name);
  throw new UsageError(`there is no job named ${JSON.stringify(name)}; there are ${names.join(", ")}`, {
    remedy: `did you mean ${closest(name, names)}?`,
  });
}
