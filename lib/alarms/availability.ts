import { type AlarmDefinition, everyTopology, fromPgkeep, lasting, only } from "./alarm.ts";

/** Is it up? */
export const availabilityAlarms: readonly AlarmDefinition[] = [
  {
    name: "database-down",
    severity: "page",
    question: "up",
    title: "The primary does not answer",
    source: only(fromPgkeep("Up")),
    statistic: "Maximum",
    unit: "Count",
    timing: lasting(3),
    comparison: "<",
    threshold: () => 1,
    // Without a health check nothing is measured, and health-check-absent says so.
    missingData: "missing",
    topologies: everyTopology,
    condition: "",
    why: "Nobody can write, and nobody can read from the primary.",
    likelyCause: "A failover, a crash, a full disk, every connection taken, or a change of network or login.",
    hurts: "everyone who writes ({app}), and who reads from the primary",
    look: ["reachability"],
    command: "npx pgkeep health",
    consequenceOf: [],
  },
  {
    name: "health-check-absent",
    severity: "page",
    question: "up",
    title: "The health check does not succeed",
    source: only(fromPgkeep("JobSucceeded", { Job: "check-health" })),
    statistic: "Sum",
    unit: "Count",
    timing: (subject) => absence(subject.kind === "job" ? subject.periodSeconds : 60),
    per: "job",
    comparison: "<",
    threshold: () => 1,
    missingData: "breaching",
    topologies: everyTopology,
    condition: "check-health is scheduled at least every twelve hours",
    applies: (_, subject) =>
      subject?.kind === "job" && subject.name === "check-health" && isFrequent(subject.periodSeconds),
    why: "Nobody looks at the database: every alarm on pgkeep's own metrics is blind.",
    likelyCause: "The function fails or is throttled, its schedule is disabled, or it cannot log in.",
    hurts: "nobody by itself; the alarms on pgkeep's own metrics are blind",
    look: ["jobs", "reachability"],
    command: "npx pgkeep health",
    consequenceOf: ["database-down"],
  },
  {
    name: "heartbeat-late",
    severity: "ticket",
    question: "up",
    title: "The heartbeat is not written",
    source: only(fromPgkeep("HeartbeatAge")),
    statistic: "Minimum",
    unit: "Seconds",
    per: "job",
    timing: lasting(5),
    comparison: ">",
    threshold: (_, subject) => (subject?.kind === "job" ? 2 * subject.periodSeconds + 120 : 240),
    missingData: "notBreaching",
    topologies: everyTopology,
    condition: "check-health is scheduled",
    applies: (_, subject) => subject?.kind === "job" && subject.name === "check-health",
    why: "Replica lag of an idle primary and the data lost in a restore are read from the heartbeat.",
    likelyCause:
      "The primary refuses writes (disk full, read-only), or pgkeep_monitoring lost its right to write.",
    hurts: "perhaps everyone who writes ({app}); the lag of replicas is no longer known",
    look: ["heartbeat", "storage"],
    command: "npx pgkeep health",
    consequenceOf: ["database-down", "health-check-absent"],
  },
];

/** Longest window that an alarm on counts may look back, less than CloudWatch's day so that two periods fit. */
const frequentSeconds = 43_200;

/** Whether two periods of the job fit into the day that an alarm with short periods may look back. */
export function isFrequent(periodSeconds: number): boolean {
  return periodSeconds <= frequentSeconds;
}

/** Two periods of a job without success; of a job that runs each minute, five minutes. */
export function absence(periodSeconds: number): {
  periodSeconds: number;
  evaluationPeriods: number;
  datapointsToAlarm: number;
} {
  const whole = Math.max(60, Math.ceil(periodSeconds / 60) * 60);
  return lasting(whole <= 120 ? 5 : 2, whole);
}
