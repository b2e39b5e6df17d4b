import { beforeAll, describe, expect, it } from "vitest";
import type { Alarm, AlarmSeverity, MetricReference } from "../../lib/alarms/alarm.ts";
import { awsMetric } from "../../lib/alarms/aws-metrics.ts";
import { metricNamespace } from "../../lib/alarms/metrics.ts";
import { capacityOf, maxConnectionsOf } from "../../lib/constructs/instance-classes.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { sandboxAlarms } from "../../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { describePlainly } from "../../lib/sandbox/alarms/live.ts";
import { memorySeries, type SeriesId, seriesOfReference } from "../../lib/sandbox/alarms/series.ts";
import { watchAlarms } from "../../lib/sandbox/alarms/watch.ts";
import { observabilityOf, ofType, type Resource } from "../constructs/observability.ts";
import { makeAlarm, timing } from "../sandbox/alarms/make-alarm.ts";
import { configOf } from "./contexts.ts";

const config = configOf("instance", { replicas: { count: 2 }, pooling: { enabled: true } });
const prefix = "pgkeep-shop-";

/** A metric as CloudWatch knows it: namespace, name, and sorted dimensions. */
type CloudMetric = string;

/** What one alarm looks at and when it fires. */
interface Watches {
  reads: { metric: CloudMetric } | { part: CloudMetric; whole: CloudMetric[]; atLeast: number };
  statistic: string;
  periodSeconds: number;
  datapointsToAlarm: number;
  evaluationPeriods: number;
  comparison: string;
  threshold: number;
  missingData: string;
}

/** Whom it tells, and what keeps it from that. */
interface Tells {
  severity: AlarmSeverity;
  /** Of the end as of the beginning. */
  ends: AlarmSeverity;
  silencedBy: string[];
  /** Seconds that it waits for a cause, and for its own recovery when the cause is gone; 0 without causes. */
  waits: number;
  extends: number;
}

const comparisons: Record<string, string> = {
  GreaterThanThreshold: ">",
  GreaterThanOrEqualToThreshold: ">=",
  LessThanThreshold: "<",
  LessThanOrEqualToThreshold: "<=",
};

function cloudMetric(namespace: string, name: string, dimensions: Record<string, string>): CloudMetric {
  const sorted = Object.entries(dimensions).map(([key, value]) => `${key}=${value}`);
  return [`${namespace} ${name}`, ...sorted.toSorted()].join(" ");
}

describe("alarms of the templates", () => {
  const { resources } = observabilityOf(config);
  const byId = new Map(resources.map((resource) => [resource.id, resource]));
  const metricAlarms = ofType(resources, "AWS::CloudWatch::Alarm");
  const composites = ofType(resources, "AWS::CloudWatch::CompositeAlarm");

  const watches = new Map(
    metricAlarms.map((alarm): [string, Watches] => [nameOf(alarm), watchesOf(alarm.properties)]),
  );
  const tells = new Map(
    [...metricAlarms, ...composites].flatMap((alarm): [string, Tells][] => {
      const { AlarmActions, OKActions, InsufficientDataActions, ActionsEnabled } = alarm.properties;
      if (AlarmActions === undefined && OKActions === undefined) return [];
      expect([InsufficientDataActions, ActionsEnabled], nameOf(alarm)).toEqual([undefined, undefined]);
      const silenced = alarm.properties.ActionsSuppressor !== undefined;
      return [
        [
          told(alarm),
          {
            severity: severityOf(AlarmActions),
            ends: severityOf(OKActions),
            silencedBy: silenced ? alarmsBehind(alarm.properties.ActionsSuppressor) : [],
            waits: Number(alarm.properties.ActionsSuppressorWaitPeriod ?? 0),
            extends: Number(alarm.properties.ActionsSuppressorExtensionPeriod ?? 0),
          },
        ],
      ];
    }),
  );

  const sandbox = sandboxAlarms({
    state: {
      primary: server("primary"),
      replicas: [server("replica-1"), server("replica-2")],
      poolers: [],
    },
    config,
    jobs,
    maxConnections: maxConnectionsOf(config) ?? Number.NaN,
    machine: { memoryBytes: capacityOf(config).memoryBytes, vcpus: capacityOf(config).cpus },
  });
  /** What becomes of each alarm in a watch, by what it tells. */
  const seen = new Map<string, Tells>();
  beforeAll(async () => {
    for (const alarm of sandbox) seen.set(alarm.name, await tellsInSandbox(alarm, sandbox));
  });

  it("are those of a sandbox with the same replicas and poolers, and each tells somebody once", () => {
    const names = sandbox.map(({ name }) => name).toSorted();
    expect(names).toEqual(expect.arrayContaining(["replica-lag-replica-2", "proxy-unavailable"]));
    expect([...watches.keys()].toSorted()).toEqual(names);
    const tellers = [...metricAlarms, ...composites].filter(
      ({ properties }) => properties.AlarmActions !== undefined,
    );
    expect(tellers.map(told).toSorted()).toEqual(names);
  });

  it.each(sandbox)("$name looks at the same, in the same way", (alarm) => {
    expect(watches.get(alarm.name)).toEqual(watchesInSandbox(alarm));
  });

  it.each(sandbox)(
    "$name tells the same people at the same time, unless the same explains it",
    ({ name }) => {
      expect(tells.get(name)).toEqual(seen.get(name));
    },
  );

  function nameOf({ properties }: Resource): string {
    return String(properties.AlarmName).slice(prefix.length);
  }

  /** The name of the alarm that this one tells of: for a composite that of the metric alarm in its rule. */
  function told(alarm: Resource): string {
    if (alarm.type === "AWS::CloudWatch::Alarm") return nameOf(alarm);
    const rule = JSON.stringify(alarm.properties.AlarmRule);
    const [own = "", ...others] = alarmsBehind(alarm.properties.AlarmRule);
    expect({ rule, others }).toEqual({ rule: expect.stringMatching(/"ALARM\(/), others: [] });
    expect(nameOf(alarm)).toBe(`${own}-unexplained`);
    return own;
  }

  /** Names of the metric alarms that a suppressor or a rule refers to, through the composite that joins them. */
  function alarmsBehind(value: unknown): string[] {
    return referred(value)
      .flatMap((one) => {
        if (one.type === "AWS::CloudWatch::Alarm") return [nameOf(one)];
        const text = JSON.stringify(one.properties.AlarmRule);
        expect(text).not.toMatch(/AND|NOT|OK\(|INSUFFICIENT/);
        return alarmsBehind(one.properties.AlarmRule);
      })
      .toSorted();
  }

  function referred(value: unknown): Resource[] {
    const ids = [...JSON.stringify(value).matchAll(/"(?:Ref|Fn::GetAtt)":\[?"([^"]+)"/g)];
    return ids.flatMap((match) => byId.get(match[1] ?? "") ?? []);
  }

  function severityOf(actions: unknown): AlarmSeverity {
    const topics = referred(actions).map(({ properties }) => String(properties.TopicName));
    expect(topics).toEqual([expect.stringMatching(/^pgkeep-shop-(page|ticket)$/)]);
    return topics[0] === `${prefix}page` ? "page" : "ticket";
  }
});

function server(name: string) {
  return { name, dataDirectory: `/nowhere/${name}`, port: 1 };
}

interface MetricProperties {
  Namespace: string;
  MetricName: string;
  Dimensions?: { Name: string; Value: string }[];
}

interface Query {
  Id: string;
  Expression?: string;
  Period?: number;
  ReturnData?: boolean;
  MetricStat?: { Metric: MetricProperties; Period: number; Stat: string };
}

function metricOf({ Namespace, MetricName, Dimensions = [] }: MetricProperties): CloudMetric {
  const dimensions = Object.fromEntries(Dimensions.map(({ Name, Value }) => [Name, Value]));
  return cloudMetric(Namespace, MetricName, dimensions);
}

function watchesOf(properties: Record<string, unknown>): Watches {
  const { Metrics, Statistic, ExtendedStatistic } = properties;
  const common = {
    datapointsToAlarm: Number(properties.DatapointsToAlarm ?? properties.EvaluationPeriods),
    evaluationPeriods: Number(properties.EvaluationPeriods),
    comparison: comparisons[String(properties.ComparisonOperator)] ?? "?",
    threshold: Number(properties.Threshold),
    missingData: String(properties.TreatMissingData),
  };
  if (Metrics === undefined) {
    const statistic = String(Statistic ?? ExtendedStatistic);
    // The evaluator knows no other: a percentile of few values counts like one of many.
    expect(properties.EvaluateLowSampleCountPercentile).toBe(
      statistic.startsWith("p") ? "evaluate" : undefined,
    );
    const reads = { metric: metricOf(properties as unknown as MetricProperties) };
    return { reads, statistic, periodSeconds: Number(properties.Period), ...common };
  }
  const queries = Metrics as Query[];
  const [expression, ...more] = queries.filter((query) => query.Expression !== undefined);
  const asked = queries.flatMap(({ Id, MetricStat }) =>
    MetricStat === undefined ? [] : [{ Id, ...MetricStat }],
  );
  expect(more).toEqual([]);
  expect(queries.filter(({ ReturnData }) => ReturnData !== false)).toEqual([expression]);
  const same = new Set([
    ...asked.map(({ Period, Stat }) => `${Period} ${Stat}`),
    `${expression?.Period ?? asked[0]?.Period} ${asked[0]?.Stat}`,
  ]);
  expect(same.size).toBe(1);
  const text = expression?.Expression ?? "";
  const parts = /^IF\(\((m\d(?:\+m\d)*)\)>=(\d+), 100\*(m\d)\/\(\1\), 0\)$/.exec(text);
  expect(parts, text).not.toBeNull();
  const [, whole = "", atLeast, part] = parts ?? [];
  const named = (id: string | undefined) => {
    const found = asked.find(({ Id }) => Id === id);
    return found === undefined ? "?" : metricOf(found.Metric);
  };
  return {
    reads: { part: named(part), whole: whole.split("+").map(named), atLeast: Number(atLeast) },
    statistic: asked[0]?.Stat ?? "?",
    periodSeconds: asked[0]?.Period ?? Number.NaN,
    ...common,
  };
}

/** What the evaluator reads of an alarm; the names of its series as the metrics that they stand for. */
function watchesInSandbox(alarm: Alarm): Watches {
  const { source, statistic, timing: times, comparison, threshold, missingData } = alarm;
  const named = (reference: MetricReference): CloudMetric => {
    const ids = seriesOfReference(reference, alarm);
    expect(ids).toHaveLength(1);
    return ids.map((id) => seriesInCloud(reference, id)).join();
  };
  return {
    reads:
      source.kind === "metric"
        ? { metric: named(source.metric) }
        : { part: named(source.part), whole: source.whole.map(named), atLeast: source.atLeast },
    statistic,
    ...times,
    comparison,
    threshold,
    missingData,
  };
}

function seriesInCloud(reference: MetricReference, { metric, dimensions }: SeriesId): CloudMetric {
  if (reference.from === "log") return cloudMetric("pgkeep/shop", metric, dimensions);
  if (reference.from === "pgkeep") {
    return cloudMetric(metricNamespace, metric, { Database: "shop", ...dimensions });
  }
  const { namespace, metricName = metric, dimensions: fixed = {} } = awsMetric(reference.metric);
  const { Server, Proxy: proxied, ...others } = dimensions;
  expect(others).toEqual({});
  return cloudMetric(namespace, metricName, {
    ...fixed,
    ...(Server === undefined
      ? {}
      : { DBInstanceIdentifier: Server === "primary" ? "pgkeep-shop" : `${prefix}${Server}` }),
    ...(proxied === undefined ? {} : { ProxyName: "pgkeep-shop" }),
  });
}

const minute = 60_000;
/** Minutes; longer than any wait. */
const later = 25;

/** What the watch makes of an alarm, alone and beside others; each may be in alarm in any minute. */
async function tellsInSandbox(alarm: Alarm, all: readonly Alarm[]): Promise<Tells> {
  const others = all.map(({ name }) => name).filter((name) => name !== alarm.name);
  const alone = await play(alarm, all, ({ name, at }) => name === alarm.name && at < later);
  const [begins, ends, ...more] = alone;
  expect(more).toEqual([]);
  const silencedBy: string[] = [];
  const extensions = new Set<number>();
  for (const cause of alarm.consequenceOf) {
    const besideCause = await play(
      alarm,
      all,
      ({ name, at }) => name === alarm.name || (name === cause && at < later),
    );
    const [first] = besideCause;
    if (first === undefined || first.at < later) continue;
    silencedBy.push(cause);
    extensions.add((first.at - later) * 60);
  }
  // Whatever else happens changes nothing.
  const unrelated = others.filter((name) => !silencedBy.includes(name));
  const besideOthers = await play(
    alarm,
    all,
    ({ name, at }) => unrelated.includes(name) || (name === alarm.name && at < later),
  );
  expect(besideOthers, alarm.name).toEqual(alone);
  expect([begins?.to, ends?.to]).toEqual(["ALARM", "OK"]);
  const waits = new Set([begins?.waited, ends?.waited]);
  expect(waits.size, alarm.name).toBe(1);
  expect(extensions.size).toBeLessThan(2);
  return {
    severity: begins?.severity ?? "page",
    ends: ends?.severity ?? "page",
    silencedBy: silencedBy.toSorted(),
    waits: begins?.waited ?? Number.NaN,
    extends: [...extensions][0] ?? 0,
  };
}

interface Told {
  at: number;
  to: string;
  severity: AlarmSeverity;
  /** Seconds since the metric alarm changed. */
  waited: number;
}

/** What is told of one alarm in twice that time, in which each is in alarm whenever it is said to be bad. */
async function play(
  alarm: Alarm,
  all: readonly Alarm[],
  isBad: (moment: { name: string; at: number }) => boolean,
): Promise<Told[]> {
  const store = memorySeries();
  const now = (at: number) => at * minute;
  const heard: Told[] = [];
  let at = 0;
  const involved = all.filter(
    ({ name }) => name === alarm.name || [0, later].some((when) => isBad({ name, at: when })),
  );
  const series = involved.map(({ name }) => ({
    name,
    id: { from: "pgkeep", metric: "JobFailed", dimensions: { Job: name } } as const,
  }));
  const watch = watchAlarms({
    alarms: involved.map((one, index) =>
      makeAlarm({
        ...one,
        ...(series[index] === undefined ? {} : { source: { kind: "metric", metric: series[index].id } }),
        statistic: "Maximum",
        comparison: ">",
        threshold: 10,
        missingData: "missing",
        timing: timing(1, 1),
      }),
    ),
    store,
    notify: (transition) => {
      if (transition.alarm.name !== alarm.name) return;
      const { to, since } = transition;
      const { severity } = describePlainly(transition);
      heard.push({ at, to, severity, waited: (now(at) - since.getTime()) / 1000 });
    },
  });
  // The first minute finds all well.
  for (at = -1; at <= 2 * later; at += 1) {
    for (const { name, id } of series) {
      store.add(id, {
        atMilliseconds: now(at) - minute / 2,
        value: at >= 0 && isBad({ name, at }) ? 100 : 0,
      });
    }
    await watch.evaluate(new Date(now(at)));
  }
  return heard;
}
