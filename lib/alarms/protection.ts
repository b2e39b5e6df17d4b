import { type AlarmDefinition, everyTopology, fromLog, fromPgkeep, lasting, only } from "./alarm.ts";

const daySeconds = 86_400;

const certificate = {
  question: "protected",
  source: only(fromPgkeep("CertificateLifeSeconds")),
  statistic: "Maximum",
  unit: "Seconds",
  timing: lasting(5),
  comparison: "<",
  // Without TLS there is no certificate, and without a health check nobody looks.
  missingData: "missing",
  topologies: everyTopology,
  condition: "",
  likelyCause:
    "RDS renews certificates by itself: an instance that misses its maintenance windows, or an old authority.",
} as const;

/** Can it be restored up to now, and does it let nobody else in? */
export const protectionAlarms: readonly AlarmDefinition[] = [
  {
    name: "restorable-lag",
    severity: "page",
    question: "protected",
    title: "Recent changes could not be restored",
    per: "job",
    source: only(fromPgkeep("RestorableLag")),
    statistic: "Minimum",
    unit: "Seconds",
    timing: (subject) =>
      lasting(2, subject.kind === "job" ? Math.max(300, Math.ceil(subject.periodSeconds / 60) * 60) : 300),
    comparison: ">",
    threshold: () => 900,
    missingData: "missing",
    topologies: everyTopology,
    condition: "check-recovery is scheduled",
    applies: (_, subject) => subject?.name === "check-recovery",
    why: "AWS ships the log every five minutes; what is newer than the latest restorable time would be lost.",
    likelyCause: "Archiving fails, or the instance is too busy to ship its log.",
    hurts: "nobody yet; changes of the last minutes could not be restored",
    look: ["archiving", "jobs"],
    command: "npx pgkeep run check-recovery",
    consequenceOf: ["database-down"],
  },
  {
    ...certificate,
    name: "certificate-expiry",
    severity: "page",
    title: "The server's certificate expires within a week",
    threshold: () => 7 * daySeconds,
    why: "From then on no client that verifies the server can connect, this one included.",
    hurts: "nobody yet; everyone who verifies the server ({app}, {reporting}), once it has expired",
    look: ["certificate"],
    command: "npx pgkeep health",
    consequenceOf: [],
  },
  {
    ...certificate,
    name: "certificate-renewal",
    severity: "ticket",
    title: "The server's certificate was not renewed",
    threshold: () => 30 * daySeconds,
    why: "RDS renews it when half of its year is over; with a month left that has not worked.",
    hurts: "nobody yet; everyone who verifies the server ({app}, {reporting}), once it has expired",
    look: ["certificate"],
    command: "npx pgkeep health",
    consequenceOf: ["certificate-expiry"],
  },
  {
    name: "failed-logins",
    severity: "ticket",
    question: "protected",
    title: "Logins are refused again and again",
    source: only(fromLog("FailedLogins")),
    statistic: "Sum",
    unit: "Count",
    timing: lasting(1, 300),
    comparison: ">=",
    threshold: ({ config }) => config.alarms.failedLogins,
    missingData: "notBreaching",
    topologies: everyTopology,
    condition: "",
    why: "Somebody who can reach the servers tries passwords, or an application has the wrong one and is down.",
    likelyCause:
      "A client with an old password after a rotation, an expired IAM token, or a login from where none is allowed.",
    hurts: "whoever has the old password; or nobody, when a stranger tries",
    look: ["logins"],
    command: `aws logs filter-log-events --log-group-name /aws/rds/instance/pgkeep-{key}/postgresql --start-time "$(date -d '-10 min' +%s000)" --filter-pattern '?"authentication failed" ?"no pg_hba.conf entry"'`,
    consequenceOf: [],
  },
];
