-- What the job check-integrity needs. Its functions count rows and name some of them by their primary key; other
-- columns are never shown. They run as "pgkeep", like those of 002, with the same errors.
--
--   pgkeep.check_heap_blocks(relation regclass, first_block bigint, last_block bigint) → as check_heap
--       A part of a table, so that the largest one is read in several runs. ACCESS SHARE.
--   pgkeep.constraint_violations(constraint_oid oid, at_most integer) → (violations bigint, keys jsonb)
--       Rows that a foreign key, a check or (18) a not-null constraint does not allow.
--   pgkeep.reference_orphans(child regclass, child_column smallint, parent regclass, at_most integer)
--           → (referring bigint, violations bigint, keys jsonb)
--       Rows whose column is not null and not a primary key of `parent`. Both have the same built-in type.
--   pgkeep.values_outside_enum(relation regclass, column_number smallint, enumeration regtype, at_most integer)
--           → (referring bigint, violations bigint, keys jsonb)
--       Rows whose text is not a label of the enum.
--   keys: the primary keys of `at_most` of them, as objects of texts; ctid (and tableoid) where there is no key.

create table pgkeep.integrity_look (
  item text primary key,
  object_name text not null,
  attempted_at timestamptz not null,
  checked_at timestamptz,
  pass_began_at timestamptz,
  next_block bigint,
  too_long_seconds double precision,
  corrupt boolean not null default false,
  problems jsonb
);
comment on table pgkeep.integrity_look is 'When check-integrity last looked at each object, how far it is with it, and what it found';

-- The FROM and WHERE of the rows that violate a foreign key; the referencing table is f.
create function pgkeep.orphan_source(constraint_oid oid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $function$
declare
  fk record;
  joined text;
  all_set text;
  any_set text;
begin
  select c.*, coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) as temporal into fk
  from pg_constraint c where c.oid = constraint_oid and c.contype = 'f';
  if not found then
    raise undefined_object using message = format('there is no foreign key with oid %s', constraint_oid);
  end if;
  if fk.temporal then
    raise feature_not_supported using
      message = format('foreign key %I of %s: pgkeep cannot compare periods', fk.conname, fk.conrelid::regclass);
  end if;
  -- The key's own operators, types and collations, as the server's check of a new foreign key does it
  -- (ri_GenerateQual in ri_triggers.c).
  select string_agg(
           format('%s operator(%I.%s) %s%s',
             case when o.oprleft <> pa.atttypid and lt.typtype <> 'p'
               then format('p.%I::%s', pa.attname, format_type(o.oprleft, null)) else format('p.%I', pa.attname) end,
             n.nspname, o.oprname,
             case when o.oprright <> fa.atttypid and rt.typtype <> 'p'
               then format('f.%I::%s', fa.attname, format_type(o.oprright, null)) else format('f.%I', fa.attname) end,
             case when pa.attcollation <> fa.attcollation and pa.attcollation <> 0
               then (select format(' collate %I.%I', cn.nspname, co.collname)
                     from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
                     where co.oid = pa.attcollation) else '' end), ' and '),
         string_agg(format('f.%I is not null', fa.attname), ' and '),
         string_agg(format('f.%I is not null', fa.attname), ' or ')
  into joined, all_set, any_set
  from unnest(fk.conkey, fk.confkey, fk.conpfeqop) as k (referencing, referenced, operator)
  join pg_attribute fa on fa.attrelid = fk.conrelid and fa.attnum = k.referencing
  join pg_attribute pa on pa.attrelid = fk.confrelid and pa.attnum = k.referenced
  join pg_operator o on o.oid = k.operator
  join pg_namespace n on n.oid = o.oprnamespace
  join pg_type lt on lt.oid = o.oprleft
  join pg_type rt on rt.oid = o.oprright;
  -- MATCH SIMPLE: a null in any column exempts the row. MATCH FULL: all null, or all there and found.
  return format(
    'from %s f where (%s) and not (%s and exists (select from %s p where %s))',
    pgkeep.scan_source(fk.conrelid),
    case fk.confmatchtype when 'f' then any_set else all_set end,
    all_set,
    pgkeep.scan_source(fk.confrelid),
    joined);
end
$function$;

create or replace function pgkeep.validate_foreign_key(constraint_oid oid) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  orphans bigint;
begin
  execute 'select count(*) ' || pgkeep.orphan_source(constraint_oid) into orphans;
  return orphans;
end
$function$;

create function pgkeep.check_heap_blocks(relation regclass, first_block bigint, last_block bigint)
returns table (block bigint, item integer, attribute integer, problem text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
  kind "char";
  pages bigint;
begin
  select c.relkind into kind from pg_class c where c.oid = relation;
  if kind is null then
    raise undefined_table using message = format('relation %s does not exist', coalesce(relation::text, 'null'));
  end if;
  if kind not in ('r', 'm', 't') then
    raise wrong_object_type using message = format('%s stores no rows of its own', relation);
  end if;
  begin
    -- It may have shrunk; a block beyond the end is an error of verify_heapam.
    pages := pg_relation_size(relation) / current_setting('block_size')::bigint;
    if first_block >= pages then
      return;
    end if;
    return query execute format(
      'select v.blkno, v.offnum::integer, v.attnum::integer, v.msg
       from %s.verify_heapam(relation => $1, check_toast => true, startblock => $2, endblock => $3) v',
      pgkeep.amcheck_schema('verify_heapam')) using relation, first_block, least(last_block, pages - 1);
  exception when data_corrupted or index_corrupted or internal_error or io_error or undefined_file then
    return query select null::bigint, null::integer, null::integer, sqlerrm;
  end;
end
$function$;

-- An expression that names a row by its primary key. Values go through their type's output function only, since a
-- cast may belong to anybody; so does format().
create function pgkeep.row_key(relation regclass, prefix text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $function$
  select coalesce(
    (select 'jsonb_build_object(' || string_agg(
              format('%L, left(format(''%%s'', %s%I), 100)', a.attname, prefix, a.attname), ', ' order by a.attnum) || ')'
     from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
     where i.indrelid = relation and i.indisprimary),
    (select format('jsonb_build_object(''ctid'', format(''%%s'', %sctid)%s)', prefix,
              case c.relkind when 'p' then format(', ''tableoid'', format(''%%s'', %stableoid)', prefix) else '' end)
     from pg_class c where c.oid = relation))
$function$;

create function pgkeep.constraint_violations(constraint_oid oid, at_most integer)
returns table (violations bigint, keys jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  con record;
  source text;
  prefix text := '';
  foreign_code text;
begin
  select c.* into con from pg_constraint c
  where c.oid = constraint_oid and c.conrelid <> 0 and c.contype in ('f', 'c', 'n');
  if not found then
    raise undefined_object using
      message = format('there is no foreign key, check or not-null constraint with oid %s', constraint_oid);
  end if;
  if con.contype = 'f' then
    source := pgkeep.orphan_source(constraint_oid);
    prefix := 'f.';
  elsif con.contype = 'n' then
    select format('from %s where %I is null', pgkeep.scan_source(con.conrelid), a.attname) into source
    from pg_attribute a where a.attrelid = con.conrelid and a.attnum = con.conkey[1];
  else
    -- Whoever owns the code in the expression would run it with the rights of "pgkeep".
    select pg_describe_object(d.refclassid, d.refobjid, 0) into foreign_code
    from pg_depend d
    left join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
    left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
    left join pg_type t on d.refclassid = 'pg_type'::regclass and t.oid = d.refobjid and t.typtype = 'd'
    join pg_roles r on r.oid = coalesce(p.proowner, o.oprowner, t.typowner)
    where d.classid = 'pg_constraint'::regclass and d.objid = constraint_oid and not r.rolsuper
    limit 1;
    if foreign_code is not null then
      raise insufficient_privilege using message = format(
        'check constraint %I of %s uses %s, which pgkeep does not run: ask as the table''s owner',
        con.conname, con.conrelid::regclass, foreign_code);
    end if;
    source := format('from %s where (%s) is false', pgkeep.scan_source(con.conrelid),
      pg_get_expr(con.conbin, con.conrelid));
  end if;
  execute 'select count(*) ' || source into violations;
  keys := '[]';
  if violations > 0 then
    execute format('select coalesce(jsonb_agg(s.k), ''[]'') from (select %s as k %s limit $1) s',
      pgkeep.row_key(con.conrelid, prefix), source) into keys using at_most;
  end if;
  return next;
end
$function$;

create function pgkeep.reference_orphans(child regclass, child_column smallint, parent regclass, at_most integer)
returns table (referring bigint, violations bigint, keys jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  source text;
  missing text;
begin
  select format('from %s f left join %s p on p.%I operator(pg_catalog.=) f.%I where f.%I is not null',
           pgkeep.scan_source(child), pgkeep.scan_source(parent), pa.attname, ca.attname, ca.attname),
         format(' and p.%I is null', pa.attname)
  into source, missing
  from pg_index i
  join pg_attribute pa on pa.attrelid = i.indrelid and pa.attnum = i.indkey[0]
  join pg_attribute ca on ca.attrelid = child and ca.attnum = child_column and not ca.attisdropped
    and ca.atttypid = pa.atttypid and ca.attcollation = pa.attcollation
  join pg_type t on t.oid = pa.atttypid and t.typnamespace = 'pg_catalog'::regnamespace
  where i.indrelid = parent and i.indisprimary and i.indnkeyatts = 1;
  if source is null then
    raise undefined_object using
      message = format('column %s of %s has not the type of a primary key of %s', child_column, child, parent);
  end if;
  execute 'select count(*) ' || source into referring;
  execute 'select count(*) ' || source || missing into violations;
  keys := '[]';
  if violations > 0 then
    execute format('select coalesce(jsonb_agg(s.k), ''[]'') from (select %s as k %s limit $1) s',
      pgkeep.row_key(child, 'f.'), source || missing) into keys using at_most;
  end if;
  return next;
end
$function$;

create function pgkeep.values_outside_enum(relation regclass, column_number smallint, enumeration regtype, at_most integer)
returns table (referring bigint, violations bigint, keys jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  column_name name;
  source text;
  labels text[];
begin
  select a.attname into column_name from pg_attribute a
  where a.attrelid = relation and a.attnum = column_number and not a.attisdropped
    and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype);
  select array_agg(e.enumlabel::text) into labels from pg_enum e where e.enumtypid = enumeration;
  if column_name is null or labels is null then
    raise undefined_object using message = format('%s is not a text column of %s, or %s no enum',
      column_number, relation, enumeration);
  end if;
  source := format('from %s f where f.%I is not null', pgkeep.scan_source(relation), column_name);
  execute 'select count(*) ' || source into referring;
  source := source || format(' and f.%I::text collate "C" <> all ($1)', column_name);
  execute 'select count(*) ' || source into violations using labels;
  keys := '[]';
  if violations > 0 then
    execute format('select coalesce(jsonb_agg(s.k), ''[]'') from (select %s as k %s limit $2) s',
      pgkeep.row_key(relation, 'f.'), source) into keys using labels, at_most;
  end if;
  return next;
end
$function$;

revoke all on function pgkeep.orphan_source(oid) from public;
revoke all on function pgkeep.check_heap_blocks(regclass, bigint, bigint) from public;
revoke all on function pgkeep.row_key(regclass, text) from public;
revoke all on function pgkeep.constraint_violations(oid, integer) from public;
revoke all on function pgkeep.reference_orphans(regclass, smallint, regclass, integer) from public;
revoke all on function pgkeep.values_outside_enum(regclass, smallint, regtype, integer) from public;
