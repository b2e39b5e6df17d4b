import { identifier, qualified } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { byTable, readTypedColumns, type TypedColumn } from "./columns.ts";

/** One question about a type, asked of every table that has columns of it. */
interface Question {
  name: string;
  title: string;
  good: string;
  matches(column: TypedColumn): boolean;
  /** What it should be. */
  wanted: string;
  /** Expression that turns the column's values, where a plain cast would not do. */
  using?(column: string): string;
  severity: ReviewFinding["severity"];
  confidence: ReviewFinding["confidence"];
  said: Pick<ReviewFinding, "impact" | "rootCause" | "prevention">;
  /** The change rewrites no row. */
  withoutRewrite?: true;
}

/** Words of a column's name that stand for an amount of money. */
const amounts =
  /(?:^|_)(?:price|amount|cost|total|balance|fee|salary|tax|discount|revenue|payment|refund|subtotal)(?:_|s?$)/i;

/** From PostgreSQL's own list of mistakes (wiki.postgresql.org/wiki/Don't_Do_This), and of types that round. */
const questions: readonly Question[] = [
  {
    name: "timestamps-without-zone",
    title: "Which moments are stored without a time zone?",
    good: "Moments are stored with their time zone.",
    matches: ({ base }) => base === "timestamp",
    wanted: "timestamp with time zone",
    using: (column) => `${column} AT TIME ZONE 'UTC'`,
    severity: "low",
    confidence: "likely",
    said: {
      impact:
        "Which moment a value means depends on who wrote it: hours are lost or doubled when clocks change or servers in other zones write",
      rootCause: "timestamp without a zone is what SQL's TIMESTAMP means",
      prevention: "use timestamptz in every migration; it takes the same 8 bytes",
    },
  },
  {
    name: "times-with-zone",
    title: "Which times of day carry a time zone?",
    good: "No time of day carries a time zone.",
    matches: ({ base }) => base === "timetz",
    wanted: "timestamp with time zone",
    severity: "low",
    confidence: "certain",
    said: {
      impact:
        "Without its date the offset of a zone is not known, so comparisons are wrong for part of the year",
      rootCause: "timetz is there for the SQL standard only",
      prevention: "store the whole moment as timestamptz, or the time of day and the zone's name apart",
    },
  },
  {
    name: "padded-text",
    title: "Which texts are padded with blanks?",
    good: "No text is padded with blanks.",
    matches: ({ base, type }) => base === "bpchar" && type !== "character(1)",
    wanted: "text",
    severity: "low",
    confidence: "likely",
    said: {
      impact: "Blanks take space, and comparisons and LIKE treat them differently from text",
      rootCause: "char(n) is chosen for values of a fixed length, which it does not enforce",
      prevention: "use text, with CHECK (length(…) = n) where the length matters",
    },
  },
  {
    name: "money-type",
    title: "Which amounts depend on the server's locale?",
    good: "No amount depends on the server's locale.",
    matches: ({ base }) => base === "money",
    wanted: "numeric",
    severity: "medium",
    confidence: "certain",
    said: {
      impact:
        "The same value is another amount under another lc_monetary: a restore onto a server with another locale changes it, and the currency is stored nowhere",
      rootCause: "the type is called money",
      prevention: "use numeric, and a column for the currency",
    },
  },
  {
    name: "amounts-as-float",
    title: "Which amounts of money are rounded?",
    good: "No amount is kept as floating point.",
    matches: ({ base, column }) => (base === "float4" || base === "float8") && amounts.test(column),
    wanted: "numeric",
    severity: "medium",
    confidence: "suspected",
    said: {
      impact: "Cents go missing in sums, and equal amounts compare as different",
      rootCause: "floating point cannot hold most decimal fractions; judged by the column's name",
      prevention: "use numeric, or whole cents as bigint",
    },
  },
  {
    name: "json-instead-of-jsonb",
    title: "Which documents are kept as plain text?",
    good: "Documents are kept as jsonb, which can be indexed and compared.",
    matches: ({ base }) => base === "json",
    wanted: "jsonb",
    severity: "low",
    confidence: "likely",
    said: {
      impact:
        "Each look inside parses the whole document again, it cannot be indexed as a whole, and it has no equality",
      rootCause: "json keeps the text as it came, with its white space and the order of its keys",
      prevention: "use jsonb unless the exact text matters",
    },
  },
];

export const columnTypeChecks: readonly ReviewCheck[] = questions.map((question) => ({
  name: question.name,
  title: question.title,
  area: "types",
  async run(context) {
    const columns = (await readTypedColumns(context)).filter((column) => question.matches(column));
    return concludeReview({
      findings: byTable(columns).map((table) => finding(question, table)),
      facts: { columns: columns.length },
      good: [question.good],
    });
  },
}));

function finding(question: Question, columns: readonly TypedColumn[]): ReviewFinding {
  const [{ schema, table, column }] = columns as [TypedColumn];
  const name = qualified(schema, table);
  const changed = (one: TypedColumn) =>
    `ALTER COLUMN ${identifier(one.column)} TYPE ${question.wanted}${
      question.using === undefined
        ? ` USING ${identifier(one.column)}::${question.wanted}`
        : ` USING ${question.using(identifier(one.column))}`
    }`;
  const back = columns.map((one) => `ALTER COLUMN ${identifier(one.column)} TYPE ${one.type}`).join(", ");
  return {
    check: question.name,
    key: `${question.name}/${schema}.${table}`,
    severity: question.severity,
    confidence: question.confidence,
    object: columns.length === 1 ? { schema, table, column } : { schema, table },
    title: `${name} has ${columns.map((one) => `${identifier(one.column)} ${one.type}`).join(", ")}`,
    evidence: {
      columns: columns.map((one) => one.column),
      types: [...new Set(columns.map(({ type }) => type))],
    },
    ...question.said,
    blastRadius: `whoever reads or writes ${columns.length === 1 ? "the column" : "the columns"} of ${name}`,
    effort: "hours",
    example: {
      before: `${identifier(column)} ${columns[0]?.type ?? ""}`,
      after: `${identifier(column)} ${question.wanted}`,
    },
    remediation: {
      sql: `ALTER TABLE ${name} ${columns.map(changed).join(", ")};`,
      lock: "ACCESS EXCLUSIVE on the table while it is rewritten, with its indexes",
      rollback: `ALTER TABLE ${name} ${back};`,
    },
  };
}
