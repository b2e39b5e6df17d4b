import { PgkeepError } from "../../errors.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { readTables, type Tables } from "../indexes/tables.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { readStoredDefinitions } from "../stored-definitions.ts";
import { userRelation, userSchema } from "../user-objects.ts";
import { type ForeignKey, readForeignKeys } from "./foreign-keys.ts";

interface NotValid {
  oid: number;
  name: string;
  /** `c` check, `f` foreign key, `n` not null (18). */
  type: string;
  schema: string;
  /** Null for a constraint of a domain. */
  table: string | null;
  tableOid: number;
  domain: string | null;
}

/** Rows that refer to nothing are counted up to here. */
const countedViolations = 100;
/** A count of more rows than this takes longer than a statement may. */
const countableRows = 2_000_000;

const kinds: Record<string, string> = { c: "check constraint", f: "foreign key", n: "not-null constraint" };

/**
 * Constraints that hold for new rows only: added NOT VALID and never validated. The planner does not rely on them, and
 * neither should anybody. For foreign keys the rows that break them are counted, within the budget.
 */
export const notValidConstraints: ReviewCheck = {
  name: "not-valid-constraints",
  title: "Is every constraint validated for the rows that were there before it?",
  area: "constraints",
  async run(context) {
    const is18 = majorOf(context.session.serverVersionNumber) >= 18;
    const found = await context.session.query<NotValid>(
      `select con.oid::int8 as oid, con.conname::text as name, con.contype::text as type,
              n.nspname::text as schema, c.relname::text as table, con.conrelid::int8 as "tableOid", null as domain
         from pg_constraint con
         join pg_class c on c.oid = con.conrelid
         join pg_namespace n on n.oid = c.relnamespace
        where not con.convalidated and con.conparentid = 0 and (con.coninhcount = 0 or con.conislocal)
          and ${is18 ? "con.conenforced" : "true"} and ${userRelation()}
       union all
       select con.oid::int8, con.conname::text, con.contype::text, n.nspname::text, null, 0, t.typname::text
         from pg_constraint con
         join pg_type t on t.oid = con.contypid
         join pg_namespace n on n.oid = t.typnamespace
        where not con.convalidated and con.contypid <> 0 and ${userSchema()}
        order by 4, 5, 2`,
    );
    const definitions = await readStoredDefinitions(
      context.session,
      "constraint",
      found.filter((one) => one.domain === null).map((one) => one.oid),
    );
    const keys = found.length === 0 ? [] : await readForeignKeys(context);
    const tables = found.length === 0 ? undefined : await readTables(context);
    const findings: ReviewFinding[] = [];
    const hasTime = proofTime(context);
    for (const one of found) {
      const key = keys.find((other) => other.oid === one.oid);
      const violations =
        key === undefined || !hasTime() ? undefined : await countViolations(context, key, tables);
      findings.push(finding(one, definitions.get(one.oid), violations));
    }
    return concludeReview({
      facts: { notValid: found.length },
      findings,
      good: ["Every constraint is validated."],
    });
  },
};

/** Rows whose key is not there, up to a hundred; undefined where that could not be counted. */
async function countViolations(
  { session, signal }: ReviewContext,
  key: ForeignKey,
  tables: Tables | undefined,
): Promise<number | undefined> {
  const rows = tables?.byOid.get(key.tableOid)?.rows ?? 0;
  if (rows > countableRows || key.hasPeriod) return undefined;
  const joined = key.columns
    .map((column, at) => `p.${identifier(key.referencedColumns[at] ?? "")} = x.${identifier(column)}`)
    .join(" and ");
  const present = key.columns.map((column) => `x.${identifier(column)} is not null`).join(" and ");
  try {
    const [row] = await session.query<{ count: number }>(
      `select count(*)::int as count from (
         select from ${qualified(key.schema, key.table)} x
          where ${present} and not exists (
            select from ${qualified(key.referencedSchema, key.referencedTable)} p where ${joined})
          limit ${countedViolations}) v`,
    );
    return row?.count;
  } catch (error) {
    // Not allowed to read it, locked, too long: the finding stands without the count.
    if (error instanceof PgkeepError && error.code !== "unreachable" && !signal.aborted) return undefined;
    throw error;
  }
}

function finding(
  one: NotValid,
  definition: string | undefined,
  violations: number | undefined,
): ReviewFinding {
  const constraint = identifier(one.name);
  const kind = kinds[one.type] ?? "constraint";
  const isBroken = violations !== undefined && violations > 0;
  const on =
    one.domain === null
      ? qualified(one.schema, one.table ?? "")
      : `the domain ${qualified(one.schema, one.domain)}`;
  const target =
    one.domain === null
      ? `TABLE ${qualified(one.schema, one.table ?? "")}`
      : `DOMAIN ${qualified(one.schema, one.domain)}`;
  const up = [`ALTER ${target} VALIDATE CONSTRAINT ${constraint};`];
  const down =
    definition === undefined
      ? undefined
      : [`ALTER ${target} DROP CONSTRAINT ${constraint}, ADD CONSTRAINT ${constraint} ${definition};`];
  const counted = isBroken
    ? violations >= countedViolations
      ? `${countedViolations} or more`
      : String(violations)
    : "";
  return {
    check: "not-valid-constraints",
    key: `not-valid-constraints/${one.schema}.${one.table ?? one.domain ?? ""}.${one.name}`,
    severity: isBroken ? "high" : one.type === "f" ? "medium" : "low",
    confidence: "certain",
    object: {
      schema: one.schema,
      ...(one.table === null ? {} : { table: one.table }),
      name: one.name,
    },
    title: `${kind} ${constraint} of ${on} is not validated`,
    evidence: {
      constraint: one.name,
      kind,
      rowsThatBreakIt: isBroken ? counted : violations === 0 ? 0 : "not counted",
    },
    impact: isBroken
      ? `${counted} rows refer to rows that are not there: joins lose them, and a restore with the constraint would fail.`
      : "Rows from before it may break it, and plans do not rely on it.",
    blastRadius: `the rows of ${on} that are older than the constraint`,
    rootCause: "It was added NOT VALID to keep the lock short, and the second step was left out.",
    prevention: "Put VALIDATE CONSTRAINT into the next migration after ADD CONSTRAINT … NOT VALID.",
    effort: isBroken ? "hours" : "minutes",
    remediation: {
      sql: isBroken ? `-- First mend or remove the rows that break it.\n${up.join("\n")}` : up.join("\n"),
      lock:
        one.domain !== null
          ? "SHARE on the tables that use the domain"
          : `SHARE UPDATE EXCLUSIVE on the table${one.type === "f" ? ", ROW SHARE on the referenced one" : ""}: reads and writes go on`,
      rollback: down?.join("\n") ?? "none needed",
    },
    // With rows that break it, the statement only fails: they are mended first, by somebody who knows them.
    ...(isBroken || one.domain !== null || definition === undefined
      ? {}
      : {
          fix: {
            up,
            down: down ?? [],
            proof: [
              violations === 0
                ? "no row breaks it now"
                : "VALIDATE reads the table and changes nothing when a row breaks it",
            ],
          },
        }),
  };
}
