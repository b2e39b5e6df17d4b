import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type ForeignKey, readForeignKeys } from "./foreign-keys.ts";

/** pg_type's fixed numbers of what can refer to each other with a loss; integers by their size. */
const integers = new Map([
  [21, 2],
  [23, 4],
  [20, 8],
]);
const numerics = new Set([1700, 700, 701]);

/**
 * Foreign keys whose column cannot hold every value of the key that it refers to (integer to bigint), or is compared
 * through a cast that rules out one side's index (numeric to integer). What is the same in all but name (varchar and
 * text, lengths) is left alone, and so is a wider referencing column.
 */
export const foreignKeyTypes: ReviewCheck = {
  name: "foreign-key-types",
  title: "Has each foreign key the type of the key that it refers to?",
  area: "constraints",
  async run(context) {
    const keys = (await readForeignKeys(context)).filter((key) => key.parent === null);
    const findings = keys.flatMap((key) => {
      const at = key.typeOids.findIndex((type, place) =>
        differs(type, key.referencedTypeOids[place] ?? type),
      );
      return at < 0 ? [] : [finding(key, at)];
    });
    return concludeReview({
      facts: { foreignKeys: keys.length, mismatched: findings.length },
      findings,
      good:
        keys.length > 0
          ? [`Each of the ${countText(keys.length, "foreign key")} can hold what it refers to.`]
          : [],
    });
  },
};

function differs(own: number, referenced: number): boolean {
  const size = integers.get(own);
  const needed = integers.get(referenced);
  if (size !== undefined && needed !== undefined) return size < needed;
  return (
    own !== referenced &&
    (numerics.has(own) || numerics.has(referenced)) &&
    (integers.has(own) || integers.has(referenced) || (numerics.has(own) && numerics.has(referenced)))
  );
}

function finding(key: ForeignKey, at: number): ReviewFinding {
  const column = key.columns[at] ?? "";
  const type = key.types[at] ?? "";
  const referencedType = key.referencedTypes[at] ?? "";
  const name = qualified(key.schema, key.table);
  const referenced = `${qualified(key.referencedSchema, key.referencedTable)} (${identifier(key.referencedColumns[at] ?? "")})`;
  const isNarrow = integers.has(key.typeOids[at] ?? 0) && integers.has(key.referencedTypeOids[at] ?? 0);
  return {
    check: "foreign-key-types",
    key: `foreign-key-types/${key.schema}.${key.table}.${key.name}`,
    severity: isNarrow ? "medium" : "low",
    confidence: "certain",
    object: { schema: key.schema, table: key.table, column, name: key.name },
    title: `${name}.${identifier(column)} is ${type}, and refers to ${referencedType}`,
    evidence: { column, type, refersTo: referenced, referencedType },
    impact: isNarrow
      ? `Once the referenced key is larger than ${type} holds, no row can refer to it: inserts fail.`
      : "Each comparison casts one side, whose index then cannot be used.",
    blastRadius: `writes to ${name}; joins with ${referenced}`,
    rootCause: "The referenced key was widened, or this column declared, without a look at the other.",
    prevention: "Change both sides in one migration; run this review in CI.",
    effort: "days",
    remediation: {
      sql: `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE ${referencedType};`,
      lock: "ACCESS EXCLUSIVE on the table while it is rewritten: for a large one add a column, keep it equal by a trigger, fill it in batches, and swap",
      rollback: `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE ${type};`,
    },
    example: { before: `${identifier(column)} ${type}`, after: `${identifier(column)} ${referencedType}` },
  };
}
