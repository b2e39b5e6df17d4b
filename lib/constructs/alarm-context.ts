import type { AlarmContext } from "../alarms/alarm.ts";
import { contextOf, type PlannedJob } from "../alarms/context.ts";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import { jobs } from "../jobs/index.ts";
import { capacityOf, maxConnectionsOf } from "./instance-classes.ts";

/**
 * What the thresholds of one database on AWS are made from. The memory of serverless moves with its load, so it has
 * none.
 */
export function alarmContextOf(
  config: DatabaseConfig,
  all: Pick<Config, "databases" | "account">,
  given: Pick<AlarmContext, "replicas" | "readers" | "servers" | "proxy"> & { jobs?: readonly PlannedJob[] },
): AlarmContext {
  const { jobs: planned = jobs, ...servers } = given;
  const serverless = config.database.instanceClass === "serverless";
  const capacity = capacityOf(config);
  return contextOf(config, all, planned, {
    ...servers,
    machine: serverless ? undefined : { memoryBytes: capacity.memoryBytes, vcpus: capacity.cpus },
    maxConnections: serverless ? config.database.maxConnections : maxConnectionsOf(config),
  });
}
