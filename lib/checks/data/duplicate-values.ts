import { PgkeepError } from "../../errors.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { isTrace } from "../constraints/table-names.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** Sorting more rows takes longer than a statement of a review may. */
const countableRows = 300_000;
const mostColumns = 50;
/** Of the rows with a value; more, and the column is not meant to be unique (orders have an email too). */
const repeatedShare = 0.05;
/** Fewer rows are somebody's trial. */
const fewestRows = 100;

interface Candidate {
  schema: string;
  table: string;
  column: string;
  rows: number;
  /** Upper and lower case mean the same in such names. */
  foldsCase: boolean;
  isUnique: boolean;
  readable: boolean;
}

interface Counted {
  rows: number;
  groups: number;
  extra: number;
}

/**
 * Values that occur twice where each should once: addresses, logins, article numbers, judged by the column's name and by
 * nearly all of its values being different. They keep a unique constraint from being added; with one, those that
 * differ in case only are found.
 */
export const duplicateValues: ReviewCheck = {
  name: "duplicate-values",
  title: "Do values occur twice that should be unique?",
  area: "integrity",
  async run(context) {
    const candidates = (await readCandidates(context)).filter(({ table }) => !isTrace(table));
    const hidden = candidates.filter(({ readable }) => !readable);
    const hasTime = proofTime(context);
    const findings: ReviewFinding[] = [];
    let notCounted = 0;
    for (const [at, one] of candidates.filter(({ readable }) => readable).entries()) {
      const counted =
        one.rows <= countableRows && at < mostColumns && hasTime() ? await count(context, one) : undefined;
      if (counted === undefined) notCounted += 1;
      else if (
        counted.groups > 0 &&
        counted.rows >= fewestRows &&
        counted.extra <= counted.rows * repeatedShare
      )
        findings.push(finding(one, counted));
    }
    return concludeReview({
      findings,
      facts: { columnsNamedLikeUnique: candidates.length, notCounted },
      good: candidates.length === 0 ? [] : ["What looks unique by its name has no duplicates."],
      obstacle:
        hidden.length > 0
          ? `${countText(hidden.length, "column")} cannot be read by ${context.session.user}, for want of rights or because of row security: GRANT pg_read_all_data TO ${identifier(context.session.user)};`
          : notCounted > 0
            ? `${countText(notCounted, "column")} not counted, because the table is large or locked, or no time was left: give more with --budget`
            : undefined,
    });
  },
};

/** Columns that a unique index of several columns or of an expression has part in are somebody's decision, and left out. */
function readCandidates({ session }: ReviewContext): Promise<Candidate[]> {
  return session.query<Candidate>(
    `select n.nspname::text as schema, c.relname::text as table, a.attname::text as column,
            greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)::float8, 0) as rows,
            a.attname ~* '^(e_?mail|e_?mail_?address|login|user_?name)$' as "foldsCase", u.plain is true as "isUnique",
            has_schema_privilege(n.oid, 'USAGE') and has_column_privilege(c.oid, a.attnum, 'SELECT')
              and not row_security_active(c.oid) as readable
       from pg_attribute a
       join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
       join pg_namespace n on n.oid = c.relnamespace
       left join pg_collation l on l.oid = a.attcollation
       left join lateral (
         select bool_and(x.indnkeyatts = 1 and x.indexprs is null and x.indpred is null) as plain, count(*) as indexes
           from pg_index x
          where x.indrelid = c.oid and x.indisunique
            and (a.attnum = any (x.indkey)
                 or exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = x.indexrelid
                               and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid = a.attnum))) u on true
      where a.attnum > 0 and not a.attisdropped and a.atttypid in ('text'::regtype, 'varchar'::regtype)
        and a.attname ~* '^(e_?mail|e_?mail_?address|login|user_?name|slug|sku|isbn|iban|ean|gtin)$'
        and coalesce(l.collisdeterministic, true)
        and (u.indexes = 0 or u.plain and a.attname ~* '^(e_?mail|e_?mail_?address|login|user_?name)$')
        and not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'f' and a.attnum = any (k.conkey))
        and (c.relpersistence = 'p' or not pg_is_in_recovery()) and ${userRelation()}
      order by c.reltuples desc, c.oid, a.attnum`,
  );
}

/** Undefined when it could not be had. */
async function count({ session, signal }: ReviewContext, one: Candidate): Promise<Counted | undefined> {
  const column = identifier(one.column);
  const value = one.foldsCase ? `lower(${column})` : column;
  try {
    const [row] = await session.query<Counted>(
      `select coalesce(sum(n), 0)::int8 as rows, count(*) filter (where n > 1)::int8 as groups,
              coalesce(sum(n - 1), 0)::int8 as extra
         from (select count(*) as n from ${qualified(one.schema, one.table)}
                where ${column} is not null and ${column} <> '' group by ${value}) g`,
    );
    return row;
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(one: Candidate, { rows, groups, extra }: Counted): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const column = identifier(one.column);
  const value = one.foldsCase ? `lower(${column})` : column;
  const inCase = one.isUnique ? " that differ in case only" : "";
  return {
    check: "duplicate-values",
    key: `duplicate-values/${one.schema}.${one.table}.${one.column}`,
    severity: one.isUnique ? "low" : "medium",
    confidence: "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: `${countText(groups, "value")} of ${name}.${column} ${groups === 1 ? "occurs" : "occur"} more than once${inCase}`,
    evidence: {
      valuesMoreThanOnce: groups,
      rowsTooMany: extra,
      rowsWithValue: rows,
      comparedIn: one.foldsCase ? "lower case" : "as they are",
      uniqueIndex: one.isUnique,
    },
    impact:
      "Two rows stand for one thing: look-ups find either, and a unique index cannot be built until they are one.",
    blastRadius: `rows of ${name}, and what refers to them`,
    rootCause: one.isUnique
      ? "The unique index tells upper and lower case apart."
      : "Nothing keeps the column unique; judged by its name, and by nearly all values being different.",
    prevention: "Let the database keep it unique: an application that looks first and inserts then does not.",
    effort: "hours",
    remediation: {
      sql: [
        `SELECT count(*) FROM (SELECT FROM ${name} WHERE ${column} IS NOT NULL GROUP BY ${value} HAVING count(*) > 1) d;`,
        "-- When these rows are one:",
        `-- CREATE UNIQUE INDEX CONCURRENTLY ON ${name} (${value});`.replace(/\p{Cc}+/gu, " "),
      ].join("\n"),
      lock: "ACCESS SHARE to count; SHARE UPDATE EXCLUSIVE while the index is built",
      rollback: "DROP INDEX CONCURRENTLY of the new index",
    },
  };
}
