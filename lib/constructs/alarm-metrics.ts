import { Duration } from "aws-cdk-lib";
import { type IMetric, MathExpression, Metric } from "aws-cdk-lib/aws-cloudwatch";
import type { Alarm, AlarmSource, Comparison, MetricReference, Subject } from "../alarms/alarm.ts";
import { awsMetric, type MeasuredThing } from "../alarms/aws-metrics.ts";
import { logMetricNamespace } from "../alarms/log-metrics.ts";
import { metricNamespace } from "../alarms/metrics.ts";
import type { Measured } from "./measured.ts";
import type { MeasuredServer } from "./platform.ts";

type Asked = Pick<Alarm, "source" | "statistic" | "timing" | "subject" | "comparison" | "title">;

/** What the alarm looks at, as CloudWatch takes it. */
export function metricOf(alarm: Asked, measured: Measured): IMetric {
  const { source, timing, title } = alarm;
  const expression = (text: string, usingMetrics: Record<string, IMetric>) =>
    new MathExpression({
      expression: text,
      usingMetrics,
      period: Duration.seconds(timing.periodSeconds),
      label: title,
    });
  if (source.kind === "metric") {
    const candidates = metricsOf(source.metric, alarm, measured);
    const [only, ...others] = candidates;
    if (only !== undefined && others.length === 0) return only;
    const byId = Object.fromEntries(candidates.map((metric, index) => [`m${index + 1}`, metric]));
    return expression(worstOf(alarm.comparison, Object.keys(byId)), byId);
  }
  const parts = [source.part, ...source.whole];
  // The part may be one of the whole; each metric is asked for once.
  const unique = [...new Map(parts.map((part) => [JSON.stringify(part), part])).values()];
  const idOf = (part: MetricReference) =>
    `m${unique.findIndex((one) => JSON.stringify(one) === JSON.stringify(part)) + 1}`;
  const usingMetrics = unique.map((part): [string, Metric] => {
    const [metric, ...others] = metricsOf(part, alarm, measured);
    if (metric === undefined || others.length > 0) {
      throw new TypeError(`a share of ${part.metric} over several servers has no meaning`);
    }
    return [idOf(part), metric];
  });
  return expression(shareExpression(source, idOf), Object.fromEntries(usingMetrics));
}

/** The value of several servers that is nearest to the threshold, or furthest beyond it. */
function worstOf(comparison: Comparison, ids: readonly string[]): string {
  return `${comparison.startsWith(">") ? "MAX" : "MIN"}([${ids.join(",")}])`;
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
 * The metrics that are meant: one, or that of each server that may be the writer. No unit is given: CloudWatch takes
 * it as a filter, and a metric that is sent with another one would never be seen.
 */
function metricsOf(reference: MetricReference, alarm: Asked, measured: Measured): Metric[] {
  const common = {
    statistic: alarm.statistic,
    period: Duration.seconds(alarm.timing.periodSeconds),
    metricName: reference.metric,
  };
  if (reference.from === "pgkeep") {
    const dimensionsMap = { Database: measured.databaseKey, ...reference.dimensions };
    return [new Metric({ ...common, namespace: metricNamespace, dimensionsMap })];
  }
  if (reference.from === "log") {
    return [new Metric({ ...common, namespace: logMetricNamespace(measured.databaseKey) })];
  }
  const { namespace, metricName = reference.metric, of, dimensions } = awsMetric(reference.metric);
  return dimensionsOf(of, alarm.subject, measured).map(
    (measuredBy) =>
      new Metric({ ...common, namespace, metricName, dimensionsMap: { ...measuredBy, ...dimensions } }),
  );
}

function dimensionsOf(
  thing: MeasuredThing,
  subject: Subject | undefined,
  measured: Measured,
): Record<string, string>[] {
  if (thing === "account") return [{}];
  const found = thing === "server" ? ofServers(subject, measured) : [besideServers(thing, subject, measured)];
  return found.map((dimensions) => {
    if (dimensions !== undefined) return dimensions;
    throw new TypeError(`the platform gives no metric dimensions for its ${subject?.name ?? thing}`);
  });
}

type MaybeDimensions = Record<string, string> | undefined;

function ofServers(
  subject: Subject | undefined,
  { writers, replicas, servers }: Measured,
): MaybeDimensions[] {
  if (subject?.kind === "replica") return [named(replicas, subject)];
  return subject?.kind === "server" ? [named(servers, subject)] : writers;
}

function besideServers(
  thing: Exclude<MeasuredThing, "server" | "account">,
  subject: Subject | undefined,
  { cache, proxy }: Measured,
): MaybeDimensions {
  return thing === "cache-node" ? named(cache, subject) : proxy;
}

function named(servers: readonly MeasuredServer[] = [], subject: Subject | undefined): MaybeDimensions {
  return servers.find(({ name }) => name === subject?.name)?.dimensions;
}
