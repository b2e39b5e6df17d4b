import { CloudWatchClient, GetMetricDataCommand, type MetricDataQuery } from "@aws-sdk/client-cloudwatch";
import { type AwsMetricName, awsMetric } from "../alarms/aws-metrics.ts";
import type { ProxyLevels, ProxyMeasurements, ProxyMetrics } from "../ports/proxy-metrics.ts";
import { calling } from "./errors.ts";
import { proxyName } from "./proxy-name.ts";

export interface ProxyMetricsOptions {
  region: string;
  /** How far back is looked: metrics of a proxy arrive a minute or two late. Default 15 minutes. */
  windowSeconds?: number;
  endpoint?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
}

interface Level {
  metric: AwsMetricName;
  /** RDS Proxy sends each metric once a minute from each of its nodes: the sum of a minute is the whole proxy. */
  statistic: "Sum" | "Average";
  factor?: number;
  worst: "highest" | "lowest";
}

/** Statistics as the Amazon RDS User Guide, Monitoring RDS Proxy metrics, names the most useful ones. */
const levels: Record<keyof ProxyLevels, Level> = {
  clientConnections: { metric: "ClientConnections", statistic: "Sum", worst: "highest" },
  clientsSetUp: { metric: "ClientConnectionsSetupSucceeded", statistic: "Sum", worst: "highest" },
  databaseConnections: { metric: "ProxyDatabaseConnections", statistic: "Sum", worst: "highest" },
  borrowed: { metric: "DatabaseConnectionsCurrentlyBorrowed", statistic: "Sum", worst: "highest" },
  pinned: { metric: "DatabaseConnectionsCurrentlySessionPinned", statistic: "Sum", worst: "highest" },
  maxDatabaseConnections: { metric: "MaxDatabaseConnectionsAllowed", statistic: "Sum", worst: "lowest" },
  borrowLatencySeconds: {
    metric: "DatabaseConnectionsBorrowLatency",
    statistic: "Average",
    factor: 1e-6,
    worst: "highest",
  },
  availabilityPercent: { metric: "AvailabilityPercentage", statistic: "Average", worst: "lowest" },
  queryRequests: { metric: "QueryRequests", statistic: "Sum", worst: "highest" },
};

const keys = Object.keys(levels) as (keyof ProxyLevels)[];
const alwaysSent = ["clientConnections", "databaseConnections", "maxDatabaseConnections"] as const;
const periodSeconds = 60;

/**
 * Measurements of the proxy of the database `key`, by GetMetricData. What is now is the newest full minute for which
 * all levels arrived that a proxy always sends; without such a minute, the newest that has anything.
 */
export function proxyMetrics(key: string, options: ProxyMetricsOptions): ProxyMetrics & { close(): void } {
  const { region, windowSeconds = 900 } = options;
  const proxy = proxyName(key);
  const client = new CloudWatchClient({
    region,
    retryMode: "adaptive",
    maxAttempts: 5,
    requestHandler: { connectionTimeout: 3_000, requestTimeout: 30_000 },
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
  });
  return {
    async read(now) {
      const end = new Date(Math.floor(now.getTime() / (periodSeconds * 1000)) * periodSeconds * 1000);
      const begin = new Date(end.getTime() - windowSeconds * 1000);
      const series = await calling(`read the metrics of the proxy ${proxy} in ${region}`, () =>
        readAll(client, proxy, begin, end),
      );
      return measurements(series, { proxy, region, windowSeconds });
    },
    close: () => client.destroy(),
  };
}

/** Values by the begin of their minute, in milliseconds. */
type Series = Map<number, number>;

async function readAll(
  client: CloudWatchClient,
  proxy: string,
  begin: Date,
  end: Date,
): Promise<Record<keyof ProxyLevels, Series>> {
  const series = Object.fromEntries(keys.map((key) => [key, new Map()])) as Record<keyof ProxyLevels, Series>;
  let next: string | undefined;
  do {
    const answer = await client.send(
      new GetMetricDataCommand({
        StartTime: begin,
        EndTime: end,
        ScanBy: "TimestampDescending",
        MetricDataQueries: keys.map((key) => queryOf(key, proxy)),
        ...(next === undefined ? {} : { NextToken: next }),
      }),
    );
    for (const { Id, Timestamps = [], Values = [] } of answer.MetricDataResults ?? []) {
      const key = keys.find((one) => one === Id);
      if (key === undefined) continue;
      for (const [index, at] of Timestamps.entries()) {
        const value = Values[index];
        if (value !== undefined) series[key].set(at.getTime(), value * (levels[key].factor ?? 1));
      }
    }
    next = answer.NextToken;
  } while (next !== undefined && next !== "");
  return series;
}

function queryOf(key: keyof ProxyLevels, proxy: string): MetricDataQuery {
  const { metric, statistic } = levels[key];
  const { namespace, metricName = metric, dimensions = {} } = awsMetric(metric);
  return {
    Id: key,
    MetricStat: {
      Metric: {
        Namespace: namespace,
        MetricName: metricName,
        Dimensions: Object.entries({ ProxyName: proxy, ...dimensions }).map(([Name, Value]) => ({
          Name,
          Value,
        })),
      },
      Period: periodSeconds,
      Stat: statistic,
    },
    ReturnData: true,
  };
}

function measurements(
  series: Record<keyof ProxyLevels, Series>,
  about: { proxy: string; region: string; windowSeconds: number },
): ProxyMeasurements | undefined {
  const minutes = keys.flatMap((key) => [...series[key].keys()]);
  if (minutes.length === 0) return undefined;
  const whole = minutes.filter((minute) => alwaysSent.every((key) => series[key].has(minute)));
  const at = Math.max(...(whole.length === 0 ? minutes : whole));
  const each = (value: (key: keyof ProxyLevels) => number | null) =>
    Object.fromEntries(keys.map((key) => [key, value(key)])) as unknown as ProxyLevels;
  return {
    ...about,
    at: new Date(at),
    latest: each((key) => series[key].get(at) ?? null),
    worst: each((key) => {
      const values = [...series[key].values()];
      if (values.length === 0) return null;
      return levels[key].worst === "highest" ? Math.max(...values) : Math.min(...values);
    }),
  };
}
