import { qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type IndexEntry, isIndispensable, readIndexCatalogue } from "./catalogue.ts";
import { fingerprintOf } from "./compare.ts";
import { type Dropping, readDroppings } from "./definitions.ts";
import { readTables, type Tables } from "./tables.ts";
import { costText, largest, sizeSeverity, writesOf } from "./weigh.ts";

/**
 * Indexes that are the same index twice: method, columns, operator classes, collations, directions, expressions,
 * rows, uniqueness and INCLUDE columns. What a constraint, a foreign key, the replica identity or CLUSTER needs is
 * always the one that stays. An index of a partition that belongs to its parent's is judged there.
 */
export const duplicateIndexes: ReviewCheck = {
  name: "duplicate-indexes",
  title: "Are there indexes that are there twice?",
  area: "indexes",
  async run(context) {
    const catalogue = await readIndexCatalogue(context);
    const tables = await readTables(context);
    const doubles = findDoubles(catalogue.indexes);
    const listed = largest(doubles, ({ index }) => index.pages);
    const droppings = await readDroppings(
      context,
      catalogue,
      listed.map(({ index }) => index),
    );
    return concludeReview({
      facts: {
        indexes: catalogue.indexes.length,
        duplicates: doubles.length,
        notListed: doubles.length - listed.length,
      },
      findings: listed.flatMap(({ index, kept }) => {
        const dropping = droppings.get(index.oid);
        return dropping === undefined ? [] : [finding(index, kept, dropping, tables)];
      }),
      good: catalogue.indexes.length > 0 ? ["No index is there twice."] : [],
    });
  },
};

/** Each index that need not be there, with the one that stays. */
export function findDoubles(indexes: readonly IndexEntry[]): { index: IndexEntry; kept: IndexEntry }[] {
  const groups = new Map<string, IndexEntry[]>();
  for (const index of indexes) {
    if (!index.isUsable) continue;
    const print = fingerprintOf(index);
    const known = groups.get(print);
    if (known === undefined) groups.set(print, [index]);
    else known.push(index);
  }
  return [...groups.values()].flatMap((group) => {
    if (group.length === 1) return [];
    const [kept, ...others] = group.sort((a, b) => worth(b) - worth(a) || a.oid - b.oid);
    if (kept === undefined) return [];
    return others.filter((one) => worth(one) === 0).map((index) => ({ index, kept }));
  });
}

function worth(index: IndexEntry): number {
  return isIndispensable(index) ? 2 : index.parent !== null ? 1 : 0;
}

function finding(index: IndexEntry, kept: IndexEntry, dropping: Dropping, tables: Tables): ReviewFinding {
  const { schema, table } = index;
  const name = qualified(schema, index.index);
  const bytes = index.pages * tables.blockBytes;
  const writes = writesOf(tables.byOid.get(index.tableOid));
  return {
    check: "duplicate-indexes",
    key: `duplicate-indexes/${schema}.${index.index}`,
    severity: sizeSeverity(bytes),
    confidence: "certain",
    object: { schema, table, index: index.index },
    title: `index ${name} is the same as ${qualified(kept.schema, kept.index)}`,
    evidence: {
      keeps: kept.index,
      size: bytesText(bytes),
      scans: index.scans,
      scansOfTheOther: kept.scans,
      writesToTheTable: writes,
    },
    impact: costText(bytes, writes),
    blastRadius: `writes to ${qualified(schema, table)}`,
    rootCause: "An index was created without a look at those that are there, often under a generated name.",
    prevention: "Name indexes after table and columns and create them IF NOT EXISTS; run this review in CI.",
    effort: "minutes",
    remediation: { sql: dropping.sql, lock: dropping.lock, rollback: dropping.rollback },
    ...(dropping.fix === undefined
      ? {}
      : {
          fix: {
            ...dropping.fix,
            proof: [
              `${qualified(kept.schema, kept.index)} is the same index, valid, and stays`,
              `${bytesText(bytes)} are freed; ${countText(kept.scans + index.scans, "scan")} of both so far`,
            ],
          },
        }),
  };
}
