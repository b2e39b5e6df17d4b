import { identifier, qualified } from "../../postgres/identifiers.ts";
import { creationOf, type FreeNames } from "../indexes/creations.ts";
import type { ReviewFinding } from "../review-check.ts";
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
import type { Column, Table, Tables } from "./tables.ts";
import { wholeScan } from "./whole-scans.ts";

const dropExtension = 'DROP EXTENSION "pg_trgm";';

/** Where pg_trgm is, or would be installed. */
interface Trigram {
  schema: string;
  installed: boolean;
  available: boolean;
}

/** LIKE and ILIKE that read a table as a whole, where trigrams would find the rows. */
export const leadingWildcardLike = workloadCheck({
  name: "leading-wildcard-like",
  title: "Which searches with LIKE read whole tables?",
  async look(seen) {
    const { tables } = seen;
    const names = freeNames(seen);
    const findings: ReviewFinding[] = [];
    let trigram: Trigram | undefined;
    for (const statement of seen.statements) {
      for (const condition of conditionsOf(statement.facts, tables)) {
        const { table, column, predicate } = condition;
        if (predicate.operator !== "~~" && predicate.operator !== "~~*") continue;
        if (predicate.operator === "~~" && predicate.pattern === "fixed-start") continue;
        if (!/^(?:text|character varying|character)$/.test(column.type)) continue;
        if (predicate.wrap !== undefined || hasTrigrams(table, column, tables)) continue;
        const scan = await wholeScan(seen, statement, table);
        if (scan === undefined) continue;
        trigram ??= await findTrigram(seen);
        findings.push(finding(seen, statement, condition, scan, trigram, names));
        break;
      }
    }
    // While another of these indexes is there, the extension cannot be dropped.
    if (findings.length > 1)
      for (const { fix } of findings)
        if (fix !== undefined) fix.down = fix.down.filter((one) => one !== dropExtension);
    return { findings, good: ["No search with LIKE reads a large table as a whole."] };
  },
});

function hasTrigrams(table: Table, column: Column, { operatorClasses }: Tables): boolean {
  return table.indexes.some(
    (index) =>
      index.isUsable &&
      index.keys.some(
        (key) =>
          key.column === column.number && /_trgm_ops$/.test(operatorClasses.get(key.operatorClass) ?? ""),
      ),
  );
}

async function findTrigram({ context }: Seen): Promise<Trigram> {
  const installed = context.extensions.get("pg_trgm");
  if (installed !== undefined) return { schema: installed.schema, installed: true, available: true };
  const rows = await context.session.query("select 1 from pg_available_extensions where name = 'pg_trgm'");
  return { schema: "public", installed: false, available: rows.length > 0 };
}

function finding(
  seen: Seen,
  statement: Parsed,
  { table, column, predicate }: Condition,
  scan: NonNullable<Awaited<ReturnType<typeof wholeScan>>>,
  trigram: Trigram,
  names: () => FreeNames,
): ReviewFinding {
  const { workload, tables } = seen;
  const name = identifier(column.name);
  const operator = predicate.operator === "~~*" ? "ILIKE" : "LIKE";
  const isCertain = predicate.pattern === "leading-wildcard" || operator === "ILIKE";
  const body = `USING gin (${name} ${qualified(trigram.schema, "gin_trgm_ops")})`;
  const creation =
    trigram.available && table.entry !== undefined
      ? creationOf(table.entry, [column.name, "trgm"], body, names(), tables.counters)
      : undefined;
  const extension = trigram.installed
    ? []
    : ['CREATE EXTENSION IF NOT EXISTS "pg_trgm" WITH SCHEMA "public";'];
  return {
    ...aboutStatement(
      "leading-wildcard-like",
      statement,
      seen,
      `${table.schema}.${table.name}.${column.name}`,
    ),
    severity: severityByShare(statement, workload),
    confidence: isCertain ? "likely" : "suspected",
    object: { schema: table.schema, table: table.name, column: column.name },
    title: `${operator} on ${table.schema}.${table.name}.${column.name} reads the whole table: ${brief(statement)}`,
    evidence: {
      ...statementEvidence(statement, workload),
      pattern: isCertain
        ? operator === "ILIKE"
          ? "of any case, which no B-tree serves"
          : "begins with a wildcard"
        : "not in the text: pg_stat_statements replaces it; the blocks that are touched show a scan",
      ...scan,
    },
    impact: `Each call reads ${tableText(table, tables)} as a whole and compares every row's text.`,
    blastRadius: "whoever searches, and what shares the disk and the caches with it",
    rootCause: `A B-tree finds texts by how they begin${operator === "ILIKE" ? ", in one case" : ""}; what is searched is somewhere inside.`,
    prevention:
      "Build a search together with its index: trigrams for parts of words, text search for words, text_pattern_ops for beginnings.",
    effort: "minutes",
    remediation:
      creation === undefined
        ? inTheApplication(
            "search by the beginning of the text, or install pg_trgm, which this server does not offer",
          )
        : {
            sql: [...extension, creation.sql].join("\n"),
            lock: creation.lock,
            rollback: creation.rollback,
          },
    ...(creation === undefined
      ? {}
      : {
          example: { before: `${name} ${operator} '%…%'`, after: creation.sql },
          fix: {
            up: [...extension, ...creation.fix.up],
            down: [...creation.fix.down, ...(trigram.installed ? [] : [dropExtension])],
            proof: [
              `now: ${scan.plan ?? `${scan.blocksPerCall} blocks touched by each call`} of ${tableText(table, tables)}`,
              "hypopg cannot pretend a GIN index: try it on a copy; it is slower to write than a B-tree, and about as large as the texts",
            ],
          },
        }),
  };
}
