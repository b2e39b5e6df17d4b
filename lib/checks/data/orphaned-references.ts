import { PgkeepError } from "../../errors.ts";
import {
  addConstraint,
  readSuspectedReferences,
  type SuspectedReference,
} from "../../maintenance/references.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { isTrace } from "../constraints/table-names.ts";
import { cutName } from "../indexes/creations.ts";
import { readTables } from "../indexes/tables.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";

const sampledRows = 5_000;
const mostColumns = 50;
/** Of the sampled values, that many have to be there, or the name means something else. */
const referenceShare = 0.8;
/** A table is read as a whole up to here; of larger ones some pages are drawn. */
const wholeRows = 50_000;

interface Sample {
  sampled: number;
  orphans: number;
  /** Different values without a row. */
  distinct: number;
}

/**
 * Rows that refer to nothing, in columns that look like a foreign key and have none. A sample each; all rows are
 * compared by check-integrity, whose results the check damaged-objects tells.
 */
export const orphanedReferences: ReviewCheck = {
  name: "orphaned-references",
  title: "Do rows refer to rows that are not there?",
  area: "integrity",
  async run(context) {
    const { byOid } = await readTables(context);
    const references = (await readSuspectedReferences(context.session, { sizes: false })).filter(
      ({ oid, parent, table }) => byOid.has(oid) && byOid.has(parent) && !isTrace(table),
    );
    const unseen = await readUnseen(context, references);
    const hasTime = proofTime(context);
    const findings: ReviewFinding[] = [];
    let notLookedAt = 0;
    for (const [at, reference] of references.entries()) {
      if (unseen.has(keyOf(reference))) continue;
      const sample = at < mostColumns && hasTime() ? await sampleOf(context, reference) : undefined;
      if (sample === undefined) notLookedAt += 1;
      else if (isOrphaned(sample)) findings.push(finding(reference, sample));
    }
    return concludeReview({
      findings,
      facts: { columnsNamedLikeReferences: references.length, notLookedAt },
      good:
        references.length === 0
          ? []
          : ["Sampled rows of columns that look like references find what they refer to."],
      obstacle:
        unseen.size > 0
          ? `${countText(unseen.size, "column")} cannot be compared by ${context.session.user}, for want of rights or because of row security: GRANT pg_read_all_data TO ${identifier(context.session.user)};`
          : notLookedAt > 0
            ? `no time was left for ${countText(notLookedAt, "column")}, or ${notLookedAt === 1 ? "it was" : "they were"} locked: give more with --budget, or pgkeep run check-integrity`
            : undefined,
    });
  },
};

const keyOf = ({ oid, columnNumber }: SuspectedReference) => `${oid}/${columnNumber}`;

/** One value alone that is nowhere is a word for "none" (0, −1), not a lost row, unless it is one row's. */
function isOrphaned({ sampled, orphans, distinct }: Sample): boolean {
  return orphans > 0 && orphans <= sampled * (1 - referenceShare) && (distinct > 1 || orphans === 1);
}

async function readUnseen(
  { session }: ReviewContext,
  references: readonly SuspectedReference[],
): Promise<Set<string>> {
  const rows = await session.query<{ key: string }>(
    `select r.key
       from unnest($1::text[], $2::oid[], $3::int[], $4::oid[]) as r(key, child, number, parent)
       join pg_class c on c.oid = r.child join pg_class p on p.oid = r.parent
      where not (has_schema_privilege(c.relnamespace, 'USAGE') and has_column_privilege(c.oid, r.number::int2, 'SELECT')
                 and has_schema_privilege(p.relnamespace, 'USAGE') and has_table_privilege(p.oid, 'SELECT'))
         or row_security_active(c.oid) or row_security_active(p.oid)
         or 'u' in (c.relpersistence, p.relpersistence) and pg_is_in_recovery()`,
    [
      references.map(keyOf),
      references.map(({ oid }) => oid),
      references.map(({ columnNumber }) => columnNumber),
      references.map(({ parent }) => parent),
    ],
  );
  return new Set(rows.map(({ key }) => key));
}

/** Undefined when it could not be had. */
async function sampleOf(
  { session, signal }: ReviewContext,
  one: SuspectedReference,
): Promise<Sample | undefined> {
  const column = identifier(one.column);
  const key = identifier(one.parentColumn);
  const percent = Math.max(0.001, Math.min(100, (100 * 2 * sampledRows) / Math.max(1, one.rows)));
  const drawn = one.rows > wholeRows ? ` tablesample system (${percent.toFixed(3)})` : "";
  try {
    const [row] = await session.query<Sample>(
      `select count(*)::int as sampled, count(*) filter (where p.${key} is null)::int as orphans,
              count(distinct s.v) filter (where p.${key} is null)::int as distinct
         from (select c.${column} as v from ${qualified(one.schema, one.table)} c${drawn} where c.${column} is not null limit ${sampledRows}) s
         left join ${qualified(one.parentSchema, one.parentTable)} p on p.${key} = s.v`,
    );
    return row;
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(one: SuspectedReference, { sampled, orphans, distinct }: Sample): ReviewFinding {
  const table = qualified(one.schema, one.table);
  const parent = qualified(one.parentSchema, one.parentTable);
  const column = identifier(one.column);
  const key = identifier(one.parentColumn);
  const constraint = identifier(cutName(`${one.table}_${one.column}`, "_fkey"));
  const { statements } = addConstraint(
    table,
    constraint,
    `FOREIGN KEY (${column}) REFERENCES ${parent} (${key})`,
    one.takesNotValid,
  );
  return {
    check: "orphaned-references",
    key: `orphaned-references/${one.schema}.${one.table}.${one.column}`,
    severity: "medium",
    confidence: "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: `${orphans} of ${countText(sampled, "sampled row")} of ${table} refer by ${column} to rows that ${parent} does not have`,
    evidence: {
      sampledRows: sampled,
      withoutRow: orphans,
      differentValues: distinct,
      rows: Math.round(one.rows),
    },
    impact: "Joins lose these rows, reports differ by them, and code that expects the other row fails.",
    blastRadius: `rows of ${table}, joins and reports on them`,
    rootCause: "No foreign key keeps both together; judged by the names and types of the columns.",
    prevention: "Declare references as foreign keys.",
    effort: "hours",
    remediation: {
      sql: [
        `SELECT count(*) FROM ${table} c WHERE c.${column} IS NOT NULL AND NOT EXISTS (SELECT FROM ${parent} p WHERE p.${key} = c.${column});`,
        "-- When these rows are corrected or removed:",
        ...statements.map((statement) => `-- ${statement.replace(/\p{Cc}+/gu, " ")}`),
      ].join("\n"),
      lock: "ACCESS SHARE to count; SHARE ROW EXCLUSIVE on both tables for a moment, then SHARE UPDATE EXCLUSIVE",
      rollback: `ALTER TABLE ${table} DROP CONSTRAINT ${constraint};`,
    },
  };
}
