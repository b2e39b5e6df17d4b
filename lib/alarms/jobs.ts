import {
  type AlarmContext,
  type AlarmDefinition,
  everyTopology,
  fromPgkeep,
  type JobPeriod,
  lasting,
  only,
  type Subject,
} from "./alarm.ts";
import { absence, isFrequent } from "./availability.ts";

/** Jobs with entries of their own: others read `job-failed`, `job-absent` and `job-overdue`. */
const ownEntries = new Set(["check-health", "back-up", "drill-restore"]);

const isJob = (name: string) => (_: AlarmContext, subject: Subject | undefined) => subject?.name === name;
const period = (subject: Subject | undefined) =>
  subject?.kind === "job" ? subject.periodSeconds : Number.NaN;
const failures = (subject: Subject) => only(fromPgkeep("JobFailed", { Job: subject.name }));
const successAge = (subject: Subject) => only(fromPgkeep("JobSuccessAge", { Job: subject.name }));
const perJob = { per: "job", question: "protected", topologies: everyTopology } as const;
const counted = { statistic: "Sum", unit: "Count" } as const;
const aged = { statistic: "Minimum", unit: "Seconds", timing: lasting(5), comparison: ">" } as const;

/** Longest period that an alarm is known to take; of periods of an hour or longer CloudWatch looks at a week. */
const longestPeriodSeconds = 86_400;

/**
 * Whether successes are counted rather than their age read: of frequent jobs, and of those whose runs nobody
 * records, as far as an alarm can look back.
 */
const isCountable = ({ periodSeconds, recorded }: JobPeriod) =>
  isFrequent(periodSeconds) || (!recorded && periodSeconds <= longestPeriodSeconds);

/** A scheduled run may take long before it has succeeded. */
const slackSeconds = 6 * 3600;

/** Is it protected? */
export const jobAlarms: readonly AlarmDefinition[] = [
  {
    ...perJob,
    ...counted,
    name: "backup-failed",
    severity: "ticket",
    title: "A backup failed",
    source: failures,
    timing: lasting(1, 300),
    comparison: ">=",
    threshold: () => 1,
    missingData: "notBreaching",
    condition: "back-up is scheduled",
    applies: isJob("back-up"),
    why: "The day's snapshot or its manifest is missing, or old backups could not be pruned.",
    likelyCause: "The quota of snapshots, missing rights, another snapshot in progress, or a time-out.",
    hurts: "nobody yet; a restore has one day less to choose from",
    look: ["jobs"],
    command: "npx pgkeep backup list",
    consequenceOf: ["database-down", "corrupt-objects", "connections-used", "database-connections"],
  },
  {
    ...perJob,
    ...aged,
    name: "backup-late",
    severity: "ticket",
    title: "The newest backup is older than its schedule",
    // From the backups themselves, whatever the job says of its runs.
    source: only(fromPgkeep("BackupAge")),
    timing: lasting(1, 300),
    threshold: (_, subject) => period(subject) + slackSeconds,
    missingData: "ignore",
    condition: "back-up and check-recovery are scheduled",
    applies: ({ jobs }, subject) =>
      subject?.name === "back-up" && jobs.some(({ name }) => name === "check-recovery"),
    why: "One backup is missing. AWS's own daily snapshot and point-in-time recovery do not depend on it.",
    likelyCause: "The last run failed, still runs or was never started, or somebody deleted what it made.",
    hurts: "nobody yet; a restore has one day less to choose from",
    look: ["jobs"],
    command: "npx pgkeep run check-recovery",
    consequenceOf: ["backup-absent", "backup-failed"],
  },
  {
    ...perJob,
    ...aged,
    name: "backup-absent",
    severity: "page",
    title: "No backup has succeeded for two of its periods",
    source: successAge,
    threshold: (_, subject) => 2 * period(subject) + slackSeconds,
    missingData: "ignore",
    condition: "back-up is scheduled",
    applies: isJob("back-up"),
    why: "The retention that was promised has a gap.",
    likelyCause: "A disabled schedule, or a failure that nobody looked at.",
    hurts: "nobody yet; days are missing that a restore could go back to",
    look: ["jobs"],
    command: "npx pgkeep backup list",
    consequenceOf: [],
  },
  {
    ...perJob,
    ...counted,
    name: "drill-failed",
    severity: "ticket",
    title: "The restore drill failed",
    source: failures,
    timing: lasting(1, 300),
    comparison: ">=",
    threshold: () => 1,
    missingData: "notBreaching",
    condition: "drill-restore is scheduled",
    applies: isJob("drill-restore"),
    why: "A backup that cannot be restored and proved is no backup.",
    likelyCause:
      "The restore failed, data differ from the manifest, or it took longer than backups.drill allows.",
    hurts: "nobody yet; a restore may fail when it is needed",
    look: ["jobs"],
    command: "npx pgkeep backup list",
    consequenceOf: [],
  },
  {
    ...perJob,
    ...aged,
    name: "drill-absent",
    severity: "ticket",
    title: "No restore drill has succeeded for two of its periods",
    source: successAge,
    threshold: (_, subject) => 2 * period(subject) + slackSeconds,
    missingData: "ignore",
    condition: "drill-restore is scheduled",
    applies: isJob("drill-restore"),
    why: "Nobody knows whether the backups of these months can be restored.",
    likelyCause: "A disabled schedule, or drills that failed.",
    hurts: "nobody yet; nobody knows whether a restore works",
    look: ["jobs"],
    command: "npx pgkeep backup list",
    consequenceOf: ["drill-failed"],
  },
  {
    ...perJob,
    ...counted,
    name: "job-failed",
    severity: "ticket",
    title: "A job fails",
    source: failures,
    timing: (subject) =>
      isFrequent(period(subject))
        ? { ...lasting(5, Math.max(60, Math.ceil(period(subject) / 60) * 60)), datapointsToAlarm: 3 }
        : lasting(1, 300),
    comparison: ">=",
    threshold: () => 1,
    missingData: "notBreaching",
    condition: "each other job that is scheduled",
    applies: (_, subject) => subject?.kind === "job" && !ownEntries.has(subject.name),
    why: "What the job does for the database is not done.",
    likelyCause: "The report of the run says it.",
    hurts: "nobody yet; what {subject} does for the database is not done",
    look: ["jobs"],
    command: "npx pgkeep run {subject} --dry-run",
    consequenceOf: ["database-down", "connections-used", "database-connections"],
    // It fails for the damage that it has found.
    causesOf: (subject) => (subject?.name === "check-integrity" ? ["corrupt-objects"] : []),
  },
  {
    ...perJob,
    ...counted,
    name: "job-absent",
    severity: "ticket",
    title: "A frequent job has not succeeded for two of its periods",
    source: (subject) => only(fromPgkeep("JobSucceeded", { Job: subject.name })),
    timing: (subject) => absence(period(subject)),
    comparison: "<",
    threshold: () => 1,
    missingData: "breaching",
    condition: "each other job that is scheduled at least every twelve hours (check-recovery: each day)",
    applies: (_, subject) => subject?.kind === "job" && !ownEntries.has(subject.name) && isCountable(subject),
    why: "It fails each time, or nothing starts it.",
    likelyCause: "A disabled schedule, throttling, missing rights, or an earlier run that never ends.",
    hurts: "nobody yet; what {subject} does for the database is not done",
    look: ["jobs"],
    command: "npx pgkeep run {subject} --dry-run",
    consequenceOf: ["database-down", "job-failed"],
  },
  {
    ...perJob,
    ...aged,
    name: "job-overdue",
    severity: "ticket",
    title: "A job has not succeeded for two of its periods",
    source: successAge,
    threshold: (_, subject) => 2 * period(subject) + slackSeconds,
    missingData: "ignore",
    condition: "each other job that is scheduled more rarely than every twelve hours",
    applies: (_, subject) =>
      subject?.kind === "job" && !ownEntries.has(subject.name) && subject.recorded && !isCountable(subject),
    why: "It fails each time, or nothing starts it.",
    likelyCause: "A disabled schedule, missing rights, or an earlier run that never ends.",
    hurts: "nobody yet; what {subject} does for the database is not done",
    look: ["jobs"],
    command: "npx pgkeep run {subject} --dry-run",
    consequenceOf: ["job-failed"],
  },
];
