import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type ColumnStatistics, leastRows, readColumnStatistics } from "./column-statistics.ts";
import { whyStatisticsAreMissing } from "./hidden-statistics.ts";

/** More values than this are data, not states. */
const mostValues = 12;
/** Fewer rows than this for a value may be all that there will be. */
const rowsPerValue = 500;
const names = /(?:^|_)(?:status|state|kind|phase|stage|priority|severity|visibility)$/i;

/**
 * Text columns named like a state, with a handful of values in many rows, that take any text: no CHECK, no enum, no
 * foreign key. The values stay out of the report.
 */
export const checkCandidates: ReviewCheck = {
  name: "check-candidates",
  title: "Do columns of states accept those states only?",
  area: "constraints",
  async run(context) {
    const candidates = (await readColumnStatistics(context)).filter(
      (one) =>
        one.category === "S" &&
        one.distinct >= 2 &&
        one.distinct <= mostValues &&
        one.rows >= one.distinct * rowsPerValue &&
        names.test(one.column) &&
        !one.hasCheck &&
        !one.isForeignKey,
    );
    return concludeReview({
      facts: { candidates: candidates.length },
      findings: candidates.map(finding),
      obstacle: await whyStatisticsAreMissing(context, leastRows),
    });
  },
};

function finding(one: ColumnStatistics): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const column = identifier(one.column);
  return {
    check: "check-candidates",
    key: `check-candidates/${one.schema}.${one.table}.${one.column}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: `${name}.${column} has ${countText(one.distinct, "value")}, and accepts any text`,
    evidence: { rows: Math.round(one.rows), values: one.distinct, type: one.type },
    impact: "A misspelt state is stored, and the rows that have it are in none of the lists.",
    blastRadius: `writes of ${column} in ${name}`,
    rootCause: "The states are known to the application only.",
    prevention: "Declare columns of states with a CHECK, an enum or a foreign key to a table of states.",
    effort: "minutes",
    remediation: {
      sql: `SELECT ${column}, count(*) FROM ${name} GROUP BY ${column} ORDER BY 2 DESC;\n-- then, with the values that are meant:\n-- ALTER TABLE ${name} ADD CHECK (${column} IN (…)) NOT VALID;\n-- ALTER TABLE ${name} VALIDATE CONSTRAINT …;`,
      lock: "ACCESS EXCLUSIVE on the table for a moment to add it, SHARE UPDATE EXCLUSIVE while the rows are checked",
      rollback: "drop the constraint",
    },
  };
}
