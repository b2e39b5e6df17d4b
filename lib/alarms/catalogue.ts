import type { Alarm, AlarmContext, AlarmDefinition, Subject } from "./alarm.ts";
import { availabilityAlarms } from "./availability.ts";
import { cacheAlarms, cacheNodes } from "./cache.ts";
import { capacityAlarms } from "./capacity.ts";
import { forecastAlarms } from "./forecasts.ts";
import { integrityAlarms } from "./integrity.ts";
import { jobAlarms } from "./jobs.ts";
import { latencyAlarms } from "./latency.ts";
import { protectionAlarms } from "./protection.ts";
import { proxyAlarms } from "./proxy.ts";
import { replicationAlarms } from "./replication.ts";

/** Every alarm. Each becomes an alarm on AWS, one in the sandbox, and a section of docs/runbook.md. */
export const catalogue: readonly AlarmDefinition[] = [
  ...availabilityAlarms,
  ...proxyAlarms,
  ...replicationAlarms,
  ...capacityAlarms,
  ...forecastAlarms,
  ...latencyAlarms,
  ...protectionAlarms,
  ...integrityAlarms,
  ...jobAlarms,
  ...cacheAlarms,
];

/** What somebody might expect an alarm for, and why there is none. */
export const notCovered: readonly { what: string; because: string }[] = [
  {
    what: "a lost node of the cache",
    because:
      "ElastiCache replaces it by itself and sends an event; the database's own alarms tell what it has to bear",
  },
  {
    what: "certificates of replicas",
    because: "the health check sees the primary's, which RDS renews in the same way and at the same age",
  },
  {
    what: "active sessions of readers that Aurora's autoscaling adds",
    because: "they are measured under names that AWS makes up when it adds them",
  },
  {
    what: "clients of the proxy against a limit",
    because: "RDS Proxy has no limit of its own to set; proxy-connections-used watches what runs out first",
  },
];

/** The alarms of one database, with every threshold worked out. */
export function alarmsFor(context: AlarmContext): Alarm[] {
  const { topology } = context.config.database;
  const present = catalogue.filter((entry) => entry.topologies.includes(topology));
  const alarms = present.flatMap((entry) =>
    subjectsOf(entry, context)
      .filter((subject) => entry.applies?.(context, subject) ?? true)
      .map((subject) => ({ entry, alarm: alarmOf(entry, context, subject) })),
  );
  return alarms.map(({ entry, alarm }) => ({
    ...alarm,
    consequenceOf: [...entry.consequenceOf, ...(entry.causesOf?.(alarm.subject) ?? [])].flatMap((cause) =>
      causes(cause, alarm, alarms),
    ),
  }));
}

function subjectsOf(entry: AlarmDefinition, context: AlarmContext): (Subject | undefined)[] {
  if (entry.per === "replica") return context.replicas.map((name) => ({ kind: "replica", name }));
  if (entry.per === "reader") return context.readers.map((name) => ({ kind: "reader", name }));
  if (entry.per === "server") return context.servers.map((name) => ({ kind: "server", name }));
  if (entry.per === "cache-node") return cacheNodes(context.config);
  if (entry.per === "job") return context.jobs.map((job) => ({ kind: "job", ...job }));
  return [undefined];
}

function alarmOf(entry: AlarmDefinition, context: AlarmContext, subject: Subject | undefined): Alarm {
  const given = <T>(value: T | ((subject: Subject) => T)): T => {
    if (typeof value !== "function") return value;
    if (subject === undefined) throw new TypeError(`the alarm ${entry.name} needs a subject`);
    return (value as (subject: Subject) => T)(subject);
  };
  return {
    name: nameOf(entry, subject),
    entry: entry.name,
    severity: entry.severity,
    question: entry.question,
    title: subject === undefined ? entry.title : `${entry.title} (${subject.name})`,
    ...(subject === undefined ? {} : { subject }),
    source: withSubject(given(entry.source), subject),
    statistic: entry.statistic,
    unit: entry.unit,
    timing: given(entry.timing),
    comparison: entry.comparison,
    threshold: entry.threshold(context, subject),
    missingData: entry.missingData,
    why: entry.why,
    likelyCause: entry.likelyCause,
    hurts: entry.hurts,
    look: entry.look,
    command: entry.command,
    consequenceOf: [],
  };
}

/** An entry about one job alone needs no job in its name. */
function nameOf(entry: AlarmDefinition, subject: Subject | undefined): string {
  if (subject === undefined) return entry.name;
  return entry.per !== "job" || entry.name.startsWith("job-") ? `${entry.name}-${subject.name}` : entry.name;
}

/** pgkeep's own metrics of a reader carry its name. */
function withSubject(source: Alarm["source"], subject: Subject | undefined): Alarm["source"] {
  if (subject?.kind !== "reader" || source.kind !== "metric" || source.metric.from !== "pgkeep") {
    return source;
  }
  return { kind: "metric", metric: { ...source.metric, dimensions: { Replica: subject.name } } };
}

/** The alarms of an entry that explain this one: the one about the same thing, where there is one. */
function causes(entry: string, alarm: Alarm, all: readonly { alarm: Alarm }[]): string[] {
  const candidates = all.map((one) => one.alarm).filter((one) => one.entry === entry);
  const same = candidates.filter(
    ({ subject }) => subject !== undefined && subject.name === alarm.subject?.name,
  );
  return (same.length > 0 ? same : candidates).map(({ name }) => name);
}
