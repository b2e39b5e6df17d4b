import { MetricUnit, Metrics as PowertoolsMetrics } from "@aws-lambda-powertools/metrics";
import { metrics as definitions, metricNamespace } from "../alarms/metrics.ts";
import type { MetricDatum, Metrics } from "../ports/metrics.ts";

/**
 * Metrics through the function's log, in CloudWatch's embedded metric format: no call and no permission is needed,
 * so it works where there is no way out.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function embeddedMetrics(database: string): Metrics {
  return {
    async put(data) {
      for (const group of grouped(data)) publish(database, group);
    },
  };
}

/** Data of one moment and one set of dimensions: what one document can hold. */
function grouped(data: readonly MetricDatum[]): MetricDatum[][] {
  const groups = new Map<string, MetricDatum[]>();
  for (const datum of data) {
    const key = JSON.stringify([datum.at.getTime(), Object.entries(datum.dimensions).sort()]);
    groups.set(key, [...(groups.get(key) ?? []), datum]);
  }
  return [...groups.values()];
}

function publish(database: string, group: readonly MetricDatum[]): void {
  const [first] = group;
  if (first === undefined) return;
  const metrics = new PowertoolsMetrics({ namespace: metricNamespace });
  // It adds one for the service, with which no alarm would find the metric.
  metrics.clearDefaultDimensions();
  metrics.addDimensions({ ...first.dimensions, Database: database });
  metrics.setTimestamp(first.at);
  for (const { name, value } of group) metrics.addMetric(name, MetricUnit[definitions[name].unit], value);
  metrics.publishStoredMetrics();
}
