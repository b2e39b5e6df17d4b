import { qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type Partitioned, readPartitioned } from "./partitions.ts";

/**
 * Rows in the default partition of ranges: there was no partition for them, and now none can be made without moving
 * them. Of a list, a default partition is often meant to hold "the others".
 */
export const defaultPartitionRows: ReviewCheck = {
  name: "default-partition-rows",
  title: "Are there rows that no partition wanted?",
  area: "space",
  async run(context) {
    const tables = (await readPartitioned(context)).filter(
      ({ strategy, defaultTable, defaultKind }) =>
        strategy === "r" && defaultTable !== null && defaultKind !== "f",
    );
    const filled = tables.filter(({ defaultPages, defaultRows }) => defaultRows > 0 || defaultPages > 0);
    // Pages without a row: it was emptied, and nobody has looked since.
    const found = filled.filter(({ defaultRows }) => defaultRows > 0);
    return concludeReview({
      findings: found.map(finding),
      facts: { defaultPartitionsOfRanges: tables.length },
      good: tables.length === 0 ? [] : ["The default partitions are empty: every row has its own."],
      obstacle:
        context.session.isStandby && tables.length > found.length
          ? "only the primary counts rows that were not analyzed yet: ask the primary"
          : undefined,
    });
  },
};

function finding(one: Partitioned): ReviewFinding {
  const parent = qualified(one.schema, one.table);
  const partition = qualified(one.defaultSchema ?? one.schema, one.defaultTable ?? "");
  return {
    check: "default-partition-rows",
    key: `default-partition-rows/${one.schema}.${one.table}`,
    severity: "medium",
    confidence: "likely",
    object: { schema: one.schema, table: one.table, name: partition },
    title: `about ${countText(Math.round(one.defaultRows), "row")} of ${parent} are in its default partition`,
    evidence: { defaultPartition: partition, rows: Math.round(one.defaultRows), partitions: one.partitions },
    impact:
      "A partition for their range cannot be attached while they are there, making any other one scans them under its strongest lock, and retention does not drop them.",
    blastRadius: `inserts into ${parent} while a partition is attached; queries that scan the default partition`,
    rootCause: "No partition covered their range when they were inserted.",
    prevention:
      "Make partitions ahead of time (pgkeep run manage-partitions), and a CHECK on what may be inserted.",
    effort: "hours",
    remediation: {
      sql: [
        `-- Which ranges: SELECT ${one.key === null ? "…" : "min(key), max(key)"}, count(*) FROM ${partition.replace(/\p{Cc}+/gu, " ")};`,
        `-- pgkeep run manage-partitions moves them when the table is declared under partitions.tables with drainDefault.`,
        "-- By hand, for each range, in one transaction: create a table of the same shape, move its rows there (DELETE … RETURNING, INSERT), and attach it.",
        `SELECT count(*) FROM ${partition};`,
      ].join("\n"),
      lock: "ACCESS EXCLUSIVE on the default partition and SHARE UPDATE EXCLUSIVE on the table while a partition is attached",
      rollback: "detach the new partition, and move its rows back",
    },
  };
}
