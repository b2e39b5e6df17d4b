import type { Session } from "../ports/databases.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import { type Column, type TableName, type TableShape, typeText } from "./shape.ts";

/** How the rows of then are put on the server of now. */
export interface Making {
  /** Columns whose values are copied. */
  columns: Column[];
  /** Statements before the rows and after them. */
  before: string[];
  after: string[];
  /** What the table had then and the restored one has not, each as a sentence or as SQL. */
  leftOut: string[];
}

/** Made like the table of now, with its defaults, checks and indexes under names of their own. */
export function likeOriginal(now: TableShape, made: TableName): Making {
  return {
    columns: now.columns.filter(({ generated }) => !generated),
    before: [
      `create table ${qualified(made.schema, made.name)} (like ${qualified(now.schema, now.name)} including all)`,
    ],
    after: [],
    leftOut: [],
  };
}

/** The columns of then with all their values, generated ones as plain ones, and nothing that could refuse a row. */
export function bareColumns(then: TableShape, made: TableName): Making {
  const columns = then.columns.map((column) => `${identifier(column.name)} ${typeText(column)}`);
  return {
    columns: then.columns,
    before: [`create table ${qualified(made.schema, made.name)} (${columns.join(", ")})`],
    after: [],
    leftOut: ["defaults, checks, keys and indexes"],
  };
}

interface Parts {
  constraints: { name: string; definition: string; kind: string }[];
  indexes: string[];
  sequences: {
    schema: string;
    name: string;
    column: string;
    type: string;
    start: string;
    increment: string;
    minimum: string;
    maximum: string;
    cache: string;
    cycle: boolean;
    last: string | null;
    identity: boolean;
  }[];
  incoming: string[];
  triggers: string[];
  owner: string;
  granted: boolean;
  secured: boolean;
}

/**
 * A table that is gone comes back as it was then: columns, defaults, identity, its own sequences, keys, checks
 * and indexes. Foreign keys and triggers are given as SQL in `leftOut`, because what they depend on may be gone
 * or may not hold any more.
 * @param restored a session on the server of then
 */
export async function asItWas(restored: Session, then: TableShape): Promise<Making> {
  const parts = await readParts(restored, then);
  const table = qualified(then.schema, then.name);
  const own = parts.sequences.filter(({ identity }) => !identity);
  const sequenceText = (sequence: Parts["sequences"][number]) =>
    `increment by ${sequence.increment} minvalue ${sequence.minimum} maxvalue ${sequence.maximum} start with ${sequence.start} cache ${sequence.cache}${sequence.cycle ? " cycle" : ""}`;
  const columns = then.columns.map((column) => {
    const sequence = parts.sequences.find((each) => each.identity && each.column === column.name);
    const words = [identifier(column.name), typeText(column)];
    if (column.identity !== null)
      words.push(
        `generated ${column.identity} as identity${sequence === undefined ? "" : ` (${sequenceText(sequence)})`}`,
      );
    else if (column.generated)
      words.push(`generated always as (${column.expression}) ${column.virtual ? "virtual" : "stored"}`);
    else if (column.expression !== null) words.push(`default ${column.expression}`);
    if (column.notNull) words.push("not null");
    return words.join(" ");
  });
  const foreign = parts.constraints.filter(({ kind }) => kind === "f");
  return {
    columns: then.columns.filter(({ generated }) => !generated),
    before: [
      ...own.map(
        (sequence) =>
          `create sequence ${qualified(sequence.schema, sequence.name)} as ${sequence.type} ${sequenceText(sequence)}`,
      ),
      `create table ${table} (${columns.join(", ")})`,
      ...own.map(
        ({ schema, name, column }) =>
          `alter sequence ${qualified(schema, name)} owned by ${table}.${identifier(column)}`,
      ),
    ],
    after: [
      ...parts.constraints
        .filter(({ kind }) => kind !== "f")
        .map(
          ({ name, definition }) => `alter table ${table} add constraint ${identifier(name)} ${definition}`,
        ),
      ...parts.indexes,
      // Numbers that were given out then are not given out again.
      ...parts.sequences
        .filter(({ last }) => last !== null)
        .map(
          ({ column, last }) =>
            `select setval(pg_get_serial_sequence(${literal(table)}, ${literal(column)}), ${last}, true)`,
        ),
    ],
    leftOut: [
      ...(parts.owner === "" ? [] : [`alter table ${table} owner to ${identifier(parts.owner)}`]),
      ...foreign.map(
        ({ name, definition }) => `alter table ${table} add constraint ${identifier(name)} ${definition}`,
      ),
      ...parts.incoming,
      ...parts.triggers,
      ...(then.partitioned ? ["it was partitioned; all its rows are in one table now"] : []),
      ...(then.partitionOf === null ? [] : [`it was a partition of ${then.partitionOf}`]),
      ...(parts.granted ? ["rights of other roles on it"] : []),
      ...(parts.secured ? ["its row security and policies"] : []),
    ],
  };
}

async function readParts(session: Session, then: TableShape): Promise<Parts> {
  const [row] = await session.query<Parts>(
    `select
       (select coalesce(json_agg(json_build_object('name', conname, 'kind', contype, 'definition', pg_get_constraintdef(oid))
                                 order by contype, conname), '[]')
        from pg_constraint where conrelid = t.oid and contype in ('c', 'p', 'u', 'x', 'f')) as constraints,
       array(select pg_get_indexdef(x.indexrelid) from pg_index x where x.indrelid = t.oid
             and not exists (select from pg_constraint k where k.conindid = x.indexrelid and k.conrelid = t.oid)
             order by 1) as indexes,
       (select coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'column', a.attname,
           'type', format_type(s.seqtypid, null), 'start', s.seqstart::text, 'increment', s.seqincrement::text,
           'minimum', s.seqmin::text, 'maximum', s.seqmax::text, 'cache', s.seqcache::text, 'cycle', s.seqcycle,
           'last', pg_sequence_last_value(c.oid)::text, 'identity', d.deptype = 'i') order by a.attnum), '[]')
        from pg_depend d join pg_class c on c.oid = d.objid and c.relkind = 'S'
        join pg_sequence s on s.seqrelid = c.oid join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
          and d.refobjid = t.oid and d.deptype in ('a', 'i')) as sequences,
       array(select format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
             from pg_constraint where contype = 'f' and confrelid = t.oid and conrelid <> t.oid and conparentid = 0
             order by 1) as incoming,
       array(select pg_get_triggerdef(oid) from pg_trigger where tgrelid = t.oid and not tgisinternal
             order by tgname) as triggers,
       case when t.relowner = (select oid from pg_roles where rolname = current_user) then ''
            else pg_get_userbyid(t.relowner)::text end as owner,
       exists (select from aclexplode(t.relacl) where grantee <> t.relowner) as granted,
       t.relrowsecurity as secured
     from pg_class t where t.oid = $1::bigint::oid`,
    [then.oid],
  );
  return row as Parts;
}
