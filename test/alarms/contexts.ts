import type { AlarmContext, MetricReference } from "../../lib/alarms/alarm.ts";
import { awsMetric } from "../../lib/alarms/aws-metrics.ts";
import { logMetrics } from "../../lib/alarms/log-metrics.ts";
import { type MetricName, metrics } from "../../lib/alarms/metrics.ts";
import type { Config, DatabaseConfig } from "../../lib/config/schema.ts";
import { sharedConfigSchema } from "../../lib/config/schema.ts";
import { alarmContextOf } from "../../lib/constructs/alarm-context.ts";
import { configFor } from "../helpers/config.ts";

const classes = { instance: "m7g.large", "multi-az-cluster": "m6gd.large", aurora: "r7g.large" } as const;
export type Topology = keyof typeof classes;
export const topologies = Object.keys(classes) as Topology[];

export function configOf(
  topology: Topology,
  sections: Record<string, Record<string, unknown>> = {},
): DatabaseConfig {
  return configFor("shop", {
    ...sections,
    database: { topology, instanceClass: classes[topology], ...sections.database },
  });
}

export function wholeConfig(...databases: DatabaseConfig[]): Config {
  return { databases, ...sharedConfigSchema.parse({}) };
}

/** Names of what AWS measures and of what routing sends reads to, as the database's construct gives them. */
export function serversOf({ database, replicas: { count } }: DatabaseConfig): {
  replicas: string[];
  readers: string[];
  servers: string[];
} {
  const numbered = (name: string, length: number) =>
    Array.from({ length }, (_, index) => `${name}-${index + 1}`);
  const readers = count > 0 ? ["readers"] : [];
  if (database.topology === "aurora") {
    return { replicas: readers, readers, servers: numbered("instance", 1 + count) };
  }
  if (database.topology === "multi-az-cluster") {
    const members = numbered("instance", 3);
    return { replicas: members, readers, servers: members };
  }
  const replicas = numbered("replica", count);
  return { replicas, readers: replicas, servers: ["primary", ...replicas] };
}

/** The context of a database with its replicas and a proxy, or with what is given. */
export function contextOf(
  config: DatabaseConfig,
  given: { replicas?: readonly string[]; proxy?: boolean } = {},
): AlarmContext {
  const { replicas, readers, servers } = serversOf(config);
  return alarmContextOf(config, wholeConfig(config), {
    replicas: given.replicas ?? replicas,
    readers,
    servers,
    proxy: given.proxy ?? config.pooling.enabled,
  });
}

export interface MetricFacts {
  unit: string;
  kind: "gauge" | "ratio" | "delta";
  range: readonly [number, number];
}

/** What pgkeep's own gauges cannot exceed; the others have no bound. */
const bounded: Partial<Record<MetricName, readonly [number, number]>> = {
  Up: [0, 1],
  ReplicaServing: [0, 1],
  // Against their own trigger, which a table can pass many times over.
  WraparoundTriggerPercent: [0, Number.POSITIVE_INFINITY],
};

export function factsOf(reference: MetricReference): MetricFacts {
  if (reference.from === "aws") {
    const { unit, kind, range } = awsMetric(reference.metric);
    return { unit, kind, range };
  }
  if (reference.from === "log") {
    const { unit, kind } = logMetrics[reference.metric];
    return { unit, kind, range: [0, Number.POSITIVE_INFINITY] };
  }
  const { unit, kind } = metrics[reference.metric];
  const most = unit === "Percent" ? 100 : Number.POSITIVE_INFINITY;
  return { unit, kind, range: bounded[reference.metric] ?? [0, most] };
}
