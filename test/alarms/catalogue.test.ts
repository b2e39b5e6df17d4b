import { describe, expect, it } from "vitest";
import type { Alarm, AlarmSource, MetricReference } from "../../lib/alarms/alarm.ts";
import { awsMetric } from "../../lib/alarms/aws-metrics.ts";
import { alarmsFor, catalogue } from "../../lib/alarms/catalogue.ts";
import { metrics } from "../../lib/alarms/metrics.ts";
import { alarmContextOf } from "../../lib/constructs/alarm-context.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { jobNames } from "../../lib/jobs/success-age.ts";
import { configOf, contextOf, factsOf, type Topology, topologies, wholeConfig } from "./contexts.ts";

const day = 86_400;

const metricsOf = (source: AlarmSource): MetricReference[] =>
  source.kind === "metric" ? [source.metric] : [source.part, ...source.whole];

/** Defaults, and both ends of what the configuration allows to be set. */
const variants: Record<string, Record<string, Record<string, unknown>>> = {
  defaults: {},
  "lowest limits": {
    alarms: { cpuPercent: 0, freeStoragePercent: 0, replicaLagSeconds: 1, transactionIdsPage: 200_000_000 },
    health: { connectionsPercent: 0, cacheHitPercent: 0, longQueryTicketSeconds: 1, slotRetainedBytes: 1 },
    pooling: { borrowTimeoutSeconds: 1 },
  },
  "highest limits": {
    alarms: {
      cpuPercent: 100,
      freeStoragePercent: 100,
      replicaLagSeconds: 86_400,
      transactionIdsPage: 2_000_000_000,
      transactionIdsTicket: 2_000_000_000,
    },
    health: { connectionsPercent: 100, cacheHitPercent: 100, longQueryTicketSeconds: 86_400 },
    pooling: { borrowTimeoutSeconds: 300 },
  },
  "no replicas, no proxy": { replicas: { count: 0 }, pooling: { enabled: false } },
  cache: { cache: { enabled: true } },
  "cache without replicas, lowest limits": {
    cache: {
      enabled: true,
      replicas: 0,
      maxMemoryPolicy: "noeviction",
      limits: {
        cpuPercent: 0,
        memoryPercent: 0,
        evictionsPerMinute: 0,
        connections: 1,
        replicaLagSeconds: 1,
        authenticationFailures: 0,
      },
    },
  },
  "cache, highest limits": {
    cache: {
      enabled: true,
      maxMemoryPolicy: "volatile-ttl",
      limits: { cpuPercent: 100, memoryPercent: 100, connections: 65_000, replicaLagSeconds: 86_400 },
    },
  },
  "rare schedules": {
    schedules: {
      "check-health": "0 3 * * *",
      "route-replicas": "*/30 * * * *",
      "drill-restore": "0 4 1 1,7 *",
      "check-recovery": "0 4 * * *",
    },
  },
};

const cases = topologies.flatMap((topology) =>
  Object.entries(variants).map(([name, sections]) => ({ topology, name, sections })),
);

const alarmsOf = (topology: Topology, sections: Record<string, Record<string, unknown>> = {}) =>
  alarmsFor(contextOf(configOf(topology, sections)));

function holds(value: number, { comparison, threshold }: Alarm): boolean {
  if (comparison === ">") return value > threshold;
  if (comparison === ">=") return value >= threshold;
  return comparison === "<" ? value < threshold : value <= threshold;
}

describe.each(cases)("alarms of $topology with $name", ({ topology, sections }) => {
  const alarms = alarmsOf(topology, sections);

  it("have unique names that fit CloudWatch", () => {
    expect(alarms.length).toBeGreaterThan(20);
    const names = alarms.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z][a-z0-9-]{3,100}$/);
  });

  it("can fire: some value of the metric is beyond the threshold", () => {
    for (const alarm of alarms) {
      expect(Number.isFinite(alarm.threshold), `${alarm.name}: ${alarm.threshold}`).toBe(true);
      const range = alarm.source.kind === "share" ? [0, 100] : factsOf(alarm.source.metric).range;
      expect(
        range.some((end) => holds(end, alarm)),
        `${alarm.name} ${alarm.comparison} ${alarm.threshold}`,
      ).toBe(true);
    }
  });

  it("use a statistic that fits the kind of their metric", () => {
    for (const alarm of alarms) {
      for (const reference of metricsOf(alarm.source)) {
        const { kind } = factsOf(reference);
        expect(
          alarm.statistic === "Sum",
          `${alarm.name}: ${alarm.statistic} of the ${kind} ${reference.metric}`,
        ).toBe(kind === "delta");
      }
    }
  });

  it("say their threshold in the metric's unit", () => {
    for (const alarm of alarms) {
      const unit = alarm.source.kind === "share" ? "Percent" : factsOf(alarm.source.metric).unit;
      expect(alarm.unit, alarm.name).toBe(unit);
    }
  });

  it("look back no further than CloudWatch allows", () => {
    for (const { name, timing } of alarms) {
      const { periodSeconds, evaluationPeriods, datapointsToAlarm } = timing;
      expect(periodSeconds % 60, name).toBe(0);
      expect(periodSeconds, name).toBeGreaterThanOrEqual(60);
      expect(datapointsToAlarm, name).toBeLessThanOrEqual(evaluationPeriods);
      expect(datapointsToAlarm, name).toBeGreaterThan(0);
      expect(periodSeconds * evaluationPeriods, name).toBeLessThanOrEqual(
        periodSeconds >= 3600 ? 7 * day : day,
      );
    }
  });

  it("use no metric that the topology lacks", () => {
    for (const { name, source } of alarms) {
      for (const reference of metricsOf(source)) {
        if (reference.from === "aws")
          expect(awsMetric(reference.metric).topologies, name).toContain(topology);
      }
    }
  });

  it("give pgkeep's metrics the dimensions that they have", () => {
    for (const { name, source } of alarms) {
      for (const reference of metricsOf(source)) {
        if (reference.from !== "pgkeep") continue;
        expect(Object.keys(reference.dimensions), name).toEqual([...metrics[reference.metric].dimensions]);
      }
    }
  });

  it("are silenced only by alarms that exist, and never in a circle", () => {
    const byName = new Map(alarms.map((alarm) => [alarm.name, alarm]));
    const visit = (alarm: Alarm, path: string[]): void => {
      expect(path, `${[...path, alarm.name].join(" → ")}`).not.toContain(alarm.name);
      for (const cause of alarm.consequenceOf) {
        const found = byName.get(cause);
        if (found === undefined)
          throw new Error(`${alarm.name} is a consequence of ${cause}, which does not exist`);
        visit(found, [...path, alarm.name]);
      }
    };
    for (const alarm of alarms) visit(alarm, []);
  });
});

describe("the catalogue", () => {
  it("has unique entries, each complete", () => {
    const names = catalogue.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const entry of catalogue) {
      for (const text of [entry.title, entry.why, entry.likelyCause])
        expect(text.length, entry.name).toBeGreaterThan(8);
      expect(
        entry.condition !== "" || entry.applies === undefined,
        `${entry.name} says when it applies`,
      ).toBe(true);
    }
  });

  it("silences by entries that exist", () => {
    const names = new Set(catalogue.map(({ name }) => name));
    for (const { name, consequenceOf } of catalogue) {
      expect(
        consequenceOf.filter((cause) => !names.has(cause)),
        name,
      ).toEqual([]);
    }
  });

  it("lets a page be silenced by pages alone", () => {
    const severities = new Map(catalogue.map(({ name, severity }) => [name, severity]));
    for (const { name, severity, consequenceOf } of catalogue) {
      if (severity !== "page") continue;
      expect(
        consequenceOf.filter((cause) => severities.get(cause) !== "page"),
        name,
      ).toEqual([]);
    }
  });

  it("uses every entry in some topology", () => {
    const used = new Set(
      cases.flatMap(({ topology, sections }) => alarmsOf(topology, sections).map(({ entry }) => entry)),
    );
    // No job is left that is rare and has no entry of its own, when vacuum is the only one.
    expect(catalogue.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
  });
});

describe("what a configuration changes", () => {
  const named = (alarms: Alarm[], name: string) => alarms.find((alarm) => alarm.name === name);

  it("makes one alarm a replica, and none without", () => {
    const names = alarmsOf("instance", { replicas: { count: 3 } }).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["replica-lag-replica-1", "replica-lag-replica-3"]));
    expect(
      alarmsOf("instance", { replicas: { count: 0 } }).filter(
        ({ subject }) => subject?.kind === "replica" || subject?.kind === "reader",
      ),
    ).toEqual([]);
  });

  it("watches the load of every server that is always there, and of which the role may change", () => {
    const loads = (topology: Topology, count = 2) =>
      alarmsOf(topology, { replicas: { count } })
        .filter(({ entry }) => entry === "db-load")
        .map(({ subject }) => subject?.name);
    expect(loads("instance", 1)).toEqual(["primary", "replica-1"]);
    expect(loads("multi-az-cluster")).toEqual(["instance-1", "instance-2", "instance-3"]);
    expect(loads("aurora", 1)).toEqual(["instance-1", "instance-2"]);
  });

  it("watches what can be restored as often as that is measured, and not when nobody measures it", () => {
    expect(named(alarmsOf("instance"), "restorable-lag")?.timing.periodSeconds).toBe(300);
    const hourly = alarmsOf("instance", { schedules: { "check-recovery": "0 * * * *" } });
    expect(named(hourly, "restorable-lag")?.timing.periodSeconds).toBe(3600);
    const off = alarmsOf("instance", { schedules: { "check-recovery": "off" } });
    expect(off.filter(({ entry }) => /restorable|backup-late/.test(entry))).toEqual([]);
    expect(named(off, "backup-absent")).toBeDefined();
  });

  it("misses check-recovery by its successes, each day at least", () => {
    for (const [schedule, seconds] of [
      ["*/5 * * * *", 300],
      ["0 4 * * *", day],
    ] as const) {
      const alarms = alarmsOf("instance", { schedules: { "check-recovery": schedule } });
      expect(named(alarms, "job-absent-check-recovery")?.timing, schedule).toMatchObject({
        periodSeconds: seconds,
        evaluationPeriods: 2,
      });
      expect(named(alarms, "job-overdue-check-recovery"), schedule).toBeUndefined();
    }
  });

  it("asks for JobSuccessAge only of jobs whose runs are recorded on AWS", () => {
    const recorded: readonly string[] = jobNames;
    for (const { topology, sections } of cases) {
      for (const { name, source } of alarmsOf(topology, sections)) {
        const metric = source.kind === "metric" ? source.metric : undefined;
        if (metric?.metric !== "JobSuccessAge" || metric.from !== "pgkeep") continue;
        expect(recorded, name).toContain(metric.dimensions.Job);
      }
    }
  });

  it("silences a replica's alarm by its own, not by another replica's", () => {
    const alarm = named(alarmsOf("instance"), "replica-lag-replica-2");
    expect(alarm?.consequenceOf).toEqual(["database-down", "replication-stopped-replica-2"]);
  });

  it("watches FreeStorageSpace on RDS and FreeLocalStorage on Aurora", () => {
    expect(named(alarmsOf("instance"), "free-local-storage")).toBeUndefined();
    expect(named(alarmsOf("aurora"), "free-storage")).toBeUndefined();
    expect(named(alarmsOf("aurora"), "free-local-storage")).toBeDefined();
    const serverless = alarmsOf("aurora", { database: { instanceClass: "serverless" } });
    expect(named(serverless, "free-local-storage")).toBeUndefined();
    expect(named(serverless, "freeable-memory")).toBeUndefined();
    expect(named(serverless, "database-connections")).toBeUndefined();
  });

  it("pages for storage only when autoscaling did not help", () => {
    const fixed = alarmsOf("instance", { database: { storageGigabytes: 100, maxStorageGigabytes: 100 } });
    const growing = alarmsOf("instance", { database: { storageGigabytes: 100, maxStorageGigabytes: 500 } });
    expect(named(fixed, "free-storage")?.threshold).toBe(10 * 2 ** 30);
    expect(named(growing, "free-storage")?.threshold).toBe(5 * 2 ** 30);
    expect(named(growing, "storage-ceiling")?.threshold).toBe(450 * 2 ** 30);
  });

  it("takes connections and memory from the class", () => {
    const alarms = alarmsOf("instance");
    // m7g.large: 8 GiB; LEAST(8 GiB / 9531392, 5000) connections.
    expect(named(alarms, "database-connections")?.threshold).toBeCloseTo(0.9 * 901, 5);
    expect(named(alarms, "freeable-memory")?.threshold).toBe(2 * 2 ** 30);
    expect(named(alarmsOf("aurora"), "freeable-memory")?.threshold).toBeCloseTo(0.05 * 16 * 2 ** 30, 0);
    expect(
      named(alarmsOf("instance", { database: { maxConnections: 200 } }), "database-connections")?.threshold,
    ).toBe(180);
  });

  it("counts lag in milliseconds on Aurora", () => {
    expect(named(alarmsOf("aurora"), "aurora-replica-lag-readers")?.threshold).toBe(60_000);
    expect(named(alarmsOf("instance"), "replica-lag-replica-1")?.threshold).toBe(60);
  });

  it("watches each scheduled job for two of its periods, and none that is off", () => {
    const alarms = alarmsOf("instance", { schedules: { vacuum: "off", "route-replicas": "*/30 * * * *" } });
    expect(alarms.filter(({ subject }) => subject?.name === "vacuum")).toEqual([]);
    expect(named(alarms, "job-absent-route-replicas")?.timing).toEqual({
      periodSeconds: 1800,
      evaluationPeriods: 2,
      datapointsToAlarm: 2,
    });
    expect(named(alarms, "backup-absent")?.threshold).toBe(2 * day + 6 * 3600);
    expect(named(alarms, "drill-absent")?.threshold).toBe(62 * day + 6 * 3600);
    expect(named(alarmsOf("instance"), "job-overdue-vacuum")?.threshold).toBe(2 * day + 6 * 3600);
  });

  it("has an alarm for the absence and for the failure of every job", () => {
    const alarms = alarmsOf("instance");
    for (const { name } of jobs) {
      const about = alarms.filter(({ subject }) => subject?.name === name).map(({ entry }) => entry);
      expect(
        about.some((entry) => /absent|overdue/.test(entry)),
        name,
      ).toBe(true);
      if (name !== "check-health")
        expect(
          about.some((entry) => /failed/.test(entry)),
          name,
        ).toBe(true);
    }
  });

  it("watches the account's quota once", () => {
    const [first, second] = [configOf("instance"), { ...configOf("instance"), key: "second" }];
    const all = wholeConfig(first, second);
    const names = [first, second].flatMap((config) =>
      alarmsFor(alarmContextOf(config, all, { replicas: [], readers: [], servers: [], proxy: false })).map(
        ({ name }) => name,
      ),
    );
    expect(names.filter((name) => name === "snapshot-quota")).toHaveLength(1);
  });

  it("watches each node of a cache, and none without one", () => {
    const about = (cache: Record<string, unknown>) =>
      alarmsOf("instance", { cache })
        .filter(({ subject }) => subject?.kind === "cache-node")
        .map(({ name }) => name);
    expect(about({ replicas: 3 })).toEqual([]);
    expect(about({ enabled: true, replicas: 1 })).toEqual([
      "cache-evictions-node-1",
      "cache-evictions-node-2",
      "cache-connections-node-1",
      "cache-connections-node-2",
      "cache-cpu-node-1",
      "cache-cpu-node-2",
      "cache-replica-lag-node-1",
      "cache-replica-lag-node-2",
      "cache-authentication-failures-node-1",
      "cache-authentication-failures-node-2",
    ]);
    // Where not every key may give way, full is not a state to be in; one node has no replica to be behind.
    expect(about({ enabled: true, replicas: 0, maxMemoryPolicy: "volatile-lru" })).toEqual([
      "cache-memory-node-1",
      "cache-evictions-node-1",
      "cache-connections-node-1",
      "cache-cpu-node-1",
      "cache-authentication-failures-node-1",
    ]);
  });

  it("is plain data", () => {
    const alarms = alarmsOf("instance");
    expect(JSON.parse(JSON.stringify(alarms))).toEqual(alarms);
  });
});
