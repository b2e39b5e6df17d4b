-- Tables too large for a run of vacuum, and who vacuums them instead: a job of pg_cron, or autovacuum with storage
-- parameters raised until it has. What was changed is recorded in the same transaction that changes it, so that a
-- later run puts it back however the one that changed it ended.

create table pgkeep.vacuum_handover (
  table_oid oid primary key,
  schema_name text not null,
  table_name text not null,
  handed_to text not null check (handed_to in ('autovacuum', 'pg_cron')),
  toast_only boolean not null,
  -- By storage parameter: {"set": what pgkeep wrote, "earlier": what was there, or null}.
  parameters jsonb not null default '{}',
  cron_job bigint,
  begun_at timestamptz not null default clock_timestamp(),
  check ((handed_to = 'pg_cron') = (cron_job is not null))
);
comment on table pgkeep.vacuum_handover is 'Tables that pg_cron or autovacuum vacuums for pgkeep, and the settings to put back';

-- pgkeep.set_autovacuum(relation oid, parameters jsonb)
--     Sets storage parameters of autovacuum on a table, or resets those whose value is null, for a role that may
--     vacuum it (MAINTAIN) and does not own it. Lock: SHARE UPDATE EXCLUSIVE; the caller's lock_timeout holds.
--     22023 invalid_parameter_value for any other parameter.
create function pgkeep.set_autovacuum(relation oid, parameters jsonb) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
  parameter record;
  new_values text[];
  reset_names text[];
begin
  for parameter in select key, value from jsonb_each_text(parameters) loop
    if parameter.key !~ '^(toast\.)?autovacuum_[a-z_]+$' then
      raise invalid_parameter_value using
        message = format('%s is not a storage parameter of autovacuum', parameter.key);
    end if;
    if parameter.value is null then
      reset_names := reset_names || parameter.key;
    else
      new_values := new_values || format('%s = %L', parameter.key, parameter.value);
    end if;
  end loop;
  if new_values is not null then
    execute format('alter table %s set (%s)', relation::regclass, array_to_string(new_values, ', '));
  end if;
  if reset_names is not null then
    execute format('alter table %s reset (%s)', relation::regclass, array_to_string(reset_names, ', '));
  end if;
end
$function$;

revoke all on function pgkeep.set_autovacuum(oid, jsonb) from public;
