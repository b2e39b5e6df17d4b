import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { countText } from "../../words.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userSchema } from "../user-objects.ts";

interface Changed {
  /** Null: the default of the database. */
  schema: string | null;
  name: string;
  provider: string;
  recorded: string;
  actual: string | null;
  indexes: number;
  unique: number;
  /** Quoted, the smallest first. */
  names: string[];
}

const providers: Readonly<Record<string, string>> = { c: "libc", i: "ICU", b: "builtin", d: "default" };
const namesShown = 50;

/**
 * Collations whose library sorts in another way than when the indexes were built: an index on text is then in the wrong
 * order, and look-ups miss rows. PostgreSQL records the version of each collation, and from 15 on that of the
 * database's default too.
 */
export const collationVersions: ReviewCheck = {
  name: "collation-versions",
  title: "Are indexes on text sorted as the library sorts now?",
  area: "integrity",
  async run(context) {
    const changed = await readChanged(context);
    const recorded = majorOf(context.session.serverVersionNumber) >= 15;
    const [row] = recorded ? [undefined] : await readDefault(context);
    return concludeReview({
      findings: changed.filter(({ indexes }) => indexes > 0).map((one) => finding(context, one)),
      facts: { changedCollations: changed.length },
      good: ["The collations' library is the one that the indexes were built with."],
      obstacle:
        row === undefined || row.isFixed
          ? undefined
          : "PostgreSQL 14 does not record the version of a database's default collation (15 and newer do): after an upgrade of the operating system, REINDEX the indexes on text",
    });
  },
};

/** C and POSIX sort by bytes, always. */
function readDefault({ session }: ReviewContext) {
  return session.query<{ isFixed: boolean }>(
    `select datcollate in ('C', 'POSIX') as "isFixed" from pg_database where datname = current_database()`,
  );
}

function readChanged({ session }: ReviewContext): Promise<Changed[]> {
  const major = majorOf(session.serverVersionNumber);
  const ofDatabase =
    major < 15
      ? ""
      : `union all
       select 100::oid, null::text, d.datname::text, d.datlocprovider::text, d.datcollversion,
              pg_database_collation_actual_version(d.oid)
         from pg_database d where d.datname = current_database() and d.datcollversion is not null`;
  return session.query<Changed>(
    `with collations as materialized (
       select c.oid, n.nspname::text as schema, c.collname::text as name, c.collprovider::text as provider,
              c.collversion as recorded, pg_collation_actual_version(c.oid) as actual
         from pg_collation c join pg_namespace n on n.oid = c.collnamespace
        where c.collversion is not null and c.collprovider <> 'd'
          and c.oid in (select unnest(x.indcollation) from pg_index x)
       ${ofDatabase}),
     changed as materialized (select * from collations where actual is distinct from recorded),
     indexed as (
       select distinct ch.oid, i.oid as index, format('%I.%I', n.nspname, i.relname) as name, i.relpages, x.indisunique
         from changed ch
         join pg_index x on ch.oid = any (x.indcollation)
         join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
         join pg_am a on a.oid = i.relam and a.amname <> 'hash'
         join pg_namespace n on n.oid = i.relnamespace
        where ${userSchema()})
     select ch.schema, ch.name, ch.provider, ch.recorded, ch.actual, count(i.index)::int as indexes,
            count(i.index) filter (where i.indisunique)::int as unique,
            coalesce((array_agg(i.name order by i.relpages, i.name) filter (where i.index is not null))[1:${namesShown}], '{}') as names
       from changed ch left join indexed i on i.oid = ch.oid
      group by ch.oid, ch.schema, ch.name, ch.provider, ch.recorded, ch.actual
      order by ch.schema nulls first, ch.name`,
  );
}

function finding({ session }: ReviewContext, changed: Changed): ReviewFinding {
  const { schema, name, recorded, actual, indexes, unique, names } = changed;
  const collation =
    schema === null ? "the default collation of the database" : `collation ${qualified(schema, name)}`;
  const refresh =
    schema === null
      ? `ALTER DATABASE ${identifier(session.database)} REFRESH COLLATION VERSION;`
      : `ALTER COLLATION ${qualified(schema, name)} REFRESH VERSION;`;
  const more = indexes > names.length ? [`-- and ${indexes - names.length} more`] : [];
  return {
    check: "collation-versions",
    key: `collation-versions/${schema === null ? "default" : `${schema}.${name}`}`,
    severity: "high",
    confidence: "likely",
    object: schema === null ? { name: session.database } : { schema, name },
    title: `${collation} is of version ${actual ?? "unknown"} now, and ${countText(indexes, "index was", "indexes were")} built with ${recorded}`,
    evidence: {
      builtWith: recorded,
      now: actual,
      provider: providers[changed.provider] ?? changed.provider,
      indexes,
      uniqueIndexes: unique,
      some: names.slice(0, 10),
    },
    impact:
      "Where the order has changed, look-ups by these indexes miss rows, unique ones let duplicates in, and range partitions on text hold rows of others.",
    blastRadius: `${countText(indexes, "index", "indexes")} on text, and replicas whose operating system is another`,
    rootCause: "The operating system or its ICU library was upgraded below the data.",
    prevention:
      "Rebuild indexes on text whenever the C library or ICU changes; use the builtin or C collation for keys.",
    effort: "hours",
    remediation: {
      sql: [
        "-- To know before: pgkeep run check-integrity (amcheck finds entries in the wrong order).",
        ...names.map((index) => `REINDEX INDEX CONCURRENTLY ${index};`),
        ...more,
        "-- When all are rebuilt, and never before:",
        refresh,
      ].join("\n"),
      lock: "SHARE UPDATE EXCLUSIVE on each table while its index is built anew; reads and writes go on",
      rollback: "none needed: an index that is built again holds the same rows",
    },
  };
}
