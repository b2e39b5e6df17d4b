import { identifier, qualified } from "../../postgres/identifiers.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** Fewer are a coincidence. */
const enoughValues = 20;
const enoughRows = 1_000;

interface Disguised {
  schema: string;
  table: string;
  column: string;
  looksLike: "uuid" | "timestamptz" | "boolean";
  values: number;
  rows: number;
  nullFraction: number;
}

const patterns = {
  uuid: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
  timestamptz: "^(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9].*)?$",
};

/**
 * Text columns all of whose sampled values are something else: identifiers, moments, truth values. Told by the
 * statistics that ANALYZE keeps, compared on the server; no value leaves it.
 */
export const valuesOfAnotherType: ReviewCheck = {
  name: "values-of-another-type",
  title: "Which texts are really identifiers, moments or truth values?",
  area: "types",
  async run({ session }) {
    const rows = await session.query<Disguised>(
      `with sampled as materialized (
         select n.nspname::text as schema, c.relname::text as table, s.attname::text as column, s.null_frac as "nullFraction",
                c.reltuples::float8 as rows,
                coalesce(s.most_common_vals::text::text[], '{}') || coalesce(s.histogram_bounds::text::text[], '{}') as sample
           from pg_stats s
           join pg_namespace n on n.nspname = s.schemaname
           join pg_class c on c.relname = s.tablename and c.relnamespace = n.oid and c.relkind in ('r', 'p')
           join pg_attribute a on a.attrelid = c.oid and a.attname = s.attname and a.atttypid in ('text'::regtype, 'varchar'::regtype)
          where not c.relispartition and s.inherited = (c.relkind = 'p') and c.reltuples >= $1 and ${userRelation()}
       ), judged as (
         select *, (select case when bool_and(v ~ $2) then 'uuid' when bool_and(v ~ $3) then 'timestamptz' end
                      from unnest(sample) v having count(*) >= $4) as by_pattern,
                (select 'boolean' from unnest(sample) v
                  having count(*) = 2 and bool_and(lower(v) in ('true', 'false', 't', 'f', 'yes', 'no', 'y', 'n'))) as by_words
           from sampled)
       select schema, "table", "column", "nullFraction", rows, coalesce(by_pattern, by_words) as "looksLike",
              cardinality(sample) as values
         from judged where coalesce(by_pattern, by_words) is not null
        order by rows desc, schema, "table", "column"`,
      [enoughRows, patterns.uuid, patterns.timestamptz, enoughValues],
    );
    const [unseen] = await session.query<{ tables: number }>(
      `select count(*)::int as tables from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and ${userRelation()}
          and (c.reltuples < 0 or c.reltuples >= $1 and not has_any_column_privilege(c.oid, 'SELECT'))`,
      [enoughRows],
    );
    const tables = unseen?.tables ?? 0;
    return concludeReview({
      findings: rows.map(finding),
      facts: { tablesWithoutStatistics: tables },
      good: ["No text column holds only identifiers, moments or truth values."],
      obstacle:
        tables === 0
          ? undefined
          : `${tables} tables were never analyzed, or ${session.user} may not read their statistics: ANALYZE; and GRANT pg_read_all_data TO ${identifier(session.user)};`,
    });
  },
};

function finding({ schema, table, column, looksLike, values, rows, nullFraction }: Disguised): ReviewFinding {
  const name = qualified(schema, table);
  return {
    check: "values-of-another-type",
    key: `values-of-another-type/${schema}.${table}.${column}`,
    severity: "low",
    confidence: "suspected",
    object: { schema, table, column },
    title: `every sampled value of ${name}.${identifier(column)} is a ${looksLike}`,
    evidence: { sampledValues: values, rows, nullPercent: round(100 * nullFraction) },
    impact: `Nothing keeps another value out, it takes more space${looksLike === "uuid" ? " (37 bytes instead of 16, in every index too)" : ""}, and comparisons go by letters`,
    blastRadius: `whoever reads or writes ${name}.${identifier(column)}`,
    rootCause: "the column was made as text",
    prevention: `use ${looksLike} from the start`,
    effort: "hours",
    example: { before: `${identifier(column)} text`, after: `${identifier(column)} ${looksLike}` },
    remediation: {
      sql: `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE ${looksLike} USING ${identifier(column)}::${looksLike};`,
      lock: "ACCESS EXCLUSIVE on the table while it is rewritten; fails, and changes nothing, at the first value that does not fit",
      rollback: `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE text;`,
    },
  };
}
