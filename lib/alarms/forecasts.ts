import {
  type AlarmContext,
  type AlarmDefinition,
  everyTopology,
  fromPgkeep,
  lasting,
  only,
} from "./alarm.ts";

/**
 * A month: time for what takes a release and a maintenance window (a wider column is a rewrite of its table, old
 * partitions have to be agreed on). Our own choice, as neither AWS nor PostgreSQL names one.
 */
const ticketDays = 30;

const isCollected = ({ jobs }: AlarmContext) => jobs.some(({ name }) => name === "collect-history");

const forecast = {
  severity: "ticket",
  question: "full",
  // One datum a day; a day without one says nothing new, and job-overdue watches the job.
  statistic: "Minimum",
  unit: "Count",
  timing: lasting(1, 86_400),
  comparison: "<",
  threshold: () => ticketDays,
  missingData: "ignore",
  condition: "collect-history is scheduled",
  applies: isCollected,
} as const;

/** What will be full? */
export const forecastAlarms: readonly AlarmDefinition[] = [
  {
    ...forecast,
    name: "storage-forecast",
    title: "At its present growth the database reaches its largest storage within a month",
    source: only(fromPgkeep("DaysUntilStorageFull")),
    topologies: ["instance", "multi-az-cluster"],
    why: "There is still time to remove old data, or to raise database.maxStorageGigabytes.",
    likelyCause: "A table that only grows, a new feature, or bloat.",
    hurts: "nobody yet; everyone ({app}, {reporting}), once storage can grow no more",
    look: ["storage"],
    command: "npx pgkeep forecast",
    consequenceOf: ["storage-ceiling", "free-storage"],
  },
  {
    ...forecast,
    name: "transaction-ids-forecast",
    title: "At the present rate transaction or multixact ids run out within a month",
    source: only(fromPgkeep("DaysUntilTransactionIdsExhausted")),
    topologies: everyTopology,
    why: "Only said once autovacuum does not freeze in time: from then on, the rate of use counts the days.",
    likelyCause: "As for transaction-ids-critical, and many small transactions.",
    hurts: "nobody yet; everyone who writes ({app}), once the ids have run out",
    look: ["wraparound", "prepared-transactions", "idle-in-transaction"],
    command: "npx pgkeep forecast",
    consequenceOf: ["transaction-ids-high", "transaction-ids-critical"],
  },
  {
    ...forecast,
    name: "key-forecast",
    title: "At its present rate an integer key runs out of values within a month",
    source: only(fromPgkeep("DaysUntilKeyExhausted")),
    topologies: everyTopology,
    why: "After its last value every INSERT fails, and a wider column takes a rewrite of the table.",
    likelyCause:
      "An integer key of a busy table, a foreign key's column smaller than its key, or a sequence that upserts burn.",
    hurts: "nobody yet; whoever inserts into that table ({app}), once its key has run out",
    look: ["keys"],
    command: "npx pgkeep forecast",
    consequenceOf: [],
  },
];
