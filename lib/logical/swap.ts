import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import { SqlState } from "../postgres/sqlstate.ts";

export interface SwapRequest {
  schema: string;
  /** The table whose place is taken. */
  original: string;
  /** The table that `restoreTable` made beside it. */
  restored: string;
  /** The original's name afterwards; it stays until somebody drops it. */
  keepAs: string;
  /** How long to wait for the locks; other sessions queue behind us for no longer. */
  lockTimeoutSeconds: number;
  dryRun: boolean;
}

export interface Swapped {
  schema: string;
  name: string;
  keptAs: string;
  /** What was, or with `dryRun` would be, done, as SQL. */
  statements: string[];
  dryRun: boolean;
}

/**
 * Puts the restored table in the original's place, in one transaction: names, owner, rights, storage settings,
 * owned sequences, triggers, and foreign keys from and to it, which are checked against the rows. The original
 * keeps its rows under another name.
 * @throws PgkeepError `refused` naming what depends on the original in a way that a new table cannot take over;
 * `timeout` when the locks do not come
 */
export async function swapTables(session: Session, request: SwapRequest): Promise<Swapped> {
  const { schema, original, restored, keepAs, dryRun } = request;
  const run = async () => {
    await session.query(`set local lock_timeout = ${Math.round(request.lockTimeoutSeconds * 1000)}`);
    if (!dryRun) {
      for (const name of [original, restored]) {
        await session.query(`lock table ${qualified(schema, name)} in access exclusive mode`);
      }
    }
    // Under the lock: what was true before might no longer be.
    const obstacles = await findObstacles(session, request);
    if (obstacles.length > 0) {
      throw new PgkeepError("refused", `${schema}.${original} cannot be swapped: ${obstacles.join("; ")}`, {
        remedy: `copy the rows back instead: insert into ${qualified(schema, original)} select … from ${qualified(schema, restored)}`,
      });
    }
    const statements = await planSwap(session, request);
    if (!dryRun) for (const statement of statements) await session.query(statement);
    return statements;
  };
  try {
    const statements = await session.transaction(run, { readOnly: dryRun });
    return { schema, name: original, keptAs: keepAs, statements, dryRun };
  } catch (error) {
    if (hasSqlState(error, SqlState.lockNotAvailable)) {
      throw new PgkeepError(
        "timeout",
        `the lock on ${schema}.${original} did not come within ${request.lockTimeoutSeconds} s; nothing was changed`,
        {
          remedy: "try again when it is less in use, or raise --lock-wait",
          cause: error,
        },
      );
    }
    if (hasSqlState(error, SqlState.foreignKeyViolation)) {
      throw new PgkeepError(
        "refused",
        `a foreign key does not hold with the rows of the backup; nothing was changed: ${error.message}`,
        {
          remedy: "copy the rows that fit back instead of swapping",
          cause: error,
        },
      );
    }
    throw error;
  }
}

const oidOf = (schema: string, name: string) =>
  `(select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = ${literal(schema)} and c.relname = ${literal(name)})`;

/** What hangs on the original by its identity, so that a table with its name would not get it. */
async function findObstacles(session: Session, request: SwapRequest): Promise<string[]> {
  const { schema, original, restored, keepAs } = request;
  const rows = await session.query<{ text: string }>(
    `with o as (select c.* from pg_class c where c.oid = ${oidOf(schema, original)})
     select 'there is no such table' as text where not exists (select from o)
     union all select 'there is no ' || $1 where ${oidOf(schema, restored)} is null
     union all select $2 || ' exists already' where ${oidOf(schema, keepAs)} is not null
     union all select 'it is no ordinary table' from o where relkind <> 'r'
     union all select 'it is a partition or has partitions or children' from o
       where relispartition or exists (select from pg_inherits where inhrelid = o.oid or inhparent = o.oid)
     union all select distinct 'the ' || case r.relkind when 'm' then 'materialized view ' else 'view ' end || r.oid::regclass || ' reads it'
       from o join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.oid and d.classid = 'pg_rewrite'::regclass
       join pg_rewrite w on w.oid = d.objid join pg_class r on r.oid = w.ev_class where r.oid <> o.oid
     union all select 'it has rules' from o where exists (select from pg_rewrite where ev_class = o.oid)
     union all select distinct 'the function ' || d.objid::regprocedure || ' depends on it' from o
       join pg_depend d on d.refobjid in (o.oid, o.reltype) and d.classid = 'pg_proc'::regclass
     union all select distinct 'a column of ' || a.attrelid::regclass || ' has its row type' from o
       join pg_type t on t.oid = o.reltype join pg_attribute a on a.atttypid in (t.oid, t.typarray)
     union all select 'it has row security' from o
       where relrowsecurity or exists (select from pg_policy where polrelid = o.oid)
     union all select 'it belongs to a publication' from o where exists (select from pg_publication_rel where prrelid = o.oid)
     union all select 'it is its own replica identity' from o where relreplident not in ('d', 'n', 'f')
     union all select 'columns of it have rights of their own' from o
       where exists (select from pg_attribute where attrelid = o.oid and attacl is not null)
     union all select 'the trigger ' || tgname || ' is not simply enabled' from o
       join pg_trigger on tgrelid = o.oid where not tgisinternal and tgenabled <> 'O'
     union all select 'the foreign key ' || conname || ' is not validated' from o
       join pg_constraint on o.oid in (conrelid, confrelid) and contype = 'f' where not convalidated`,
    [`${schema}.${restored}`, `${schema}.${keepAs}`],
  );
  return rows.map(({ text }) => text);
}

async function planSwap(session: Session, request: SwapRequest): Promise<string[]> {
  const { schema, original, restored, keepAs } = request;
  const [kept, taking] = [qualified(schema, keepAs), qualified(schema, original)];
  const texts = async (sql: string) => (await session.query<{ text: string }>(sql)).map(({ text }) => text);
  const o = oidOf(schema, original);
  const r = oidOf(schema, restored);
  // Read before the renames: these texts name tables by the names they have now, which the new table takes over.
  const [incoming, outgoing, triggers] = [
    await session.query<{ table: string; name: string; definition: string }>(
      `select conrelid::regclass::text as table, conname::text as name, pg_get_constraintdef(oid) as definition
       from pg_constraint where contype = 'f' and confrelid = ${o} and conrelid <> ${o} and conparentid = 0 order by 1, 2`,
    ),
    await session.query<{ name: string; definition: string }>(
      `select conname::text as name, pg_get_constraintdef(oid) as definition
       from pg_constraint where contype = 'f' and conrelid = ${o} order by 1`,
    ),
    await texts(
      `select pg_get_triggerdef(oid) as text from pg_trigger where tgrelid = ${o} and not tgisinternal order by tgname`,
    ),
  ];
  const [facts] = await session.query<{ owner: string; options: string[] | null; grants: string[] }>(
    `select pg_get_userbyid(relowner)::text as owner, reloptions as options,
            array(select format('grant %s on ${taking.replaceAll("%", "%%").replaceAll("'", "''")} to %s%s', privilege_type,
                    case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
                    case when is_grantable then ' with grant option' else '' end)
                  from aclexplode(relacl) where grantee <> relowner order by 1) as grants
     from pg_class where oid = ${o}`,
  );
  const sequences = await session.query<{ sequence: string; column: string }>(
    `select d.objid::regclass::text as sequence, a.attname::text as column
     from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
     join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
     where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = ${o} and d.deptype = 'a'`,
  );
  const identities = await session.query<{ column: string }>(
    `select attname::text as column from pg_attribute where attrelid = ${o} and attidentity <> '' and not attisdropped`,
  );
  return [
    ...incoming.map(({ table, name }) => `alter table ${table} drop constraint ${identifier(name)}`),
    `alter table ${taking} rename to ${identifier(keepAs)}`,
    `alter table ${qualified(schema, restored)} rename to ${identifier(original)}`,
    ...(await indexRenames(session, schema, o, r, keepAs)),
    `alter table ${taking} owner to ${identifier(facts?.owner ?? "")}`,
    ...(facts?.grants ?? []),
    ...(facts?.options == null
      ? []
      : [`alter table ${taking} set (${facts.options.map(storageOption).join(", ")})`]),
    ...sequences.map(
      ({ sequence, column }) => `alter sequence ${sequence} owned by ${taking}.${identifier(column)}`,
    ),
    // Numbers that were given out since the backup are not given out again.
    ...identities.map(
      ({ column }) =>
        `select setval(pg_get_serial_sequence(${literal(taking)}, ${literal(column)}), greatest(nextval(pg_get_serial_sequence(${literal(kept)}, ${literal(column)})), coalesce((select max(${identifier(column)}) from ${taking}), 1)), true)`,
    ),
    ...outgoing.map(
      ({ name, definition }) => `alter table ${taking} add constraint ${identifier(name)} ${definition}`,
    ),
    ...incoming.map(
      ({ table, name, definition }) =>
        `alter table ${table} add constraint ${identifier(name)} ${definition}`,
    ),
    ...triggers,
  ];
}

/** `fillfactor=70` → `fillfactor='70'`. */
function storageOption(option: string): string {
  const at = option.indexOf("=");
  const [key, value] = [option.slice(0, at), option.slice(at + 1)];
  return `${key.split(".").map(identifier).join(".")}=${literal(value)}`;
}

/** Indexes, and so the constraints on them, take their old names where each has one counterpart by definition. */
async function indexRenames(
  session: Session,
  schema: string,
  original: string,
  restored: string,
  keepAs: string,
): Promise<string[]> {
  const shape = `md5(concat(x.indisunique, x.indisprimary, x.indisexclusion,
      array(select pg_get_indexdef(x.indexrelid, k, false) from generate_series(1, x.indnatts) k)::text,
      x.indoption::text, x.indclass::text, x.indcollation::text, pg_get_expr(x.indpred, x.indrelid), c.relam, c.reloptions::text))`;
  const rows = await session.query<{ old: string; made: string }>(
    `with old as (select ${shape} as shape, c.relname::text as name from pg_index x join pg_class c on c.oid = x.indexrelid where x.indrelid = ${original}),
          made as (select ${shape} as shape, c.relname::text as name from pg_index x join pg_class c on c.oid = x.indexrelid where x.indrelid = ${restored})
     select min(old.name) as old, min(made.name) as made from old join made using (shape)
     group by shape having count(*) = 1 order by 1`,
  );
  const suffix = keepAs.slice(-20).replaceAll(/[^a-zA-Z0-9_]/g, "_");
  return rows.flatMap(({ old, made }, index) => [
    `alter index ${qualified(schema, old)} rename to ${identifier(`${cut(old, 35)}_${index}_${suffix}`)}`,
    `alter index ${qualified(schema, made)} rename to ${identifier(old)}`,
  ]);
}

/** At most so many bytes of a name, without half a letter. */
function cut(name: string, bytes: number): string {
  let text = name;
  while (Buffer.byteLength(text) > bytes) text = [...text].slice(0, -1).join("");
  return text;
}
