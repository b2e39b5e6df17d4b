import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { countText } from "../words.ts";
import type { DumpedTable, Manifest, Selection } from "./manifest.ts";

export type DatabaseFacts = Pick<
  Manifest,
  "encoding" | "collation" | "characterType" | "localeProvider" | "locale" | "roles" | "systemIdentifier"
>;

/** What a new database needs to hold the same data, and which roles the dump speaks of. */
export async function readDatabaseFacts(session: Session): Promise<DatabaseFacts> {
  const version = session.serverVersionNumber;
  const provider = version >= 150_000 ? "datlocprovider::text" : "'c'";
  const locale = version >= 170_000 ? "datlocale" : version >= 150_000 ? "daticulocale" : "null::text";
  const [row] = await session.query<{
    encoding: string;
    collation: string;
    character_type: string;
    provider: string;
    locale: string | null;
    roles: string[];
  }>(
    `select pg_encoding_to_char(encoding) as encoding, datcollate as collation, datctype as character_type,
            ${provider} as provider, ${locale} as locale,
            array(select distinct r.rolname::text from pg_shdepend d join pg_roles r on r.oid = d.refobjid
                  where d.refclassid = 'pg_authid'::regclass
                    and d.dbid in (pg_database.oid) and r.oid >= 16384 order by 1) as roles
     from pg_database where datname = current_database()`,
  );
  if (row === undefined) throw new PgkeepError("internal", "the database is not in pg_database");
  const systemIdentifier = await readSystemIdentifier(session);
  return {
    encoding: row.encoding,
    collation: row.collation,
    characterType: row.character_type,
    localeProvider: row.provider === "i" ? "icu" : row.provider === "b" ? "builtin" : "libc",
    locale: row.locale,
    roles: row.roles,
    ...(systemIdentifier === undefined ? {} : { systemIdentifier }),
  };
}

async function readSystemIdentifier(session: Session): Promise<string | undefined> {
  const [allowed] = await session.query<{ may: boolean }>(
    "select has_function_privilege('pg_control_system()', 'execute') as may",
  );
  if (allowed?.may !== true) return undefined;
  try {
    const [row] = await session.query<{ id: string }>(
      "select system_identifier::text as id from pg_control_system()",
    );
    return row?.id;
  } catch (error) {
    if (hasSqlState(error, SqlState.insufficientPrivilege)) return undefined;
    throw error;
  }
}

interface RelationRow {
  oid: number;
  schema: string;
  name: string;
  kind: string;
  rows: number;
  bytes: number;
  readable: boolean;
  usable: boolean;
  filtered: boolean;
  parts: number[];
  sequences: { schema: string; name: string }[];
}

const kinds: Record<string, DumpedTable["kind"]> = {
  r: "table",
  p: "partitioned",
  v: "view",
  m: "matview",
  S: "sequence",
  f: "foreign",
};

/**
 * Relations that pg_dump will take, in the snapshot of the session's transaction.
 * @throws PgkeepError `insufficient-privilege` naming those that the role may not read: pg_dump would stop at
 * the first of them; `not-found` for a selected schema or table that does not exist
 */
export async function readTables(session: Session, selection: Selection): Promise<DumpedTable[]> {
  await requireSelected(session, selection);
  const oldNames = (list: readonly { schema: string; name: string }[]) => [
    list.map(({ schema }) => schema),
    list.map(({ name }) => name),
  ];
  const rows = await session.query<RelationRow>(
    `select c.oid::bigint as oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
            c.reltuples::float8 as rows, c.relpages * current_setting('block_size')::float8 as bytes,
            has_schema_privilege(n.oid, 'usage') as usable,
            case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'select')
                 else has_table_privilege(c.oid, 'select') end as readable,
            c.relrowsecurity and row_security_active(c.oid) as filtered,
            array(select oid::bigint from (
              select indexrelid as oid from pg_index where indrelid = c.oid
              union all select oid from pg_constraint where conrelid = c.oid
              union all select oid from pg_attrdef where adrelid = c.oid
              union all select oid from pg_trigger where tgrelid = c.oid and not tgisinternal
              union all select oid from pg_rewrite where ev_class = c.oid and rulename <> '_RETURN'
              union all select oid from pg_policy where polrelid = c.oid
              union all select oid from pg_statistic_ext where stxrelid = c.oid) part order by oid) as parts,
            coalesce((select json_agg(json_build_object('schema', sn.nspname, 'name', s.relname) order by s.oid)
              from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
              join pg_namespace sn on sn.oid = s.relnamespace
              where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
                and d.refobjid = c.oid and d.deptype in ('a', 'i')), '[]') as sequences
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relpersistence <> 't'
       and n.nspname !~ '^pg_(toast|temp)' and n.nspname not in ('pg_catalog', 'information_schema')
       and (cardinality($1::text[]) = 0 or n.nspname::text = any ($1))
       and (cardinality($2::text[]) = 0 or (n.nspname::text, c.relname::text) in (select * from unnest($2::text[], $3::text[])))
       and not n.nspname::text = any ($4)
       and (n.nspname::text, c.relname::text) not in (select * from unnest($5::text[], $6::text[]))
       and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid
                       and e.deptype = 'e')
     order by n.nspname, c.relname`,
    [
      selection.schemas,
      ...oldNames(selection.tables),
      selection.excludedSchemas,
      ...oldNames(selection.excludedTables),
    ],
  );
  requireReadable(rows, session.user, selection);
  return rows.map(({ oid, schema, name, kind, rows, bytes, parts, sequences }) => ({
    oid,
    schema,
    name,
    kind: kinds[kind] as DumpedTable["kind"],
    estimatedRows: rows,
    estimatedBytes: bytes,
    parts: parts.map(Number),
    sequences,
  }));
}

async function requireSelected(session: Session, selection: Selection): Promise<void> {
  const missing = await session.query<{ name: string }>(
    `select s as name from unnest($1::text[]) s
       where not exists (select from pg_namespace where nspname::text = s)
     union all
     select s || '.' || t from unnest($2::text[], $3::text[]) wanted(s, t)
       where not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         where n.nspname::text = s and c.relname::text = t
                           and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f'))`,
    [
      [...selection.schemas, ...selection.excludedSchemas],
      [...selection.tables, ...selection.excludedTables].map(({ schema }) => schema),
      [...selection.tables, ...selection.excludedTables].map(({ name }) => name),
    ],
  );
  if (missing.length === 0) return;
  throw new PgkeepError(
    "not-found",
    `${session.database} has no ${missing.map(({ name }) => name).join(", ")}`,
    { remedy: 'names are as in SQL: public.orders or "Sales"."Order Lines"' },
  );
}

function requireReadable(rows: readonly RelationRow[], user: string, { content }: Selection): void {
  const shown = (list: readonly RelationRow[]) =>
    `${list
      .slice(0, 5)
      .map(({ schema, name }) => `${schema}.${name}`)
      .join(", ")}${list.length > 5 ? ` and ${list.length - 5} more` : ""}`;
  // pg_dump locks tables and reads sequences whatever it is to dump; views and the like it only describes.
  const denied = rows.filter(
    ({ kind, readable, usable }) => ["r", "p", "S"].includes(kind) && !(readable && usable),
  );
  if (denied.length > 0) {
    throw new PgkeepError(
      "insufficient-privilege",
      `${user} may not read ${countText(denied.length, "relation")}: ${shown(denied)}`,
      {
        remedy: `grant pg_read_all_data to the role, or grant it SELECT (and USAGE on the schema), or leave them out with --exclude-table or --exclude-schema`,
      },
    );
  }
  if (content === "schema") return;
  const filtered = rows.filter(({ filtered }) => filtered);
  if (filtered.length === 0) return;
  throw new PgkeepError(
    "insufficient-privilege",
    `row security would hide rows of ${shown(filtered)} from ${user}: the dump would not be complete`,
    {
      remedy: "dump as the tables' owner or as a role with BYPASSRLS, or leave them out with --exclude-table",
    },
  );
}
