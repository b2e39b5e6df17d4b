import { type AlarmDefinition, everyTopology, fromPgkeep, lasting, only } from "./alarm.ts";

/** Is what is stored what was written? */
export const integrityAlarms: readonly AlarmDefinition[] = [
  {
    name: "corrupt-objects",
    severity: "page",
    question: "protected",
    title: "Tables or indexes are damaged",
    source: only(fromPgkeep("CorruptObjects")),
    statistic: "Maximum",
    unit: "Count",
    // One datum a run; a day without one says nothing new, and job-overdue watches the job.
    timing: lasting(1, 86_400),
    comparison: ">",
    threshold: () => 0,
    missingData: "ignore",
    topologies: everyTopology,
    condition: "check-integrity is scheduled",
    applies: ({ jobs }) => jobs.some(({ name }) => name === "check-integrity"),
    why: "Queries fail or give wrong answers, backups carry the damage on, and the sound ones expire day by day.",
    likelyCause:
      "A bug, storage or memory that failed; of indexes on text alone, a changed collation of the operating system.",
    hurts: "whoever reads the damaged objects ({app}, {reporting}): errors or wrong answers",
    look: ["damage"],
    command: "npx pgkeep run check-integrity --dry-run",
    consequenceOf: [],
  },
];
