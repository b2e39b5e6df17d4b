import type { AlarmContext } from "../alarms/alarm.ts";
import { longestPeriodSeconds } from "../config/schedule.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import { jobs } from "../jobs/index.ts";
import type { Job } from "../jobs/job.ts";
import { capacityOf, maxConnectionsOf } from "./instance-classes.ts";

/**
 * What the thresholds of one database are made from. The memory of serverless moves with its load, so it has none;
 * the account's quotas are watched beside the first database of a kind.
 */
export function alarmContextOf(
  config: DatabaseConfig,
  all: Pick<Config, "databases" | "account">,
  given: Pick<AlarmContext, "replicas" | "readers" | "servers" | "proxy"> & { jobs?: readonly Job[] },
): AlarmContext {
  const serverless = config.database.instanceClass === "serverless";
  const capacity = capacityOf(config);
  const isCluster = (one: DatabaseConfig) => one.database.topology !== "instance";
  const first = all.databases.find((one) => isCluster(one) === isCluster(config));
  return {
    config,
    machine: serverless ? undefined : { memoryBytes: capacity.memoryBytes, vcpus: capacity.cpus },
    maxConnections: serverless ? config.database.maxConnections : maxConnectionsOf(config),
    replicas: given.replicas,
    readers: given.readers,
    servers: given.servers,
    proxy: given.proxy,
    jobs: (given.jobs ?? jobs).flatMap((job) => {
      const periodSeconds = periodOf(job, config);
      return periodSeconds === undefined
        ? []
        : [{ name: job.name, periodSeconds, recorded: isRecorded(job) }];
    }),
    manualSnapshotQuota: first?.key === config.key ? all.account.manualSnapshotsPerRegion : undefined,
  };
}

/** On AWS only functions inside the VPC reach the table of runs. */
function isRecorded({ steps }: Job): boolean {
  return steps.some(({ where }) => where === "database");
}

/** Longest time between two runs of a job; undefined when it is off. */
function periodOf(job: Job, config: DatabaseConfig): number | undefined {
  const fields = (config.schedules as Readonly<Record<string, string | undefined>>)[job.name] ?? job.schedule;
  return fields === "off" ? undefined : longestPeriodSeconds(fields);
}
