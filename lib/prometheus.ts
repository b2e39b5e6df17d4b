import { Counter, Gauge, Registry } from "prom-client";
import { metrics as definitions, type MetricDefinition, type MetricName } from "./alarms/metrics.ts";

/** One value, as the checks measure it. */
export interface Measured {
  name: MetricName;
  value: number;
  dimensions: Record<string, string>;
}

/** What is to be shown. */
export interface Exposition {
  database: string;
  /** Levels at this moment. Differences to an earlier sample are left out: Prometheus builds its own. */
  metrics: readonly Measured[];
  /** Running totals by the name of the metric that is their difference; other names are left out. */
  counters: Readonly<Record<string, number>>;
}

/**
 * Name and factor of a metric in Prometheus's conventions (prometheus.io/docs/practices/naming): base
 * units as suffix, shares as `_ratio` of 1, running totals as `_total`.
 * `LongestQueryAge` → `pgkeep_longest_query_age_seconds`, `CacheHitPercent` → `pgkeep_cache_hit_ratio`.
 */
export function prometheusName(name: MetricName): { name: string; factor: number } {
  const definition: MetricDefinition = definitions[name];
  let words = snakeCase(name);
  let factor = 1;
  if (definition.unit === "Percent") {
    words = `${words.replace(/_percent$/, "")}_ratio`;
    factor = 0.01;
  } else if (definition.unit === "Seconds" || definition.unit === "Bytes") {
    const unit = definition.unit.toLowerCase();
    if (!words.endsWith(`_${unit}`)) words = `${words}_${unit}`;
  }
  return { name: `pgkeep_${words}${definition.kind === "delta" ? "_total" : ""}`, factor };
}

/** Everything in Prometheus's text format 0.0.4: HELP, TYPE and the values, with the label `database`. */
export async function prometheusText(exposition: Exposition): Promise<string> {
  const registry = new Registry();
  const gauges = new Map<MetricName, Gauge>();
  for (const { name, value, dimensions } of exposition.metrics) {
    if (definitions[name].kind === "delta") continue;
    const { name: shown, factor } = prometheusName(name);
    let gauge = gauges.get(name);
    if (gauge === undefined) {
      gauge = new Gauge({
        name: shown,
        help: help(name),
        labelNames: labelNames(name),
        registers: [registry],
      });
      gauges.set(name, gauge);
    }
    gauge.set(
      labels(exposition.database, dimensions),
      factor === 1 ? value : Number((value * factor).toPrecision(12)),
    );
  }
  for (const [name, total] of Object.entries(exposition.counters)) {
    if (!isMetricName(name) || definitions[name].kind !== "delta") continue;
    const counter = new Counter({
      name: prometheusName(name).name,
      help: help(name),
      labelNames: labelNames(name),
      registers: [registry],
    });
    counter.inc(labels(exposition.database, {}), total);
  }
  return registry.metrics();
}

function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(definitions, name);
}

function labelNames(name: MetricName): string[] {
  return ["database", ...definitions[name].dimensions.map(snakeCase)];
}

function labels(database: string, dimensions: Record<string, string>): Record<string, string> {
  return Object.fromEntries([
    ["database", database],
    ...Object.entries(dimensions).map(([name, value]) => [snakeCase(name), value]),
  ]);
}

/** What a total or a ratio says differs from the datum of one run. */
function help(name: MetricName): string {
  const definition: MetricDefinition = definitions[name];
  if (definition.kind === "delta") return `${definition.help}, since the statistics were reset`;
  return definition.unit === "Percent" ? `${definition.help} (0 to 1)` : definition.help;
}

function snakeCase(name: string): string {
  return name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toLowerCase();
}
