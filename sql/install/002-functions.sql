-- Functions that answer questions about tables without giving the rows away. They run as "pgkeep"
-- (member of pg_read_all_data where the installing user may grant that, else of the database's
-- reader group), so that the roles of the drill and of the manifest need no right on any table.
--
--   pgkeep.table_rows(relation regclass) → bigint
--       Rows of a table, partitioned table (all partitions) or materialised view. A table with
--       inheritance children counts its own rows only.
--   pgkeep.table_hash(relation regclass) → text
--       '<rows>:<hash>' of the contents, whatever the order of rows and the session's settings.
--   pgkeep.check_heap(relation regclass) → setof (block bigint, item integer, attribute integer, problem text)
--       Structural damage of a table, materialised view or TOAST table (amcheck); no row when sound.
--       A page that cannot be read is a row too, with block null. Not for partitioned parents.
--   pgkeep.check_index(index regclass) → text
--       What is wrong with a B-tree index, including entries that its table has and it has not
--       (and GIN from 18); null when sound. Lock: ACCESS SHARE. Not for partitioned parents.
--   pgkeep.validate_foreign_key(constraint_oid oid) → bigint
--       Rows of the referencing table that have no referenced row. Call it for pg_constraint rows with
--       contype = 'f', convalidated, conparentid = 0 (the parent's answer covers the partitions) and,
--       on 18, conenforced: the others may have orphans by right.
--   pgkeep.sequence_state(sequence regclass) → setof (table_oid oid, table_name text, column_name text,
--           last_value bigint, is_called boolean, next_value bigint, column_extreme numeric, ahead boolean)
--       One row for each column that draws from the sequence (serial, identity, or a default that names
--       it). column_extreme is the column's largest value (smallest for a descending sequence), null
--       for an empty table. ahead is false when the next value was already used, null when that
--       cannot be told (cycling sequence, column that is not a number).
--
-- Arguments are oids in practice: `pgkeep.table_rows(c.oid)`; a name as text would need USAGE on its schema.
-- They are read-only, see the caller's snapshot and respect its statement_timeout.
-- Errors mean "not assessable" and carry the object's name:
--   42501 insufficient_privilege   "pgkeep" may not read it, row security filters it, or amcheck is not granted
--   42809 wrong_object_type        a view, foreign table, system table …
--   42P01 undefined_table, 42704 undefined_object   it is gone
--   0A000 feature_not_supported    amcheck is missing, no checker for that access method, temporal foreign key

create function pgkeep.scan_source(relation regclass) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $function$
declare
  kind "char";
  schema_name name;
begin
  select c.relkind, n.nspname into kind, schema_name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = relation;
  if kind is null then
    raise undefined_table using message = format('relation %s does not exist', coalesce(relation::text, 'null'));
  end if;
  if schema_name ~ '^pg_' or schema_name = 'information_schema' or kind not in ('r', 'p', 'm') then
    raise wrong_object_type using message = format('%s is not a table of the application', relation);
  end if;
  return case kind when 'p' then '' else 'only ' end || relation::text;
end
$function$;

create function pgkeep.table_rows(relation regclass) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  rows bigint;
begin
  execute format('select count(*) from %s', pgkeep.scan_source(relation)) into rows;
  return rows;
end
$function$;

create function pgkeep.table_hash(relation regclass) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
set "DateStyle" = 'ISO, YMD'
set "IntervalStyle" = 'postgres'
set "TimeZone" = 'UTC'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
set quote_all_identifiers = off
as $function$
declare
  hash text;
begin
  -- (t.*) and not t: a column may be called t.
  execute format(
    'select count(*) || '':'' || coalesce(sum(hashtextextended((t.*)::text collate "C", 0)::numeric), 0) from %s t',
    pgkeep.scan_source(relation)) into hash;
  return hash;
end
$function$;

create function pgkeep.amcheck_schema(wanted text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $function$
declare
  found text;
begin
  select quote_ident(n.nspname) into found
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'amcheck'
    and exists (select from pg_proc p where p.pronamespace = n.oid and p.proname = wanted);
  if found is null then
    raise feature_not_supported using
      message = format('the extension amcheck with %s is not installed in this database', wanted),
      hint = 'Run as a superuser: CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pgkeep';
  end if;
  return found;
end
$function$;

create function pgkeep.check_heap(relation regclass)
returns table (block bigint, item integer, attribute integer, problem text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
  kind "char";
begin
  select c.relkind into kind from pg_class c where c.oid = relation;
  if kind is null then
    raise undefined_table using message = format('relation %s does not exist', coalesce(relation::text, 'null'));
  end if;
  if kind not in ('r', 'm', 't') then
    raise wrong_object_type using message = format('%s stores no rows of its own', relation);
  end if;
  begin
    return query execute format(
      'select v.blkno, v.offnum::integer, v.attnum::integer, v.msg
       from %s.verify_heapam(relation => $1, check_toast => true) v',
      pgkeep.amcheck_schema('verify_heapam')) using relation;
  exception when data_corrupted or index_corrupted or internal_error or io_error or undefined_file then
    return query select null::bigint, null::integer, null::integer, sqlerrm;
  end;
end
$function$;

create function pgkeep.check_index(index regclass) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
  kind "char";
  method name;
  checker text;
  source text;
begin
  select c.relkind, a.amname into kind, method
  from pg_class c left join pg_am a on a.oid = c.relam
  where c.oid = index;
  if kind is null then
    raise undefined_table using message = format('index %s does not exist', coalesce(index::text, 'null'));
  end if;
  if kind <> 'i' then
    raise wrong_object_type using message = format('%s is not an index with entries of its own', index);
  end if;
  if method = 'btree' then
    checker := 'bt_index_check';
  elsif method = 'gin' and current_setting('server_version_num')::integer >= 180000 then
    checker := 'gin_index_check';
  else
    raise feature_not_supported using message = format('%s: amcheck has no checker for %s indexes', index, method);
  end if;
  source := pgkeep.amcheck_schema(checker);
  begin
    if checker = 'gin_index_check' then
      execute format('select %s.gin_index_check($1)', source) using index;
    -- checkunique came with version 1.4 of the extension, which may be older than the server.
    elsif to_regprocedure(source || '.bt_index_check(regclass, boolean, boolean)') is not null then
      execute format('select %s.bt_index_check($1, true, true)', source) using index;
    else
      execute format('select %s.bt_index_check($1, true)', source) using index;
    end if;
  exception when data_corrupted or index_corrupted or internal_error or io_error or undefined_file then
    return sqlerrm;
  end;
  return null;
end
$function$;

create function pgkeep.validate_foreign_key(constraint_oid oid) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
declare
  fk record;
  joined text;
  all_set text;
  any_set text;
  orphans bigint;
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
  execute format(
    'select count(*) from %s f where (%s) and not (%s and exists (select from %s p where %s))',
    pgkeep.scan_source(fk.conrelid),
    case fk.confmatchtype when 'f' then any_set else all_set end,
    all_set,
    pgkeep.scan_source(fk.confrelid),
    joined) into orphans;
  return orphans;
end
$function$;

create function pgkeep.sequence_state(sequence regclass)
returns table (table_oid oid, table_name text, column_name text, last_value bigint, is_called boolean,
               next_value bigint, column_extreme numeric, ahead boolean)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $function$
#variable_conflict use_column
declare
  increment bigint;
  cycles boolean;
  position_now bigint;
  called boolean;
  following bigint;
  user_column record;
begin
  select s.seqincrement, s.seqcycle into increment, cycles from pg_sequence s where s.seqrelid = sequence;
  if not found then
    raise wrong_object_type using message = format('%s is not a sequence', sequence);
  end if;
  execute format('select s.last_value, s.is_called from %s s', sequence) into position_now, called;
  following := case when called then position_now + increment else position_now end;
  for user_column in
    select distinct a.attrelid as oid, a.attname as name, t.typcategory = 'N' as is_number
    from (
      select d.refobjid as relation, d.refobjsubid as number
      from pg_depend d
      where d.classid = 'pg_class'::regclass and d.objid = sequence and d.objsubid = 0
        and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
      union
      select f.adrelid, f.adnum
      from pg_depend d join pg_attrdef f on f.oid = d.objid
      where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = sequence
    ) used
    join pg_attribute a on a.attrelid = used.relation and a.attnum = used.number and not a.attisdropped
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
    join pg_type b on b.oid = a.atttypid
    join pg_type t on t.oid = case when b.typtype = 'd' then b.typbasetype else b.oid end
    order by 1, 2
  loop
    table_oid := user_column.oid;
    table_name := user_column.oid::regclass::text;
    column_name := user_column.name;
    last_value := position_now;
    is_called := called;
    next_value := following;
    column_extreme := null;
    ahead := null;
    if user_column.is_number then
      execute format('select %s(t.%I)::numeric from %s t', case when increment > 0 then 'max' else 'min' end,
        user_column.name, user_column.oid::regclass) into column_extreme;
      if not cycles then
        ahead := case
          when column_extreme is null then true
          when increment > 0 then following > column_extreme
          else following < column_extreme
        end;
      end if;
    end if;
    return next;
  end loop;
end
$function$;

revoke all on all functions in schema pgkeep from public;
