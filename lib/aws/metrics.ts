import { metrics as definitions, metricNamespace } from "../alarms/metrics.ts";
import type { MetricDatum, Metrics } from "../ports/metrics.ts";

/** The most metrics that one document may name. */
const maximumMetrics = 100;

/**
 * Metrics through the function's log, in CloudWatch's embedded metric format: no call and no permission is needed,
 * so it works where there is no way out.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function embeddedMetrics(
  database: string,
  write: (line: string) => void = (line) => void process.stdout.write(line),
): Metrics {
  return {
    async put(data) {
      for (const group of grouped(data)) write(`${JSON.stringify(documentOf(database, group))}\n`);
    },
  };
}

/** Data of one document: one moment, one set of dimensions, each metric once. */
function grouped(data: readonly MetricDatum[]): MetricDatum[][] {
  const groups = new Map<string, MetricDatum[]>();
  for (const datum of data) {
    const base = JSON.stringify([datum.at.getTime(), Object.entries(datum.dimensions).sort()]);
    for (let part = 0; ; part += 1) {
      const key = `${part} ${base}`;
      const group = groups.get(key) ?? [];
      if (group.length >= maximumMetrics || group.some(({ name }) => name === datum.name)) continue;
      groups.set(key, [...group, datum]);
      break;
    }
  }
  return [...groups.values()];
}

function documentOf(database: string, group: readonly MetricDatum[]): Record<string, unknown> {
  const [first] = group;
  const dimensions = { ...first?.dimensions, Database: database };
  return {
    _aws: {
      Timestamp: first?.at.getTime(),
      CloudWatchMetrics: [
        {
          Namespace: metricNamespace,
          Dimensions: [Object.keys(dimensions).sort()],
          Metrics: group.map(({ name }) => ({ Name: name, Unit: definitions[name].unit })),
        },
      ],
    },
    ...dimensions,
    ...Object.fromEntries(group.map(({ name, value }) => [name, value])),
  };
}
