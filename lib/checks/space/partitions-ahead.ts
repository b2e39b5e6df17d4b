import { qualified } from "../../postgres/identifiers.ts";
import { durationText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type Partitioned, readPartitioned } from "./partitions.ts";

/** A table whose last range ended longer ago than so many of its ranges is an archive. */
const archiveRanges = 3;
/** Time to act; of shorter ranges, one of them. Whoever makes partitions once a month or a year is in time. */
const timeToActSeconds = 7 * 86_400;

/** Tables by time that get new rows, and whose last partition ends soon or has ended. */
export const partitionsAhead: ReviewCheck = {
  name: "partitions-ahead",
  title: "Are there partitions for the rows to come?",
  area: "space",
  async run(context) {
    const byTime = (await readPartitioned(context)).filter(
      ({ strategy, isTime, columns }) => strategy === "r" && isTime && columns === 1,
    );
    const findings = byTime.flatMap((table) => {
      const found = finding(table, context.now);
      return found === undefined ? [] : [found];
    });
    return concludeReview({
      findings,
      facts: { tablesByTime: byTime.length },
      good: byTime.length === 0 ? [] : ["Tables by time have partitions for the time to come."],
    });
  },
};

function finding(one: Partitioned, now: Date): ReviewFinding | undefined {
  const { lastEnd, lastSeconds } = one;
  if (lastEnd === null || lastSeconds === null || lastSeconds <= 0 || one.isOpen) return undefined;
  const left = (lastEnd.getTime() - now.getTime()) / 1000;
  if (left >= Math.min(lastSeconds, timeToActSeconds)) return undefined;
  const isArchive = left < -archiveRanges * lastSeconds && one.inserted === 0;
  if (isArchive) return undefined;
  const hasEnded = left <= 0;
  const hasDefault = one.defaultTable !== null;
  const name = qualified(one.schema, one.table);
  return {
    check: "partitions-ahead",
    key: `partitions-ahead/${one.schema}.${one.table}`,
    severity: hasEnded ? (hasDefault ? "medium" : "high") : hasDefault ? "low" : "medium",
    confidence: hasEnded ? "likely" : "certain",
    object: { schema: one.schema, table: one.table },
    title: hasEnded
      ? `${name} has no partition for the present: the last ended ${durationText(-left)} ago`
      : `the last partition of ${name} ends in ${durationText(left)}`,
    evidence: {
      lastRangeEnds: lastEnd.toISOString(),
      lengthOfLastRange: durationText(lastSeconds),
      partitions: one.partitions,
      defaultPartition: hasDefault,
      insertedSinceStatisticsBegan: one.inserted,
    },
    impact: hasDefault
      ? "New rows go to the default partition, from where they have to be moved before a partition can take them."
      : `${hasEnded ? "Inserts" : "From then on inserts"} of the present fail: no partition of relation found for row.`,
    blastRadius: `inserts into ${name}`,
    rootCause: "Partitions are made by hand, or the job that makes them has stopped.",
    prevention: "Declare the table under partitions.tables: pgkeep run manage-partitions makes them ahead.",
    effort: "minutes",
    since: hasEnded ? lastEnd.toISOString() : now.toISOString(),
    remediation: {
      sql: [
        `-- pgkeep run manage-partitions, with the table under partitions.tables; or by hand, as often as wanted ahead:`,
        `-- CREATE TABLE … (LIKE ${name.replace(/\p{Cc}+/gu, " ")} INCLUDING ALL);`,
        `-- ALTER TABLE ${name.replace(/\p{Cc}+/gu, " ")} ATTACH PARTITION … FOR VALUES FROM ('${lastEnd.toISOString()}') TO ('${new Date(lastEnd.getTime() + lastSeconds * 1000).toISOString()}');`,
      ].join("\n"),
      lock: "SHARE UPDATE EXCLUSIVE on the table; ACCESS EXCLUSIVE on a default partition while it is looked through",
      rollback:
        "ALTER TABLE … DETACH PARTITION … CONCURRENTLY, and DROP TABLE of the new one while it is empty",
    },
  };
}
