import { PgkeepError } from "../../errors.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { readIndexCatalogue } from "../indexes/catalogue.ts";
import { cutName } from "../indexes/creations.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { type ColumnStatistics, leastRows, readColumnStatistics } from "./column-statistics.ts";
import { whyStatisticsAreMissing } from "./hidden-statistics.ts";
import { isTrace } from "./table-names.ts";

/** Sorting more rows takes longer than a statement may. */
const countableRows = 500_000;
/** What names one thing wherever it is used. */
const names =
  /^(?:e_?mail(?:_?address)?|user_?name|login|slug|sku|isbn|iban|ean|gtin|uuid|guid|public_?id|external_?id|order_?(?:number|no)|invoice_?(?:number|no)|serial_?(?:number|no))$/i;

/**
 * Columns named like something that is unique, whose values are all different, and nothing keeps them so. Suspected at
 * best: only who knows the application can tell. With a part of a composite unique key (an address for each tenant)
 * nothing is said.
 */
export const uniqueCandidates: ReviewCheck = {
  name: "unique-candidates",
  title: "Is what looks unique declared so?",
  area: "constraints",
  async run(context) {
    const catalogue = await readIndexCatalogue(context);
    const candidates = (await readColumnStatistics(context)).filter((one) => {
      if (one.distinct !== -1 || !names.test(one.column) || one.isPartitioned || isTrace(one.table))
        return false;
      const variable = `:varattno ${one.number} `;
      return !(catalogue.byTable.get(one.tableOid) ?? []).some(
        (index) =>
          index.isUnique &&
          index.keys.some((key) => key.column === one.number || key.expression?.includes(variable) === true),
      );
    });
    const findings: ReviewFinding[] = [];
    const hasTime = proofTime(context);
    for (const one of candidates) {
      const repeated = hasTime() ? await hasRepeated(context, one) : undefined;
      if (repeated !== true) findings.push(finding(one, repeated === false));
    }
    return concludeReview({
      facts: { candidates: candidates.length },
      findings,
      obstacle: await whyStatisticsAreMissing(context, leastRows),
    });
  },
};

async function hasRepeated(
  { session, signal }: ReviewContext,
  { schema, table, column, rows }: ColumnStatistics,
): Promise<boolean | undefined> {
  if (rows > countableRows) return undefined;
  try {
    const [row] = await session.query<{ repeated: boolean }>(
      `select exists (select from ${qualified(schema, table)} where ${identifier(column)} is not null
                       group by ${identifier(column)} having count(*) > 1) as repeated`,
    );
    return row?.repeated;
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(one: ColumnStatistics, isProved: boolean): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const column = identifier(one.column);
  const constraint = identifier(cutName(`${one.table}_${one.column}`, "_key"));
  const up = [
    `CREATE UNIQUE INDEX CONCURRENTLY ${constraint} ON ${name} (${column});`,
    `ALTER TABLE ${name} ADD CONSTRAINT ${constraint} UNIQUE USING INDEX ${constraint};`,
  ];
  const down = [`ALTER TABLE ${name} DROP CONSTRAINT ${constraint};`];
  const rows = `about ${Math.round(one.rows)} rows`;
  return {
    check: "unique-candidates",
    key: `unique-candidates/${one.schema}.${one.table}.${one.column}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: `${name}.${column} looks unique, and nothing keeps it so`,
    evidence: {
      rows: Math.round(one.rows),
      repeatedValues: isProved ? "none, counted" : "none in the sample of ANALYZE",
    },
    impact:
      "Two requests at the same time can write the same value, whatever the application looks up before.",
    blastRadius: `writes of ${column} in ${name}`,
    rootCause: "Uniqueness is checked by the application only, or not meant.",
    prevention: "Declare what identifies a row UNIQUE in the migration that adds it.",
    effort: "minutes",
    remediation: {
      sql: up.join("\n"),
      lock: "SHARE UPDATE EXCLUSIVE on the table while the index is built, then ACCESS EXCLUSIVE for a moment",
      rollback: down.join("\n"),
    },
    ...(isProved ? { fix: { up, down, proof: [`no value is there twice in ${rows}`] } } : {}),
  };
}
