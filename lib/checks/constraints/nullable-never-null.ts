import { PgkeepError } from "../../errors.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { readIndexCatalogue } from "../indexes/catalogue.ts";
import { cutName } from "../indexes/creations.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { type ColumnStatistics, leastRows, readColumnStatistics } from "./column-statistics.ts";
import { whyStatisticsAreMissing } from "./hidden-statistics.ts";

/** A count over more rows takes longer than a statement may. */
const countableRows = 2_000_000;
const moments = /(?:^|_)(?:created|inserted|updated|modified)(?:_?(?:at|on|date|time))?$/i;

/**
 * Columns that may be null and never are, where something else says that they should not be: a default, a boolean (true,
 * false and unknown are rarely meant), a unique key, a moment of creation. A column that only happens to be filled is
 * left alone. What ANALYZE says is confirmed by reading the table, within the budget.
 */
export const nullableNeverNull: ReviewCheck = {
  name: "nullable-never-null",
  title: "Are there columns that may be null and never are?",
  area: "constraints",
  async run(context) {
    const catalogue = await readIndexCatalogue(context);
    const candidates = (await readColumnStatistics(context)).filter((one) => {
      if (one.isNotNull || one.nullFraction > 0) return false;
      const isKey = (catalogue.byTable.get(one.tableOid) ?? []).some(
        (index) =>
          index.isUnique && index.predicate === null && index.keys.some((key) => key.column === one.number),
      );
      return one.hasDefault || one.category === "B" || isKey || moments.test(one.column);
    });
    const findings: ReviewFinding[] = [];
    const hasTime = proofTime(context);
    for (const table of new Set(candidates.map((one) => one.tableOid))) {
      const columns = candidates.filter((one) => one.tableOid === table);
      const without = hasTime() ? await withoutNull(context, columns) : undefined;
      for (const one of columns) {
        const isProved = without?.has(one.column);
        if (isProved !== false) findings.push(finding(one, isProved === true));
      }
    }
    return concludeReview({
      facts: { candidates: candidates.length },
      findings,
      good: ["Columns with a default, keys and moments of creation are NOT NULL."],
      obstacle: await whyStatisticsAreMissing(context, leastRows),
    });
  },
};

/** Those of the columns that have no null now; undefined where that could not be read. */
async function withoutNull(
  { session, signal }: ReviewContext,
  columns: readonly ColumnStatistics[],
): Promise<Set<string> | undefined> {
  const [first] = columns;
  if (first === undefined || first.rows > countableRows) return undefined;
  const asked = columns.map(
    ({ column }, at) => `not coalesce(bool_or(${identifier(column)} is null), false) as "${at}"`,
  );
  try {
    const [row] = await session.query<Record<string, boolean>>(
      `select ${asked.join(", ")} from ${qualified(first.schema, first.table)}`,
    );
    return new Set(columns.filter((_, at) => row?.[String(at)] === true).map(({ column }) => column));
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(one: ColumnStatistics, isProved: boolean): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const column = identifier(one.column);
  const constraint = identifier(cutName(`${one.table}_${one.column}`, "_present"));
  const up = [
    `ALTER TABLE ${name} ADD CONSTRAINT ${constraint} CHECK (${column} IS NOT NULL) NOT VALID;`,
    `ALTER TABLE ${name} VALIDATE CONSTRAINT ${constraint};`,
    `ALTER TABLE ${name} ALTER COLUMN ${column} SET NOT NULL;`,
    `ALTER TABLE ${name} DROP CONSTRAINT ${constraint};`,
  ];
  const down = [`ALTER TABLE ${name} ALTER COLUMN ${column} DROP NOT NULL;`];
  const proof = isProved
    ? `none of about ${Math.round(one.rows)} rows has a null now`
    : `ANALYZE saw no null in about ${Math.round(one.rows)} rows`;
  return {
    check: "nullable-never-null",
    key: `nullable-never-null/${one.schema}.${one.table}.${one.column}`,
    severity: "low",
    confidence: isProved ? "likely" : "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: `${name}.${column} may be null and never is`,
    evidence: {
      rows: Math.round(one.rows),
      nulls: isProved ? "none, counted" : "none in the sample of ANALYZE",
      type: one.type,
      hasDefault: one.hasDefault,
    },
    impact:
      "The first null comes as a surprise to whoever relies on a value; NOT IN and comparisons silently drop rows then.",
    blastRadius: `writes to ${name} that leave the column out or set it to null would fail`,
    rootCause: "NOT NULL was left out; a default alone does not keep out a null that is written.",
    prevention: "Declare columns NOT NULL unless unknown is a value that the application means.",
    effort: "minutes",
    remediation: {
      sql: up.join("\n"),
      lock: "ACCESS EXCLUSIVE on the table for a moment in the first, third and fourth step; SHARE UPDATE EXCLUSIVE while the rows are checked",
      rollback: down.join("\n"),
    },
    example: { before: `${column} ${one.type}`, after: `${column} ${one.type} NOT NULL` },
    fix: { up, down, proof: [proof, "SET NOT NULL reads no row when a valid CHECK says the same"] },
  };
}
