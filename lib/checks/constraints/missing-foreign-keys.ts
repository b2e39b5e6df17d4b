import { PgkeepError } from "../../errors.ts";
import { addConstraint } from "../../maintenance/references.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { type IndexCatalogue, readIndexCatalogue } from "../indexes/catalogue.ts";
import { creationOf, cutName, FreeNames } from "../indexes/creations.ts";
import { readTables, type Tables } from "../indexes/tables.ts";
import { largest } from "../indexes/weigh.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import { isTrace, referenceIn, tableNames } from "./table-names.ts";

interface Column {
  tableOid: number;
  schema: string;
  table: string;
  number: number;
  column: string;
  /** pg_type's number, of a domain that of what it is made of. */
  type: number;
  collation: number;
  /** The table has a column `<stem>_type`: it refers to rows of several tables. */
  isPolymorphic: boolean;
}

interface Key {
  tableOid: number;
  schema: string;
  table: string;
  column: string;
  type: number;
  isPrimary: boolean;
}

interface Gap {
  column: Column;
  key: Key;
}

interface Sample {
  sampled: number;
  matching: number;
}

const sampledRows = 1_000;
/** At most so many columns are compared with the keys they seem to refer to. */
const sampledColumns = 50;
/** With fewer matches the name only looks like a reference. */
const leastShare = 0.9;
const integers = new Set([20, 21, 23]);

/**
 * Columns that are named after a table of the same schema and its key, of the key's type, and in no foreign key. What
 * a sample of their values says decides how sure that is; where most values are not there, nothing is claimed.
 * Polymorphic references, logs, archives and the like are left alone.
 */
export const missingForeignKeys: ReviewCheck = {
  name: "missing-foreign-keys",
  title: "Are there references without a foreign key?",
  area: "constraints",
  async run(context) {
    const columns = await readColumns(context);
    const gaps = match(columns, await readKeys(context));
    const catalogue = await readIndexCatalogue(context);
    const tables = await readTables(context);
    const names = new FreeNames(catalogue, tables);
    const listed = largest(gaps, ({ column }) => tables.byOid.get(column.tableOid)?.pages ?? 0);
    const findings: ReviewFinding[] = [];
    const hasTime = proofTime(context);
    let contradicted = 0;
    for (const [at, gap] of listed.entries()) {
      const sample = at < sampledColumns && hasTime() ? await sampleOf(context, gap) : undefined;
      if (sample !== undefined && sample.sampled > 0 && sample.matching / sample.sampled < leastShare) {
        contradicted += 1;
        continue;
      }
      findings.push(finding(context, gap, sample, { catalogue, tables, names }));
    }
    return concludeReview({
      facts: {
        columnsNamedLikeReferences: columns.length,
        contradictedByTheirValues: contradicted,
        notListed: gaps.length - listed.length,
      },
      findings,
      good: [],
    });
  },
};

function readColumns({ session }: ReviewContext): Promise<Column[]> {
  return session.query<Column>(
    `select c.oid::int8 as "tableOid", n.nspname::text as schema, c.relname::text as table, a.attnum::int as number,
            a.attname::text as column, coalesce(nullif(t.typbasetype, 0), t.oid)::int8 as type,
            a.attcollation::int8 as collation,
            exists (select from pg_attribute other
                     where other.attrelid = c.oid and not other.attisdropped and other.attnum <> a.attnum
                       and other.attname in (regexp_replace(a.attname, '_?[A-Za-z]+$', '_type'),
                                             regexp_replace(a.attname, '_?[A-Za-z]+$', 'Type'),
                                             regexp_replace(a.attname, '(Id|Uuid|Code)$', 'Type')))
              as "isPolymorphic"
       from pg_attribute a
       join pg_class c on c.oid = a.attrelid
       join pg_namespace n on n.oid = c.relnamespace
       join pg_type t on t.oid = a.atttypid
      where a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        and a.attname ~ '(_([Ii][Dd]|[Uu][Uu][Ii][Dd]|[Gg][Uu][Ii][Dd]|[Cc][Oo][Dd][Ee]|[Kk][Ee][Yy]|[Nn][Oo]|[Nn][Uu][Mm][Bb][Ee][Rr])|[a-z0-9](Id|Uuid|Code))$'
        and c.relkind in ('r', 'p') and not c.relispartition and ${userRelation()}
        and not exists (select from pg_constraint con
                         where con.conrelid = c.oid and con.contype = 'f' and a.attnum = any(con.conkey))
      order by c.oid, a.attnum`,
  );
}

/** Keys of one column, which a foreign key may refer to. */
function readKeys({ session }: ReviewContext): Promise<Key[]> {
  return session.query<Key>(
    `select c.oid::int8 as "tableOid", n.nspname::text as schema, c.relname::text as table, a.attname::text as column,
            coalesce(nullif(t.typbasetype, 0), t.oid)::int8 as type, x.indisprimary as "isPrimary"
       from pg_index x
       join pg_class c on c.oid = x.indrelid
       join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum = x.indkey[0]
       join pg_type t on t.oid = a.atttypid
      where x.indisunique and x.indisvalid and x.indimmediate and x.indnkeyatts = 1 and x.indpred is null
        and x.indexprs is null and c.relkind in ('r', 'p') and not c.relispartition and ${userRelation()}
      order by x.indisprimary desc, x.indexrelid`,
  );
}

function match(columns: readonly Column[], keys: readonly Key[]): Gap[] {
  const byTable = new Map<string, Key[]>();
  for (const key of keys) {
    const name = `${key.schema}\0${key.table.toLowerCase()}`;
    const known = byTable.get(name);
    if (known === undefined) byTable.set(name, [key]);
    else known.push(key);
  }
  return columns.flatMap((column) => {
    const reference = referenceIn(column.column);
    if (reference === undefined || column.isPolymorphic || isTrace(column.table)) return [];
    const isParent = reference.stem === "parent";
    const tables = isParent ? [column.table.toLowerCase()] : tableNames(reference.stem);
    const found = tables.flatMap((table) =>
      (byTable.get(`${column.schema}\0${table}`) ?? []).filter(
        (key) =>
          sameType(column.type, key.type) &&
          // customers (id), customers (customer_id): either is what customer_id says.
          [reference.key, column.column.toLowerCase()].includes(key.column.toLowerCase()) &&
          !(key.tableOid === column.tableOid && key.column === column.column),
      ),
    );
    // Of several tables that it could mean, none is claimed.
    const meant = new Set(found.map((key) => key.tableOid));
    const [key] = found;
    return key === undefined || meant.size > 1 ? [] : [{ column, key }];
  });
}

function sameType(one: number, other: number): boolean {
  return one === other || (integers.has(one) && integers.has(other));
}

/** Of some rows with a value, how many refer to a row that is there; undefined where that could not be read. */
async function sampleOf(
  { session, signal }: ReviewContext,
  { column, key }: Gap,
): Promise<Sample | undefined> {
  const name = identifier(column.column);
  try {
    const [row] = await session.query<Sample>(
      `select count(*)::int as sampled,
              count(*) filter (where exists (
                select from ${qualified(key.schema, key.table)} p where p.${identifier(key.column)} = x.${name}))::int as matching
         from (select ${name} from ${qualified(column.schema, column.table)}
                where ${name} is not null limit ${sampledRows}) x`,
    );
    return row;
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(
  { session }: ReviewContext,
  { column, key }: Gap,
  sample: Sample | undefined,
  { catalogue, tables, names }: { catalogue: IndexCatalogue; tables: Tables; names: FreeNames },
): ReviewFinding {
  const table = tables.byOid.get(column.tableOid);
  const name = qualified(column.schema, column.table);
  const own = identifier(column.column);
  const referenced = `${qualified(key.schema, key.table)} (${identifier(key.column)})`;
  const orphans = sample === undefined ? 0 : sample.sampled - sample.matching;
  const isMatched = sample !== undefined && sample.sampled > 0 && orphans === 0;
  const constraint = identifier(cutName(`${column.table}_${column.column}`, "_fkey"));
  const isIndexed = (catalogue.byTable.get(column.tableOid) ?? []).some(
    (index) =>
      index.isUsable &&
      index.method === "btree" &&
      index.predicate === null &&
      index.keys[0]?.column === column.number,
  );
  const creation =
    isIndexed || table === undefined
      ? undefined
      : creationOf(table, [column.column], `(${own})`, names, tables);
  const added = addConstraint(
    name,
    constraint,
    `FOREIGN KEY (${own}) REFERENCES ${referenced}`,
    // As `takesNotValid` has it.
    table?.kind !== "p" || majorOf(session.serverVersionNumber) >= 18,
  );
  const up = [...(creation?.fix.up ?? []), ...added.statements];
  const down = [`ALTER TABLE ${name} DROP CONSTRAINT ${constraint};`, ...(creation?.fix.down ?? [])];
  const counted =
    sample === undefined
      ? "not read"
      : sample.sampled === 0
        ? "no row has a value"
        : `${sample.matching} of ${sample.sampled} values are there`;
  return {
    check: "missing-foreign-keys",
    key: `missing-foreign-keys/${column.schema}.${column.table}.${column.column}`,
    severity: isMatched || orphans > 0 ? "medium" : "low",
    confidence: isMatched ? "likely" : "suspected",
    object: { schema: column.schema, table: column.table, column: column.column },
    title: `${name}.${own} seems to refer to ${referenced}, without a foreign key`,
    evidence: { refersTo: referenced, sample: counted, rowsWithoutReferencedRow: orphans },
    impact:
      orphans > 0
        ? `${orphans} of ${sample?.sampled ?? 0} sampled rows refer to rows that are not there: joins lose them.`
        : "Nothing keeps rows from referring to rows that are not there.",
    blastRadius: `writes to ${name} and deletes from ${qualified(key.schema, key.table)}`,
    rootCause: "The reference is known to the application only.",
    prevention: "Declare the foreign key in the migration that adds the column.",
    effort: orphans > 0 ? "hours" : "minutes",
    remediation: {
      sql:
        orphans > 0
          ? `-- First mend or remove the rows without a referenced row.\n${up.join("\n")}`
          : up.join("\n"),
      lock: added.lock,
      rollback: down.join("\n"),
    },
    ...(isMatched
      ? { fix: { up, down, proof: [`${counted} (the first ${sampledRows} rows with a value)`] } }
      : {}),
  };
}
