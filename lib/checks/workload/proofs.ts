import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { nodesOf, type PlanNode } from "../generic-plan.ts";
import type { Candidate } from "./candidates.ts";
import { isPlan, planOf, type Question } from "./explain.ts";
import type { Table } from "./tables.ts";

/** A plan with an index that is not there. */
export interface Proof {
  before: PlanNode;
  after: PlanNode;
  bytes: number;
}

/**
 * Plans a statement once without and once with an index that hypopg only pretends. Nothing is built: the index is
 * known to this session alone, and forgotten before it is answered.
 * @returns undefined when it cannot be planned, or hypopg cannot pretend this index
 */
export function proveWithHypopg(
  session: Session,
  schema: string,
  question: Question,
  before: PlanNode,
  table: Table,
  candidate: Candidate,
): Promise<Proof | undefined> {
  return proveIndex(session, schema, question, before, table, bodyOf(candidate));
}

/**
 * As `proveWithHypopg`, for an index of any kind that hypopg knows.
 * @param body what follows the table's name in CREATE INDEX
 */
export async function proveIndex(
  session: Session,
  schema: string,
  question: Question,
  before: PlanNode,
  table: Table,
  body: string,
): Promise<Proof | undefined> {
  const definition = `create index on ${qualified(table.schema, table.name)} ${body}`;
  let oid: number | undefined;
  try {
    const [made] = await session.query<{ oid: number; name: string }>(
      `select indexrelid::int8 as oid, indexname as name from ${qualified(schema, "hypopg_create_index")}($1)`,
      [definition],
    );
    if (made === undefined) return undefined;
    oid = made.oid;
    const after = await planOf(session, question);
    if (!isPlan(after)) return undefined;
    if (!nodesOf(after).some((node) => node["Index Name"] === made.name)) return undefined;
    const [size] = await session.query<{ bytes: number }>(
      `select ${qualified(schema, "hypopg_relation_size")}($1::int8::oid)::int8 as bytes`,
      [oid],
    );
    return { before, after, bytes: size?.bytes ?? 0 };
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable") return undefined;
    throw error;
  } finally {
    if (oid !== undefined) {
      await session
        .query(`select ${qualified(schema, "hypopg_drop_index")}($1::int8::oid)`, [oid])
        .catch(() => {});
    }
  }
}

/** `("a", "b" DESC)`. */
export function bodyOf({ columns, descending }: Candidate): string {
  const keys = columns.map(({ name }, at) => `${identifier(name)}${descending[at] === true ? " DESC" : ""}`);
  return `(${keys.join(", ")})`;
}

/**
 * Size of a B-tree: an entry is 8 bytes of header and 4 of line pointer, its values aligned to 8, pages nine tenths
 * full (PostgreSQL, "B-Tree Indexes: Implementation"). Repeated values take less, which is not counted on.
 */
export function estimatedBytes({ columns }: Candidate, rows: number): number {
  const width = columns.reduce((sum, column) => sum + (column.width ?? 8), 0);
  return Math.round((rows * (12 + 8 * Math.ceil(width / 8))) / 0.9);
}
