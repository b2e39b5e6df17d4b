import type { Session } from "../ports/databases.ts";
import { literal, qualified } from "../postgres/identifiers.ts";

/**
 * What is to become of a partition that is being detached, kept as the comment on it: DETACH CONCURRENTLY and what
 * follows cannot be one transaction, and a run that is killed in between must leave word. It names object ids, so a
 * copy of the table in another database is nobody's to drop; only the table's owner can have written it.
 */
export interface Mark {
  parent: number;
  table: number;
  /** End of its range, as text of the key's type. */
  to: string;
  /** The comment that it takes the place of. */
  comment: string | null;
}

const sign = "pgkeep is detaching this partition by its retention: ";

export interface Marked {
  mark: Mark;
  schema: string;
  table: string;
  name: string;
  isAttached: boolean;
}

export function markStatement(name: string, mark: Mark): string {
  return `COMMENT ON TABLE ${name} IS ${literal(sign + JSON.stringify(mark)).trim()}`;
}

export function unmarkStatement(name: string, mark: Mark): string {
  return `COMMENT ON TABLE ${name} IS ${mark.comment === null ? "NULL" : literal(mark.comment).trim()}`;
}

export async function readComment(session: Session, oid: number): Promise<string | null> {
  const rows = await session.query<{ comment: string | null }>(
    "select obj_description($1::oid, 'pg_class') as comment",
    [oid],
  );
  const comment = rows[0]?.comment ?? null;
  return comment === null ? null : (parsed(comment)?.comment ?? (comment.startsWith(sign) ? null : comment));
}

/** Partitions of this table, and tables that were, with a mark of an earlier run. */
export async function readMarked(session: Session, parentOid: number): Promise<Marked[]> {
  const rows = await session.query<{
    oid: number;
    schema: string;
    table: string;
    isAttached: boolean;
    text: string;
  }>(
    `select c.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, d.description as text,
            exists (select from pg_inherits i where i.inhrelid = c.oid and i.inhparent = $2) as "isAttached"
       from pg_description d join pg_class c on c.oid = d.objoid join pg_namespace n on n.oid = c.relnamespace
      where d.classoid = 'pg_class'::regclass and d.objsubid = 0 and c.relkind = 'r' and starts_with(d.description, $1)
        and (not c.relispartition or exists (select from pg_inherits i where i.inhrelid = c.oid and i.inhparent = $2))
      order by c.oid`,
    [sign, parentOid],
  );
  return rows.flatMap(({ text, oid, ...row }) => {
    const mark = parsed(text);
    if (mark === undefined || mark.table !== oid || mark.parent !== parentOid) return [];
    return [{ ...row, mark, name: qualified(row.schema, row.table) }];
  });
}

function parsed(text: string): Mark | undefined {
  if (!text.startsWith(sign)) return undefined;
  try {
    const value = JSON.parse(text.slice(sign.length)) as Partial<Mark>;
    if (typeof value.parent !== "number" || typeof value.table !== "number" || typeof value.to !== "string")
      return undefined;
    return { parent: value.parent, table: value.table, to: value.to, comment: value.comment ?? null };
  } catch {
    return undefined;
  }
}
