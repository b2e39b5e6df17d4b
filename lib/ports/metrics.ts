import type { MetricName } from "../alarms/metrics.ts";

export interface MetricDatum {
  name: MetricName;
  value: number;
  at: Date;
  /** Beyond `Database`, which every datum has. */
  dimensions: Record<string, string>;
}

/** Where measurements go: CloudWatch through the Lambda's log, a file in the sandbox. */
export interface Metrics {
  put(data: readonly MetricDatum[]): Promise<void>;
}
