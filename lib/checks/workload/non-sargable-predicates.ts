import { identifier } from "../../postgres/identifiers.ts";
import { creationOf, type FreeNames } from "../indexes/creations.ts";
import type { ReviewContext, ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  freeNames,
  inTheApplication,
  type Parsed,
  type Seen,
  severityByShare,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { type Condition, conditionsOf } from "./resolve.ts";
import { hasExpressionOn, isLeading } from "./tables.ts";
import { wholeScan } from "./whole-scans.ts";

const searched = new Set(["=", "in", "any", "<", ">", "<=", ">=", "between"]);

/** Conditions on something made of a column, which an index on the column cannot serve. */
export const nonSargablePredicates = workloadCheck({
  name: "non-sargable-predicates",
  title: "Which conditions on functions of columns keep indexes from being used?",
  async look(seen) {
    const names = freeNames(seen);
    const findings: ReviewFinding[] = [];
    for (const statement of seen.statements) {
      const conditions = conditionsOf(statement.facts, seen.tables);
      const found = new Set<string>();
      for (const condition of conditions) {
        const { table, column, predicate } = condition;
        const { wrap } = predicate;
        if (wrap === undefined || wrap.kind === "json" || !searched.has(predicate.operator)) continue;
        if (found.has(`${table.oid}.${column.number}`) || hasExpressionOn(table, column)) continue;
        const scan = await wholeScan(seen, statement, table);
        if (scan === undefined) continue;
        found.add(`${table.oid}.${column.number}`);
        const indexable = await isImmutable(seen.context, condition);
        findings.push(finding(seen, statement, condition, scan, indexable, names));
      }
    }
    return { findings, good: ["No statement searches a large table by a function of a column in vain."] };
  },
});

/** Only what always gives the same may be indexed: lower(text) does, date(timestamptz) depends on the time zone. */
async function isImmutable({ session }: ReviewContext, { column, predicate }: Condition): Promise<boolean> {
  const { wrap } = predicate;
  if (wrap?.alone !== true || wrap.kind === "operator") return false;
  const [row] = await session.query<{ immutable: boolean }>(
    wrap.kind === "function"
      ? `select count(*) > 0 and bool_and(p.provolatile = 'i') as immutable
           from pg_proc p join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pg_catalog'
          where p.proname = $1 and p.pronargs = 1
            and (p.proargtypes[0] = $2::int8::oid or p.proargtypes[0] = 'text'::regtype and $2::int8::oid = 'varchar'::regtype)`
      : `select count(*) > 0 and bool_and(c.castmethod = 'b' or c.castmethod = 'f' and p.provolatile = 'i') as immutable
           from pg_cast c left join pg_proc p on p.oid = c.castfunc
          where c.castsource = $2::int8::oid
            and c.casttarget = (select t.oid from pg_type t where t.typname = $1 and t.typnamespace = 'pg_catalog'::regnamespace)`,
    [wrap.name, column.typeOid],
  );
  return row?.immutable === true;
}

function finding(
  seen: Seen,
  statement: Parsed,
  { table, column, predicate }: Condition,
  scan: NonNullable<Awaited<ReturnType<typeof wholeScan>>>,
  indexable: boolean,
  names: () => FreeNames,
): ReviewFinding {
  const { workload, tables } = seen;
  const name = identifier(column.name);
  const wrap = predicate.wrap as NonNullable<typeof predicate.wrap>;
  const expression =
    wrap.kind === "cast"
      ? `${name}::${identifier(wrap.name)}`
      : wrap.kind === "operator"
        ? `${name} ${wrap.name} …`
        : `${identifier(wrap.name)}(${wrap.alone ? name : `${name}, …`})`;
  const entry = table.entry;
  const creation =
    indexable && entry !== undefined
      ? creationOf(entry, [column.name, wrap.name], `((${expression}))`, names(), tables.counters)
      : undefined;
  const bare = isLeading(table, column);
  const isMoment = /^(?:timestamp|date)/.test(column.type);
  const rewrite = isMoment
    ? `compare the column itself with both ends: ${name} >= start AND ${name} < end`
    : `move the calculation to the other side, so that ${name} stands alone`;
  return {
    ...aboutStatement(
      "non-sargable-predicates",
      statement,
      seen,
      `${table.schema}.${table.name}.${column.name}`,
    ),
    severity: severityByShare(statement, workload),
    confidence: scan.plan === undefined ? "suspected" : "likely",
    object: { schema: table.schema, table: table.name, column: column.name },
    title: `a condition on ${expression} reads all of ${table.schema}.${table.name}: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, workload),
      condition: `${expression} ${predicate.operator}`,
      ...scan,
      ...(bare === undefined ? {} : { indexThatCannotServe: bare.index }),
    },
    impact: `Each call reads ${tableText(table, tables)} as a whole, because an index on ${name} does not know the values of ${expression}.`,
    blastRadius: "whoever waits for this statement, and what shares the disk and the caches with it",
    rootCause: "The statement asks about something calculated from the column, not about the column.",
    prevention:
      "Compare columns as they are stored, or index the expression in the migration that comes with the statement.",
    effort: creation === undefined ? "hours" : "minutes",
    remediation:
      creation === undefined
        ? inTheApplication(rewrite)
        : { sql: creation.sql, lock: creation.lock, rollback: creation.rollback },
    example: {
      before: `WHERE ${expression} ${predicate.operator === "in" ? "IN (…)" : `${predicate.operator} …`}`,
      after: creation === undefined ? rewrite : creation.sql,
    },
    ...(creation === undefined
      ? {}
      : {
          fix: {
            ...creation.fix,
            proof: [
              `now: ${scan.plan ?? `${scan.blocksPerCall} blocks touched by each call`} of ${tableText(table, tables)}`,
            ],
          },
        }),
  };
}
