/** A JSON list of the entries of `acl` that concern managed roles or PUBLIC, the owner's own left out. */
function entries(acl: string, type: string, owner: string): string {
  return `(select coalesce(json_agg(json_build_object(
      'grantee', coalesce(g.rolname, ''), 'privilege', x.privilege_type, 'grantable', x.is_grantable,
      'grantor', pg_get_userbyid(x.grantor), 'grantorUsable', pg_has_role(x.grantor, 'USAGE'))
      order by g.rolname, x.privilege_type, x.grantor), '[]'::json)
    from aclexplode(coalesce(${acl}, acldefault(${type}, ${owner}))) x
    left join managed g on g.oid = x.grantee
    where (x.grantee = 0 or g.oid is not null) and x.grantee <> ${owner})`;
}

const fromExtension = (catalog: string, oid: string) =>
  `exists (select from pg_depend d where d.classid = '${catalog}'::regclass and d.objid = ${oid} and d.deptype = 'e')`;

const list = (query: string) => `(select coalesce(json_agg(q), '[]'::json) from (${query}) q)`;

/**
 * The statement that describes a database as one JSON document (`ActualState`). Parameters: managed roles, owner
 * group, extensions, predefined roles that matter.
 */
export function stateQuery(version: number): string {
  // From 16 on a grant has its own options and CREATEROLE reaches only roles held with ADMIN OPTION.
  const options = version >= 160000;
  const administers = (role: string) =>
    options ? `pg_has_role(${role}, 'MEMBER WITH ADMIN OPTION')` : "me.rolcreaterole";
  const usable = (role: string) =>
    `pg_has_role(${role}, 'USAGE')${options ? ` and pg_has_role(${role}, 'SET')` : ""}`;
  return `
with me as (select * from pg_roles where rolname = current_user),
db as (select * from pg_database where datname = current_database()),
managed as materialized (select * from pg_roles where rolname = any ($1::text[])),
schemas as materialized (
  select n.* from pg_namespace n
  where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgkeep')
    and not ${fromExtension("pg_namespace", "n.oid")}),
own as (select * from pg_namespace where nspname = 'pgkeep'),
objects as materialized (
  select s.nspname, c.oid, c.relname, c.relowner, c.relkind,
    ${entries("c.relacl", "case c.relkind when 'S' then 's'::\"char\" else 'r' end", "c.relowner")}::text as acl
  from pg_class c join schemas s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't'
    and not ${fromExtension("pg_class", "c.oid")})
select json_build_object(
  'user', me.rolname,
  'databaseName', db.datname,
  'superuser', me.rolsuper,
  'createrole', me.rolsuper or me.rolcreaterole,
  'sharesAdministration', ${
    options
      ? "not me.rolsuper and exists (select from pg_roles r where r.rolname = 'rds_superuser' and pg_has_role(r.oid, 'MEMBER'))"
      : "false"
  },
  'ownsDatabase', pg_has_role(db.datdba, 'USAGE'),
  'databaseOwner', pg_get_userbyid(db.datdba),
  'mayCreateInDatabase', has_database_privilege(db.oid, 'CREATE'),
  'publicLogins', (select coalesce(json_agg(r.rolname order by r.rolname), '[]'::json) from pg_roles r
    where r.rolcanlogin and not r.rolsuper and r.rolname !~ '^(pg_|rds)' and not pg_has_role(r.oid, db.datdba, 'USAGE')
      and not exists (select from managed m where pg_has_role(r.oid, m.oid, 'USAGE'))
      and not exists (select from aclexplode(db.datacl) x
        where x.privilege_type = 'CONNECT' and x.grantee <> 0 and pg_has_role(r.oid, x.grantee, 'USAGE'))),
  'grantable', (select coalesce(json_agg(r.rolname), '[]'::json) from pg_roles r
    where r.rolname = any ($4::text[]) and (me.rolsuper or (me.rolcreaterole and ${administers("r.oid")}))),
  'roles', ${list(`select r.rolname as name, r.rolcanlogin as login, r.rolsuper as superuser,
      r.rolcreaterole as createrole, r.rolcreatedb as createdb, r.rolreplication as replication,
      r.rolbypassrls as bypassrls, r.rolinherit as inherit, r.rolconnlimit as "connectionLimit",
      shobj_description(r.oid, 'pg_authid') as comment,
      me.rolsuper or (me.rolcreaterole and not r.rolsuper and ${administers("r.oid")}) as administrable,
      me.rolsuper or (${usable("r.oid")}) as usable,
      exists (select from pg_auth_members a join pg_roles m on m.oid = a.member
        where a.roleid = r.oid and m.rolname = 'rds_superuser' and a.admin_option) as shared
    from managed r`)},
  'memberships', ${list(`select r.rolname as role, m.rolname as member, shobj_description(r.oid, 'pg_authid') as comment,
      a.admin_option as admin, ${options ? "a.inherit_option" : "m.rolinherit"} as inherits,
      pg_get_userbyid(a.grantor) as grantor,
      me.rolsuper or (${
        options
          ? `${administers("r.oid")} and pg_has_role(a.grantor, 'USAGE')`
          : "(me.rolcreaterole and not r.rolsuper) or pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')"
      }) as revocable
    from pg_auth_members a join pg_roles r on r.oid = a.roleid join managed m on m.oid = a.member
    order by 1, 2`)},
  'settings', ${list(`select r.rolname as role, s.setdatabase <> 0 as "inDatabase",
      split_part(x.entry, '=', 1) as name, substr(x.entry, strpos(x.entry, '=') + 1) as value
    from pg_db_role_setting s join managed r on r.oid = s.setrole, unnest(s.setconfig) x (entry)
    where s.setdatabase in (0, db.oid)`)},
  'database', ${entries("db.datacl", "'d'", "db.datdba")},
  'schemas', ${list(`select s.nspname as name, pg_get_userbyid(s.nspowner) as owner,
      pg_has_role(s.nspowner, 'USAGE') as "ownerUsable", ${entries("s.nspacl", "'n'", "s.nspowner")} as acl
    from schemas s order by 1`)},
  'objects', ${list(`select o.nspname as schema, case o.relkind when 'S' then 'sequence' else 'relation' end as kind,
      pg_get_userbyid(o.relowner) as owner, pg_has_role(o.relowner, 'USAGE') as "ownerUsable",
      json_agg(o.relname order by o.relname) as names, o.acl::json as acl
    from objects o group by 1, 2, o.relowner, o.acl order by 1, 2`)},
  'columns', ${list(`select o.oid::regclass::text as table, a.attname as column,
      pg_get_userbyid(o.relowner) as owner, pg_has_role(o.relowner, 'USAGE') as "ownerUsable",
      ${entries("a.attacl", "'c'", "o.relowner")} as acl
    from pg_attribute a join objects o on o.oid = a.attrelid
    where a.attacl is not null and not a.attisdropped order by 1, a.attnum`)},
  'misowned', ${list(`
    select 'TABLE' as keyword, o.oid::regclass::text as reference, pg_get_userbyid(o.relowner) as owner,
      pg_has_role(o.relowner, 'USAGE') as "ownerUsable"
    from objects o where pg_get_userbyid(o.relowner) <> $2::text
      and not (o.relkind = 'S' and exists (select from pg_depend d where d.classid = 'pg_class'::regclass
        and d.objid = o.oid and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')))
    union all
    select 'ROUTINE', format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
      pg_get_userbyid(p.proowner), pg_has_role(p.proowner, 'USAGE')
    from pg_proc p join schemas s on s.oid = p.pronamespace
    where pg_get_userbyid(p.proowner) <> $2::text and not ${fromExtension("pg_proc", "p.oid")}
    union all
    select 'TYPE', t.oid::regtype::text, pg_get_userbyid(t.typowner), pg_has_role(t.typowner, 'USAGE')
    from pg_type t join schemas s on s.oid = t.typnamespace
    where pg_get_userbyid(t.typowner) <> $2::text and not ${fromExtension("pg_type", "t.oid")}
      and (t.typtype in ('d', 'e', 'r') or t.typtype = 'c' and
        exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
    order by 1, 2`)},
  'defaults', ${list(`select r.rolname as role, n.nspname as schema, d.defaclobjtype as type,
      ${entries("d.defaclacl", "'r'", "d.defaclrole")} as acl
    from pg_default_acl d join pg_roles r on r.oid = d.defaclrole
      left join pg_namespace n on n.oid = d.defaclnamespace
    where d.defaclobjtype in ('r', 'S', 'n') and r.rolname in ($2::text, current_user)`)},
  'extensions', ${list(`select v.name, e.oid is not null as installed, n.nspname as schema,
      me.rolsuper or not v.superuser or v.trusted
        or v.name = any (regexp_split_to_array(coalesce(current_setting('rds.extensions', true), ''), '\\s*,\\s*'))
        as creatable
    from pg_available_extensions a
      join pg_available_extension_versions v on v.name = a.name and v.version = a.default_version
      left join pg_extension e on e.extname = a.name left join pg_namespace n on n.oid = e.extnamespace
    where a.name = any ($3::text[]) order by 1`)},
  'uncheckedFunctions', ${list(`select p.oid::regprocedure::text as reference,
      has_function_privilege(p.oid, 'EXECUTE WITH GRANT OPTION') as grantable
    from pg_extension e join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
        and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
      join pg_proc p on p.oid = d.objid left join managed o on o.rolname = 'pgkeep'
    where e.extname = 'amcheck' and p.proname in ('verify_heapam', 'bt_index_check', 'gin_index_check')
      and (o.oid is null or not has_function_privilege(o.oid, p.oid, 'EXECUTE')) order by 1`)},
  'ownSchema', (select json_build_object('owner', pg_get_userbyid(o.nspowner),
      'ownerUsable', pg_has_role(o.nspowner, 'USAGE'), 'acl', ${entries("o.nspacl", "'n'", "o.nspowner")}) from own o),
  'ownTables', ${list(`select c.relname as name, ${entries("c.relacl", "'r'", "c.relowner")} as acl
    from pg_class c join own on own.oid = c.relnamespace where c.relkind = 'r'
      and not ${fromExtension("pg_class", "c.oid")} order by 1`)},
  'ownFunctions', ${list(`select p.proname || '(' || oidvectortypes(p.proargtypes) || ')' as signature,
      ${entries("p.proacl", "'f'", "p.proowner")} as acl
    from pg_proc p join own on own.oid = p.pronamespace
    where not ${fromExtension("pg_proc", "p.oid")} order by 1`)}
) as state
from me, db`;
}
