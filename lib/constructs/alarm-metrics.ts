import { Duration } from "aws-cdk-lib";
import { type IMetric, MathExpression, Metric } from "aws-cdk-lib/aws-cloudwatch";
import type { Alarm, AlarmSource, MetricReference, Subject } from "../alarms/alarm.ts";
import { awsMetric, type MeasuredThing } from "../alarms/aws-metrics.ts";
import { metricNamespace } from "../alarms/metrics.ts";
import type { MetricDimensions } from "./platform.ts";

/** Whose metrics are meant. */
export interface Measured {
  /** The database's key in the configuration: dimension `Database` of pgkeep's own metrics. */
  databaseKey: string;
  dimensions: MetricDimensions;
}

/** What the alarm looks at, as CloudWatch takes it. */
export function metricOf(
  alarm: Pick<Alarm, "source" | "statistic" | "timing" | "subject" | "title">,
  measured: Measured,
): IMetric {
  const { source, timing, title } = alarm;
  if (source.kind === "metric") return single(source.metric, alarm, measured);
  const parts = [source.part, ...source.whole];
  // The part may be one of the whole; each metric is asked for once.
  const unique = [...new Map(parts.map((part) => [JSON.stringify(part), part])).values()];
  const idOf = (part: MetricReference) =>
    `m${unique.findIndex((one) => JSON.stringify(one) === JSON.stringify(part)) + 1}`;
  return new MathExpression({
    expression: shareExpression(source, idOf),
    usingMetrics: Object.fromEntries(unique.map((part) => [idOf(part), single(part, alarm, measured)])),
    period: Duration.seconds(timing.periodSeconds),
    label: title,
  });
}

/** The share in percent; 0 while the whole is too small to say anything. */
export function shareExpression(
  source: Extract<AlarmSource, { kind: "share" }>,
  idOf: (part: MetricReference) => string,
): string {
  const whole = source.whole.map(idOf).join("+");
  return `IF((${whole})>=${source.atLeast}, 100*${idOf(source.part)}/(${whole}), 0)`;
}

/**
 * No unit is given: CloudWatch takes it as a filter, and a metric that is sent with another one would never be seen.
 */
function single(
  reference: MetricReference,
  alarm: Pick<Alarm, "statistic" | "timing" | "subject">,
  measured: Measured,
): Metric {
  const common = {
    statistic: alarm.statistic,
    period: Duration.seconds(alarm.timing.periodSeconds),
  };
  if (reference.from === "pgkeep") {
    return new Metric({
      ...common,
      namespace: metricNamespace,
      metricName: reference.metric,
      dimensionsMap: { Database: measured.databaseKey, ...reference.dimensions },
    });
  }
  const definition = awsMetric(reference.metric);
  return new Metric({
    ...common,
    namespace: definition.namespace,
    metricName: definition.metricName ?? reference.metric,
    dimensionsMap: { ...dimensionsOf(definition.of, alarm.subject, measured), ...definition.dimensions },
  });
}

function dimensionsOf(
  thing: MeasuredThing,
  subject: Subject | undefined,
  { dimensions }: Measured,
): Record<string, string> {
  if (thing === "account") return {};
  if (thing === "server" && subject?.kind !== "replica") return dimensions.primary;
  const found =
    thing === "server"
      ? dimensions.replicas.find(({ name }) => name === subject?.name)?.dimensions
      : dimensions.proxy;
  if (found === undefined) {
    throw new TypeError(`the platform gives no metric dimensions for its ${subject?.name ?? thing}`);
  }
  return found;
}
