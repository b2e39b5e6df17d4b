import { qualified } from "../../postgres/identifiers.ts";
import { bytesText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { type IndexEntry, isIndispensable, readIndexCatalogue } from "./catalogue.ts";
import { serves } from "./compare.ts";
import { type Dropping, readDroppings } from "./definitions.ts";
import { findDoubles } from "./duplicate-indexes.ts";
import { readTables, type Tables } from "./tables.ts";
import { costText, largest, sizeSeverity, writesOf } from "./weigh.ts";

/** A range of a wider index costs as many times the reads; beyond this the narrow one may be worth its keep. */
const muchWider = 3;

/**
 * B-trees whose work another one of the same table does: its first key columns are theirs, and it enforces what they
 * enforce. What a constraint, a foreign key, the replica identity or CLUSTER needs is never redundant.
 */
export const redundantIndexes: ReviewCheck = {
  name: "redundant-indexes",
  title: "Are there indexes whose work a wider one does?",
  area: "indexes",
  async run(context) {
    const catalogue = await readIndexCatalogue(context);
    const tables = await readTables(context);
    const found = await coveredIndexes(context);
    const listed = largest(found, ({ index }) => index.pages);
    const droppings = await readDroppings(
      context,
      catalogue,
      listed.map(({ index }) => index),
    );
    return concludeReview({
      facts: {
        indexes: catalogue.indexes.length,
        redundant: found.length,
        notListed: found.length - listed.length,
      },
      findings: listed.flatMap(({ index, wider }) => {
        const dropping = droppings.get(index.oid);
        return dropping === undefined ? [] : [finding(index, wider, dropping, tables)];
      }),
      good: catalogue.indexes.length > 0 ? ["No index is the beginning of another."] : [],
    });
  },
};

interface Covered {
  index: IndexEntry;
  wider: IndexEntry;
}

/**
 * Indexes that are there twice or whose work a wider one does, and those that stay for them: advice about one of them
 * that comes from anywhere else could take away both.
 */
export function judgedAlready(context: ReviewContext): Promise<Set<number>> {
  return context.once("judged-indexes", async () => {
    const doubles = findDoubles((await readIndexCatalogue(context)).indexes);
    const covered = await coveredIndexes(context);
    return new Set([
      ...doubles.flatMap(({ index, kept }) => [index.oid, kept.oid]),
      ...covered.flatMap(({ index, wider }) => [index.oid, wider.oid]),
    ]);
  });
}

function coveredIndexes(context: ReviewContext): Promise<Covered[]> {
  return context.once("covered-indexes", async () =>
    findCovered([...(await readIndexCatalogue(context)).byTable.values()]),
  );
}

function findCovered(tables: readonly (readonly IndexEntry[])[]): Covered[] {
  return tables.flatMap((all) => {
    const usable = all.filter((one) => one.isUsable);
    if (usable.length < 2) return [];
    const doubles = new Set(findDoubles(usable).map(({ index }) => index.oid));
    const candidates = usable.filter((one) => !doubles.has(one.oid));
    const goes = (narrow: IndexEntry, wide: IndexEntry) =>
      !isIndispensable(narrow) &&
      narrow.parent === null &&
      serves(wide, narrow) &&
      // Two that serve each other (one in the opposite order): one stays.
      (!serves(narrow, wide) || isIndispensable(wide) || wide.parent !== null || wide.oid < narrow.oid);
    return candidates.flatMap((index) => {
      const wider = candidates
        .filter((one) => goes(index, one))
        // One that goes itself is no reason: what it goes for serves this one too.
        .filter((one) => !candidates.some((other) => goes(one, other)))
        .sort((a, b) => a.keys.length - b.keys.length || a.pages - b.pages || a.oid - b.oid)[0];
      return wider === undefined ? [] : [{ index, wider }];
    });
  });
}

function finding(index: IndexEntry, wider: IndexEntry, dropping: Dropping, tables: Tables): ReviewFinding {
  const { schema, table } = index;
  const name = qualified(schema, index.index);
  const stays = qualified(wider.schema, wider.index);
  const bytes = index.pages * tables.blockBytes;
  const writes = writesOf(tables.byOid.get(index.tableOid));
  const isTrade = index.scans > 0 && wider.pages > muchWider * Math.max(1, index.pages);
  return {
    check: "redundant-indexes",
    key: `redundant-indexes/${schema}.${index.index}`,
    severity: isTrade ? "low" : sizeSeverity(bytes),
    confidence: isTrade ? "suspected" : "likely",
    object: { schema, table, index: index.index },
    title: `what index ${name} does, ${stays} does too`,
    evidence: {
      widerIndex: wider.index,
      size: bytesText(bytes),
      sizeOfTheWider: bytesText(wider.pages * tables.blockBytes),
      scans: index.scans,
      scansOfTheWider: wider.scans,
      writesToTheTable: writes,
    },
    impact: `${costText(bytes, writes)}${isTrade ? " The wider one is much larger: queries that read long ranges would read more pages." : ""}`,
    blastRadius: `writes to ${qualified(schema, table)}; the queries that use it change to ${stays}`,
    rootCause: "An index with more columns was added for a new query, and the one it begins with was kept.",
    prevention:
      "When an index is added, look for those that are its beginning and drop them in the same change.",
    effort: "minutes",
    remediation: { sql: dropping.sql, lock: dropping.lock, rollback: dropping.rollback },
    ...(dropping.fix === undefined
      ? {}
      : {
          fix: {
            ...dropping.fix,
            proof: [
              `the first key columns of ${stays} are those of ${name}, with the same operator classes, collations and rows`,
              `${name} ${bytesText(bytes)}, ${stays} ${bytesText(wider.pages * tables.blockBytes)}`,
            ],
          },
        }),
  };
}
