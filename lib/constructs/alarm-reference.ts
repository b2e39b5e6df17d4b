import {
  type Alarm,
  type AlarmDefinition,
  type AlarmSource,
  type MetricReference,
  questions,
} from "../alarms/alarm.ts";
import { awsMetric } from "../alarms/aws-metrics.ts";
import { alarmsFor, catalogue, notCovered } from "../alarms/catalogue.ts";
import { logMetricNamespace } from "../alarms/log-metrics.ts";
import { metricNamespace } from "../alarms/metrics.ts";
import { code, generateCommand, table } from "../config/reference.ts";
import { duration } from "../config/schedule.ts";
import {
  type Config,
  type DatabaseConfig,
  databaseConfigSchema,
  sharedConfigSchema,
} from "../config/schema.ts";
import { bytesText } from "../words.ts";
import { alarmContextOf } from "./alarm-context.ts";

const headings = { up: "Is it up?", full: "Is it full?", slow: "Is it slow?", protected: "Is it protected?" };

/** What stands in for a real database of each topology: the defaults, with replicas and a proxy. */
const examples = [
  {
    topology: "instance",
    instanceClass: "m7g.large",
    replicas: ["replica-1"],
    readers: ["replica-1"],
    servers: ["primary", "replica-1"],
  },
  {
    topology: "multi-az-cluster",
    instanceClass: "m6gd.large",
    replicas: ["instance-1"],
    readers: ["readers"],
    servers: ["instance-1"],
  },
  {
    topology: "aurora",
    instanceClass: "r7g.large",
    replicas: ["readers"],
    readers: ["readers"],
    servers: ["instance-1"],
  },
] as const;

/** The text of docs/alarms.md: every alarm, from the catalogue itself. */
export function renderAlarmReference(): string {
  const alarms = examples.flatMap(exampleAlarms);
  return [
    `<!-- Generated from lib/alarms. Do not edit; run: ${generateCommand} -->`,
    "",
    "# Alarms",
    "",
    "A page wakes somebody, a ticket is for office hours. The limit is that of the default configuration on an",
    "m7g.large (m6gd.large, r7g.large where the topology has no such class); settings are in",
    "[configuration.md](configuration.md), what to do in the [runbook](runbook.md). An alarm tells nobody while one",
    "that silences it is on. Of a Multi-AZ cluster the worst of its three instances counts: any of them may be the",
    "writer, and AWS documents metrics of its instances only.",
    ...questions.flatMap((question) => [
      "",
      `## ${headings[question]}`,
      "",
      ...table(
        ["alarm", "", "metric", "fires when", "without data", "exists for", "silenced by"],
        catalogue.filter((entry) => entry.question === question).map((entry) => row(entry, alarms)),
      ),
    ]),
    "",
    "## Not covered",
    "",
    ...table(
      ["what", "why"],
      notCovered.map(({ what, because }) => [what, because]),
    ),
    "",
  ].join("\n");
}

function exampleAlarms(example: (typeof examples)[number]): Alarm[] {
  const { topology, instanceClass, ...names } = example;
  const config: DatabaseConfig = {
    key: "shop",
    ...databaseConfigSchema.parse({
      database: { topology, instanceClass },
      // So that each alarm of the cache exists.
      cache: { enabled: true, maxMemoryPolicy: "volatile-lru" },
    }),
  };
  const all: Config = { databases: [config], ...sharedConfigSchema.parse({}) };
  return alarmsFor(alarmContextOf(config, all, { ...names, proxy: true }));
}

function row(entry: AlarmDefinition, alarms: readonly Alarm[]): string[] {
  const alarm = alarms.find((one) => one.entry === entry.name);
  const linked = `[${entry.name}](runbook.md#${entry.name})`;
  const topologies = entry.topologies.length === 3 ? "" : entry.topologies.join(", ");
  return [
    linked,
    entry.severity,
    alarm === undefined ? "" : sourceText(alarm.source, alarm.statistic),
    alarm === undefined ? "" : limitText(alarm),
    entry.missingData,
    [topologies, entry.condition].filter((text) => text !== "").join("; "),
    entry.consequenceOf.join(", "),
  ];
}

function sourceText(source: AlarmSource, statistic: string): string {
  if (source.kind === "metric") return `${statistic} of ${metricText(source.metric)}`;
  const whole = source.whole.map(metricText).join(" + ");
  return `share of ${metricText(source.part)} in ${whole}, from ${source.atLeast} on`;
}

function metricText(reference: MetricReference): string {
  if (reference.from === "pgkeep") return code(`${metricNamespace} ${reference.metric}`);
  if (reference.from === "log") return code(`${logMetricNamespace("KEY")} ${reference.metric}`);
  const { namespace, metricName, dimensions } = awsMetric(reference.metric);
  return code(
    `${namespace} ${metricName ?? reference.metric}${dimensions?.Resource === undefined ? "" : ` ${dimensions.Resource}`}`,
  );
}

function limitText({ comparison, threshold, unit, timing }: Alarm): string {
  const { periodSeconds, evaluationPeriods, datapointsToAlarm } = timing;
  const periods =
    evaluationPeriods === 1
      ? `for ${duration(periodSeconds)}`
      : `${datapointsToAlarm} of ${evaluationPeriods} times ${duration(periodSeconds)}`;
  return `${code(`${comparison} ${valueText(threshold, unit)}`)} ${periods}`;
}

function valueText(value: number, unit: Alarm["unit"]): string {
  if (unit === "Bytes") return bytesText(value);
  if (unit === "Percent") return `${value} %`;
  if (unit === "Seconds") return `${value} s`;
  if (unit === "Milliseconds") return `${value} ms`;
  if (unit === "Microseconds") return `${value} µs`;
  return String(Math.round(value * 10) / 10);
}
