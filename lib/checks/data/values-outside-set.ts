import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { whyStatisticsAreMissing } from "../constraints/hidden-statistics.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** ANALYZE has seen every value of such a column, and keeps all of them. */
const mostValues = 30;
const fewestRows = 1_000;
/** In a sample of 30,000 rows a value of this share was seen three times at most. */
const rareShare = 0.0001;
const rareNeedsRows = 30_000;
const frequentShare = 0.01;
const mostRare = 3;
/** Codes of a letter or two may differ by case on purpose. */
const shortestWord = 3;
const stateNames =
  "(^|_)(status|state|kind|type|phase|stage|priority|severity|visibility|currency|country|role|level)$";

interface Odd {
  schema: string;
  table: string;
  column: string;
  rows: number;
  values: number;
  /** Values that are another one but for case or white space, and the rows that have them. */
  variants: number;
  variantRows: number;
  rare: number;
  rareRows: number;
}

/**
 * Columns of a few words in which some are not like the others: the same word written in two ways, or a value of a
 * handful of rows beside a few that fill the rest. Told by the statistics of ANALYZE, compared on the server; no value
 * leaves it.
 */
export const valuesOutsideSet: ReviewCheck = {
  name: "values-outside-set",
  title: "Are there values beside the few that a column should have?",
  area: "integrity",
  async run(context) {
    const rows = await context.session.query<Odd>(
      `with seen as materialized (
         select n.nspname::text as schema, c.relname::text as table, s.attname::text as column, c.reltuples::float8 as rows,
                s.n_distinct::int as values, s.most_common_vals::text::text[] as vals, s.most_common_freqs as freqs
           from pg_stats s
           join pg_namespace n on n.nspname = s.schemaname
           join pg_class c on c.relnamespace = n.oid and c.relname = s.tablename and c.relkind in ('r', 'p') and not c.relispartition
           join pg_attribute a on a.attrelid = c.oid and a.attname = s.attname
            and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
          where s.inherited = (c.relkind = 'p') and s.n_distinct between 2 and ${mostValues}
            and cardinality(s.most_common_freqs) = s.n_distinct and c.reltuples >= ${fewestRows} and ${userRelation()}
            and not exists (select from pg_constraint k
                             where k.conrelid = c.oid and k.contype in ('c', 'f') and a.attnum = any (k.conkey))
       ), judged as (
         select *,
                (select jsonb_build_array(sum(g.n - 1), sum(g.share - g.largest)) from (
                   select count(*) as n, sum(f) as share, max(f) as largest
                     from unnest(vals, freqs) as v(value, f)
                    where length(btrim(value)) >= ${shortestWord}
                    group by lower(btrim(regexp_replace(value, '\\s+', ' ', 'g'))) having count(*) > 1) g) as variants,
                (select case when "column" ~* $1 and rows >= ${rareNeedsRows}
                              and count(*) filter (where f < ${rareShare}) between 1 and ${mostRare}
                              and count(*) filter (where f >= ${frequentShare}) >= 2
                              and count(*) filter (where f >= ${rareShare} and f < ${frequentShare}) = 0
                             then jsonb_build_array(count(*) filter (where f < ${rareShare}), sum(f) filter (where f < ${rareShare})) end
                   from unnest(freqs) as v(f)) as rare
           from seen)
       select schema, "table", "column", rows, values, coalesce((variants ->> 0)::int, 0) as variants,
              coalesce(round(rows * (variants ->> 1)::float8), 0)::float8 as "variantRows",
              coalesce((rare ->> 0)::int, 0) as rare, coalesce(round(rows * (rare ->> 1)::float8), 0)::float8 as "rareRows"
         from judged where (variants ->> 0) is not null or rare is not null
        order by schema, "table", "column"`,
      [stateNames],
    );
    return concludeReview({
      findings: rows.map(finding),
      facts: { columns: rows.length },
      good: ["Columns of a few words hold those words, each written in one way."],
      obstacle: await whyStatisticsAreMissing(context, fewestRows),
    });
  },
};

function finding(one: Odd): ReviewFinding {
  const name = qualified(one.schema, one.table);
  const column = identifier(one.column);
  const byVariant = one.variants > 0;
  const rows = Math.max(1, byVariant ? one.variantRows : one.rareRows);
  return {
    check: "values-outside-set",
    key: `values-outside-set/${one.schema}.${one.table}.${one.column}`,
    severity: "low",
    confidence: byVariant ? "likely" : "suspected",
    object: { schema: one.schema, table: one.table, column: one.column },
    title: byVariant
      ? `${name}.${column} has ${countText(one.variants, "value")} that another one is but for case or blanks`
      : `${name}.${column} has ${countText(one.rare, "value")} of a handful of rows beside a few that fill the rest`,
    evidence: {
      values: one.values,
      variants: one.variants,
      rare: one.rare,
      aboutRows: rows,
      ofRows: Math.round(one.rows),
    },
    impact: "Conditions on the usual value leave these rows out, and groups count them apart.",
    blastRadius: `statements that filter or group by ${column} of ${name}`,
    rootCause: "The column takes any text, and several writers spell it.",
    prevention: "Declare the set: a CHECK, an enum, or a foreign key to a table of its values.",
    effort: "minutes",
    remediation: {
      sql: [
        `SELECT ${column}, count(*) FROM ${name} GROUP BY ${column} ORDER BY 2 DESC;`,
        "-- Correct the rows, then:",
        `-- ALTER TABLE ${name} ADD CHECK (${column} IN (…)) NOT VALID; and VALIDATE CONSTRAINT it.`.replace(
          /\p{Cc}+/gu,
          " ",
        ),
      ].join("\n"),
      lock: "ACCESS EXCLUSIVE for a moment to add it, SHARE UPDATE EXCLUSIVE while the rows are checked",
      rollback: "drop the constraint",
    },
  };
}
