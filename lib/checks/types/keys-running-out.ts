import { type KeyColumn, readNarrowReferences } from "../../history/keys.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { readUserKeys } from "./user-keys.ts";

/** Share of a range that is used. Changing the type of a busy key takes weeks of preparation, so the first comes early. */
const limits: readonly { share: number; severity: Severity }[] = [
  { share: 0.95, severity: "critical" },
  { share: 0.8, severity: "high" },
  { share: 0.5, severity: "medium" },
];

/** Sequences that one statement reads: each is opened, for which it takes ACCESS SHARE. */
const atOnce = 500;

/** One range that values of a key must fit in. */
interface Range {
  schema: string;
  table: string;
  column: string;
  type: string;
  largest: number;
  basis: string;
  used: number;
}

/** Keys of tables that sequences fill, and columns that refer to them, against the end of their types. */
export const keysRunningOut: ReviewCheck = {
  name: "keys-running-out",
  title: "Which integer keys run out of values?",
  area: "types",
  async run(context) {
    const { session } = context;
    const references = await readNarrowReferences(session);
    const referenced = new Set(references.map((one) => `${one.referencedOid}/${one.referencedNumber}`));
    const keys = (await readUserKeys(context)).filter(
      (key) =>
        key.type !== "bigint" ||
        key.sequenceLargest < Number.MAX_SAFE_INTEGER ||
        referenced.has(`${key.tableOid}/${key.number}`),
    );
    const { positions, unreadable } = await readPositions(context, keys);
    const ranges = keys.flatMap((key) => {
      const position = positions.get(key.sequenceOid);
      if (position === undefined || key.cycles) return [];
      const used = key.increment < 0 ? -position : position;
      const ends = key.increment < 0 ? -key.sequenceSmallest : key.sequenceLargest;
      const bySequence = ends < key.typeLargest;
      const own: Range = {
        schema: key.schema,
        table: key.table,
        column: key.column,
        type: key.type,
        largest: bySequence ? ends : key.typeLargest,
        basis: bySequence ? `the end of sequence ${key.sequence}` : `the largest ${key.type}`,
        used,
      };
      const referring = references
        .filter((one) => one.referencedOid === key.tableOid && one.referencedNumber === key.number)
        .map(
          (one): Range => ({
            schema: one.schema,
            table: one.table,
            column: one.column,
            type: one.type,
            largest: one.typeLargest,
            basis: `the largest ${one.type}, which refers to ${qualified(key.schema, key.table)}`,
            used,
          }),
        );
      return [own, ...referring];
    });
    const findings = ranges
      .flatMap((range) => {
        const limit = limits.find(({ share }) => range.used / range.largest >= share);
        return limit === undefined ? [] : [finding(range, limit.severity)];
      })
      .sort((a, b) => Number(b.evidence.usedPercent) - Number(a.evidence.usedPercent));
    return concludeReview({
      findings,
      facts: { keys: keys.length, unreadable },
      good: ["Every integer key that a sequence fills has more than half of its range left."],
      obstacle:
        unreadable === 0
          ? undefined
          : `${countText(unreadable, "sequence")} cannot be read by ${session.user}: GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO ${identifier(session.user)};`,
    });
  },
};

async function readPositions(
  { session, signal }: ReviewContext,
  keys: readonly KeyColumn[],
): Promise<{ positions: Map<number, number>; unreadable: number }> {
  const wanted = [...new Set(keys.map(({ sequenceOid }) => sequenceOid))];
  const readable = await session.query<{ oid: number; schema: string; name: string }>(
    `select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.oid = any ($1::oid[]) and has_schema_privilege(n.oid, 'USAGE')
        and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'SELECT') end
        and not (c.relpersistence = 'u' and pg_is_in_recovery())`,
    [wanted],
  );
  const positions = new Map<number, number>();
  for (let from = 0; from < readable.length; from += atOnce) {
    signal.throwIfAborted();
    for (const [oid, position] of await readSome(session, readable.slice(from, from + atOnce)))
      positions.set(oid, position);
  }
  return { positions, unreadable: wanted.length - readable.length };
}

async function readSome(
  session: Session,
  sequences: readonly { oid: number; schema: string; name: string }[],
): Promise<[oid: number, position: number][]> {
  const rows = await session.query<{ oid: number; position: number }>(
    sequences
      .map(
        ({ oid, schema, name }) =>
          `select ${oid}::int8 as oid, case when is_called then last_value::float8 end as position from ${qualified(schema, name)}`,
      )
      .join("\nunion all\n"),
  );
  return rows.flatMap(({ oid, position }) => (position === null ? [] : [[oid, position]]));
}

function finding(range: Range, severity: Severity): ReviewFinding {
  const { schema, table, column, type, largest, basis, used } = range;
  const percent = round((100 * used) / largest);
  const name = qualified(schema, table);
  return {
    check: "keys-running-out",
    key: `keys-running-out/${schema}.${table}.${column}`,
    severity,
    confidence: "certain",
    object: { schema, table, column },
    title: `${percent} % of the values that ${name}.${identifier(column)} can take are used`,
    evidence: { usedPercent: percent, position: used, largest, limit: basis },
    impact:
      "When it ends every INSERT into the table fails, and mending it then takes as long as rewriting the table",
    blastRadius: `every insert into ${name}`,
    rootCause: type === "bigint" ? "the sequence was given a small end" : `the key is a ${type}`,
    prevention: "make keys bigint from the start, and the columns that refer to them too",
    effort: "days",
    example: {
      before: `CREATE TABLE … (${identifier(column)} ${type} GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY);`,
      after: `CREATE TABLE … (${identifier(column)} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY);`,
    },
    remediation: {
      sql:
        type === "bigint"
          ? "-- ALTER SEQUENCE … NO MAXVALUE, when nothing outside relies on small numbers."
          : [
              `-- In one statement, only for a small table: it is rewritten under its strongest lock.`,
              `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE bigint;`,
              `-- Else: a second bigint column that a trigger fills, backfilled in batches, made unique concurrently, and swapped in one short transaction. Columns that refer to it come first.`,
            ].join("\n"),
      lock: "ACCESS EXCLUSIVE on the table for as long as it is rewritten; the second way holds it for moments",
      rollback: `ALTER TABLE ${name} ALTER COLUMN ${identifier(column)} TYPE ${type}; while its values still fit`,
    },
  };
}
