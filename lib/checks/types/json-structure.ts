import { identifier, literal, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";

/** Documents that are read of each column: the first pages, which are cheap to find. */
const sampleRows = 500;
/** Fewer say nothing about what is usual. */
const enoughDocuments = 200;
/** A key that is in nearly all of them, always of one type, is a column in disguise. */
const stableShare = 0.98;
const enoughKeys = 3;
/** Columns that are looked into: those of the largest tables. */
const most = 50;

interface Column {
  schema: string;
  table: string;
  column: string;
  rows: number;
  readable: boolean;
  checked: boolean;
}

interface Key {
  key: string;
  documents: number;
  with: number;
  types: number;
  type: string;
}

/** Documents that all have the same keys of the same types: they could be columns, or at least be validated. */
export const jsonStructure: ReviewCheck = {
  name: "json-structure",
  title: "Which documents always have the same shape, unchecked?",
  area: "types",
  async run(context) {
    const columns = await context.session.query<Column>(
      `select n.nspname::text as schema, c.relname::text as table, a.attname::text as column,
              greatest(c.reltuples, 0)::float8 as rows,
              has_schema_privilege(n.oid, 'USAGE') and has_column_privilege(c.oid, a.attnum, 'SELECT') as readable,
              exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any (k.conkey)) as checked
         from pg_attribute a join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
         join pg_namespace n on n.oid = c.relnamespace
        where a.atttypid = 'jsonb'::regtype and a.attnum > 0 and not a.attisdropped
          and not c.relrowsecurity and (c.relpersistence = 'p' or not pg_is_in_recovery()) and ${userRelation()}
        order by c.reltuples desc, c.oid, a.attnum`,
    );
    const findings: ReviewFinding[] = [];
    const unseen = { unreadable: 0, failed: 0, notLookedInto: 0 };
    for (const [position, column] of columns.entries()) {
      context.signal.throwIfAborted();
      if (!column.readable) unseen.unreadable += 1;
      else if (position >= most || context.budget.left() < 1_000) unseen.notLookedInto += 1;
      else {
        const keys = await readKeys(context, column).catch((error: unknown) => {
          if (isLost(error)) throw error;
          return undefined;
        });
        if (keys === undefined) unseen.failed += 1;
        else findings.push(...judge(column, keys));
      }
    }
    const missing = Object.values(unseen).reduce((sum, count) => sum + count, 0);
    return concludeReview({
      findings,
      facts: { jsonbColumns: columns.length, ...unseen },
      good: ["Documents differ in shape, as documents may; none is a table in disguise."],
      obstacle:
        missing === 0
          ? undefined
          : `${countText(missing, "column")} could not be looked into (${unseen.unreadable} for want of SELECT: GRANT pg_read_all_data TO ${identifier(context.session.user)};)`,
    });
  },
};

const isLost = (error: unknown) =>
  error instanceof Error && "code" in error && (error.code === "unreachable" || error.code === "deadline");

/** How often each key is there, in the first documents; only objects count. */
function readKeys({ session }: ReviewContext, { schema, table, column }: Column): Promise<Key[]> {
  const name = identifier(column);
  return session.query<Key>(
    `with documents as materialized (
       select ${name} as document from ${qualified(schema, table)} where ${name} is not null limit $1
     ), objects as materialized (select document from documents where jsonb_typeof(document) = 'object')
     select e.key, (select count(*)::int from documents) as documents, count(*)::int as with,
            count(distinct jsonb_typeof(e.value)) filter (where jsonb_typeof(e.value) <> 'null')::int as types,
            coalesce(min(jsonb_typeof(e.value)) filter (where jsonb_typeof(e.value) <> 'null'), 'null') as type
       from objects, jsonb_each(document) e
      group by e.key order by count(*) desc, e.key limit 100`,
    [sampleRows],
  );
}

const columnTypes: Record<string, string> = { string: "text", number: "numeric", boolean: "boolean" };

function judge({ schema, table, column, rows, checked }: Column, keys: readonly Key[]): ReviewFinding[] {
  const documents = keys[0]?.documents ?? 0;
  const stable = keys.filter(
    (one) => one.with / documents >= stableShare && one.types === 1 && one.type in columnTypes,
  );
  // As many rare keys beside them say that it is a document after all.
  if (documents < enoughDocuments || stable.length < enoughKeys || keys.length > stable.length * 2 || checked)
    return [];
  const name = qualified(schema, table);
  const first = stable[0] as Key;
  const constraint = `${table}_${column}_shape`.slice(0, 60);
  const check = `jsonb_typeof(${identifier(column)}) = 'object' AND ${identifier(column)} ?& ARRAY[${stable.map(({ key }) => literal(key)).join(", ")}]`;
  return [
    {
      check: "json-structure",
      key: `json-structure/${schema}.${table}.${column}`,
      severity: "low",
      confidence: "suspected",
      object: { schema, table, column },
      title: `documents in ${name}.${identifier(column)} all have the same ${stable.length} keys`,
      evidence: {
        sampledDocuments: documents,
        keys: stable.map(({ key, type }) => `${key}: ${type}`),
        otherKeys: keys.length - stable.length,
        rows,
        stablePercent: round(100 * stableShare),
      },
      impact:
        "Key names are stored with every row, the planner has no statistics of the values inside, and nothing keeps a wrong one out",
      blastRadius: `whoever filters or joins by what is inside ${name}.${identifier(column)}`,
      rootCause: "the structure was open when the table was made, and settled later",
      prevention: "make what every row has a column, and keep documents for what differs",
      effort: "days",
      example: {
        before: `${identifier(column)} jsonb`,
        after: stable.map(({ key, type }) => `${identifier(key)} ${columnTypes[type] ?? "text"}`).join(", "),
      },
      remediation: {
        sql: [
          `-- At least validate it:`,
          `ALTER TABLE ${name} ADD CONSTRAINT ${identifier(constraint)} CHECK (${check}) NOT VALID;`,
          `ALTER TABLE ${name} VALIDATE CONSTRAINT ${identifier(constraint)};`,
          `-- Better: columns, e.g. ALTER TABLE ${name} ADD COLUMN ${identifier(first.key)} ${columnTypes[first.type] ?? "text"}; filled in batches.`,
        ].join("\n"),
        lock: "ACCESS EXCLUSIVE on the table for a moment, then SHARE UPDATE EXCLUSIVE while rows are checked",
        rollback: `ALTER TABLE ${name} DROP CONSTRAINT ${identifier(constraint)};`,
      },
    },
  ];
}
