import { longestPeriodSeconds } from "../config/schedule.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import type { AlarmContext } from "./alarm.ts";

/** What is known of a job without running it. */
export interface PlannedJob {
  name: string;
  /** Five cron fields, or `off`; what `schedules` of the configuration says comes before it. */
  schedule: string;
  steps: readonly { where: string }[];
}

/** What only those know who have the servers, or have deployed them. */
export type Deployed = Pick<
  AlarmContext,
  "replicas" | "readers" | "servers" | "proxy" | "machine" | "maxConnections"
>;

/**
 * What the thresholds of one database are made from. The account's quotas are watched beside the first database of a
 * kind.
 */
export function contextOf(
  config: DatabaseConfig,
  all: Pick<Config, "databases" | "account">,
  jobs: readonly PlannedJob[],
  deployed: Deployed,
): AlarmContext {
  const isCluster = (one: DatabaseConfig) => one.database.topology !== "instance";
  const first = all.databases.find((one) => isCluster(one) === isCluster(config));
  return {
    config,
    ...deployed,
    jobs: jobs.flatMap((job) => {
      const periodSeconds = periodOf(job, config);
      return periodSeconds === undefined
        ? []
        : [{ name: job.name, periodSeconds, recorded: isRecorded(job) }];
    }),
    manualSnapshotQuota: first?.key === config.key ? all.account.manualSnapshotsPerRegion : undefined,
  };
}

/** On AWS only functions inside the VPC reach the table of runs. */
function isRecorded({ steps }: PlannedJob): boolean {
  return steps.some(({ where }) => where === "database");
}

/** Longest time between two runs of a job; undefined when it is off. */
function periodOf(job: PlannedJob, config: DatabaseConfig): number | undefined {
  const fields = (config.schedules as Readonly<Record<string, string | undefined>>)[job.name] ?? job.schedule;
  return fields === "off" ? undefined : longestPeriodSeconds(fields);
}
