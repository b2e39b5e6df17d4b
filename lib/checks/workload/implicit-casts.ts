import { identifier } from "../../postgres/identifiers.ts";
import type { ReviewContext, ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  inTheApplication,
  type Parsed,
  type Seen,
  severityByShare,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { type Condition, conditionsOf } from "./resolve.ts";
import { isLeading } from "./tables.ts";
import { wholeScan } from "./whole-scans.ts";

interface Types {
  /** Of pg_catalog, by name. */
  byName: ReadonlyMap<string, number>;
  /** Pairs `left right` that a B-tree compares as they are. */
  comparable: ReadonlySet<string>;
  /** Pairs `from to` that PostgreSQL casts without being asked, by calculating. */
  implicit: ReadonlySet<string>;
}

/**
 * Comparisons of different types for which B-trees have no operator: PostgreSQL casts the column, and its index is of
 * no use. Seen where the text names the type, and in joins; what a driver declares of a parameter is in no text.
 */
export const implicitCasts = workloadCheck({
  name: "implicit-casts",
  title: "Which comparisons of different types keep indexes from being used?",
  async look(seen) {
    const types = await readTypes(seen.context);
    const findings: ReviewFinding[] = [];
    for (const statement of seen.statements) {
      for (const condition of conditionsOf(statement.facts, seen.tables)) {
        const { table, column, predicate, other } = condition;
        if (predicate.wrap !== undefined || !/^(?:[<>]?=|[<>]|in|between)$/.test(predicate.operator))
          continue;
        const otherOid = other?.column.typeOid ?? types.byName.get(predicate.otherType ?? "");
        if (otherOid === undefined || !castsColumn(types, column.typeOid, otherOid)) continue;
        const index = isLeading(table, column);
        if (index === undefined) continue;
        const scan = await wholeScan(seen, statement, table);
        if (scan === undefined) continue;
        const otherType = other?.column.type ?? predicate.otherType ?? "";
        findings.push(finding(seen, statement, condition, otherType, index.index, scan));
        break;
      }
    }
    return { findings, good: ["No statement compares a large table's indexed column with another type."] };
  },
});

function readTypes({ session, once }: ReviewContext): Promise<Types> {
  return once("comparable-types", async () => {
    const names = await session.query<{ oid: number; name: string }>(
      "select oid::int8 as oid, typname::text as name from pg_type where typnamespace = 'pg_catalog'::regnamespace",
    );
    const pairs = await session.query<{ pair: string }>(
      `select distinct o.amoplefttype || ' ' || o.amoprighttype as pair
         from pg_amop o join pg_am m on m.oid = o.amopmethod and m.amname = 'btree'
        where o.amopstrategy = 3
       union select castsource || ' ' || casttarget from pg_cast where castmethod = 'b' and castcontext = 'i'
       union select c.casttarget || ' ' || c.castsource from pg_cast c join pg_type t on t.oid = c.castsource
        where c.castmethod = 'b' and c.castcontext = 'i' and not t.typispreferred`,
    );
    const casts = await session.query<{ pair: string }>(
      "select castsource || ' ' || casttarget as pair from pg_cast where castcontext = 'i' and castmethod <> 'b'",
    );
    return {
      implicit: new Set(casts.map(({ pair }) => pair)),
      byName: new Map(names.map(({ oid, name }) => [name, oid])),
      comparable: new Set(pairs.map(({ pair }) => pair)),
    };
  });
}

/** Whether comparing them casts the column, and not the value. */
function castsColumn({ comparable, implicit }: Types, column: number, other: number): boolean {
  const pair = `${column} ${other}`;
  return column !== other && !comparable.has(pair) && implicit.has(pair);
}

function finding(
  seen: Seen,
  statement: Parsed,
  { table, column, other, predicate }: Condition,
  otherType: string,
  index: string,
  scan: NonNullable<Awaited<ReturnType<typeof wholeScan>>>,
): ReviewFinding {
  const { workload, tables } = seen;
  const name = identifier(column.name);
  const compared =
    other === undefined ? "a value" : `${identifier(other.table.name)}.${identifier(other.column.name)}`;
  const what =
    other === undefined
      ? `give the value as ${column.type}: ${name} ${predicate.operator} $1::${column.type}`
      : `let both columns have one type: a migration of ${compared} or of ${identifier(table.name)}.${name}`;
  return {
    ...aboutStatement("implicit-casts", statement, seen, `${table.schema}.${table.name}.${column.name}`),
    severity: severityByShare(statement, workload),
    confidence: scan.plan === undefined ? "suspected" : "likely",
    object: { schema: table.schema, table: table.name, column: column.name, index },
    title: `${table.schema}.${table.name}.${column.name} (${column.type}) is compared with ${otherType}: ${brief(statement)}`,
    evidence: { ...statementEvidence(statement, workload), columnType: column.type, otherType, ...scan },
    impact: `Each call reads ${tableText(table, tables)} as a whole although it has the index ${identifier(index)}: ${name} is cast to ${otherType} for each row.`,
    blastRadius: "whoever waits for this statement, and what shares the disk and the caches with it",
    rootCause: `B-trees have no operator between ${column.type} and ${otherType}, so that PostgreSQL casts the column.`,
    prevention: "Give parameters the type of their column; let keys that refer to each other have one type.",
    effort: other === undefined ? "minutes" : "days",
    remediation: inTheApplication(what),
    example: { before: `WHERE ${name} ${predicate.operator} … ::${otherType}`, after: what },
  };
}
