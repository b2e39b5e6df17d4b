-- Rebuilds of indexes that were begun: an invalid index is pgkeep's own to drop only when a row here explains it.

create table pgkeep.index_rebuild (
  index_oid oid primary key,
  table_oid oid not null,
  schema_name text not null,
  table_name text not null,
  index_name text not null,
  definition text not null,
  indexes_before oid[] not null,
  backend_pid integer not null,
  backend_started_at timestamptz not null,
  started_at timestamptz not null default clock_timestamp()
);
comment on table pgkeep.index_rebuild is 'Rebuilds of indexes that are running or were interrupted; reindex cleans up after them';

-- pgkeep.drop_index_leftover(leftover oid)
--     Drops an invalid index that a recorded rebuild has left, for a role that may rebuild indexes (MAINTAIN) and
--     does not own the table. Lock: ACCESS EXCLUSIVE on the table for a moment; the caller's lock_timeout holds.
--     55000 object_not_in_prerequisite_state when it is not such an index.
create function pgkeep.drop_index_leftover(leftover oid) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
  parent oid;
begin
  select x.indrelid into parent from pg_index x where x.indexrelid = leftover;
  if parent is null then
    return;
  end if;
  -- Nothing about the index changes from here on.
  execute format('lock table %s in access exclusive mode', parent::regclass);
  if not exists (
    select from pg_index x
      join pg_class i on i.oid = x.indexrelid and i.relkind = 'i'
      join pgkeep.index_rebuild r on r.table_oid = x.indrelid
    where x.indexrelid = leftover and not x.indisvalid
      and (r.index_oid = leftover and i.relname <> r.index_name and i.relname ~ '_ccold[0-9]*$'
           or leftover <> all (r.indexes_before) and i.relname ~ '_ccnew[0-9]*$')
      and not exists (select from pg_constraint k where k.conindid = leftover)
  ) then
    raise object_not_in_prerequisite_state using
      message = format('index %s is not what a rebuild by pgkeep has left', leftover::regclass);
  end if;
  execute format('drop index %s', leftover::regclass);
end
$function$;

revoke all on function pgkeep.drop_index_leftover(oid) from public;
