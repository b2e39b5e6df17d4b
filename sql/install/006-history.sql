-- What collect-history saw, day by day (UTC). Values that stay the same from one day to the next are kept once, so a
-- table that nobody uses costs nothing. Tables are told apart by oid: one that was dropped and created again is new.

create table pgkeep.history_day (
  day date primary key,
  taken_at timestamptz not null,
  database_oid oid not null,
  server_started_at timestamptz not null,
  statistics_reset timestamptz,
  database_bytes bigint not null,
  size_basis text not null check (size_basis in ('files', 'estimate')),
  next_transaction_id bigint not null,
  transaction_id_age bigint not null,
  next_multixact_id bigint not null,
  multixact_age bigint not null,
  tables integer not null default 0,
  tables_unmeasured integer not null default 0,
  statements integer,
  statements_reset timestamptz,
  statements_evicted bigint
);
comment on table pgkeep.history_day is 'Each day on which collect-history ran, and the server as a whole on it';

-- Sizes are blocks as VACUUM, ANALYZE and CREATE INDEX count them (pg_class.relpages), counters are totals since the
-- statistics were last reset. Elements of the arrays belong together by their position.
create table pgkeep.history_table (
  table_oid oid not null,
  root_oid oid,
  first_day date not null,
  gone_day date,
  since_day date not null,
  kind "char" not null,
  heap_pages integer,
  toast_pages integer not null,
  row_estimate real not null,
  live_rows bigint not null,
  dead_rows bigint not null,
  rows_inserted bigint not null,
  rows_updated bigint not null,
  rows_deleted bigint not null,
  sequential_scans bigint not null,
  vacuums bigint not null,
  schema_name text not null,
  table_name text not null,
  index_oids oid[] not null,
  index_names text[] not null,
  index_pages integer[] not null,
  index_scans bigint[] not null,
  key_columns smallint[] not null,
  key_values bigint[] not null,
  primary key (table_oid, first_day)
) with (fillfactor = 70);
comment on table pgkeep.history_table is 'Each table, and its values since the day on which they last changed';
create unique index history_table_present on pgkeep.history_table (table_oid) where gone_day is null;

create table pgkeep.history_table_before (
  table_oid oid not null,
  until_day date not null,
  heap_pages integer,
  toast_pages integer not null,
  row_estimate real not null,
  live_rows bigint not null,
  dead_rows bigint not null,
  rows_inserted bigint not null,
  rows_updated bigint not null,
  rows_deleted bigint not null,
  sequential_scans bigint not null,
  vacuums bigint not null,
  index_oids oid[] not null,
  index_pages integer[] not null,
  index_scans bigint[] not null,
  key_columns smallint[] not null,
  key_values bigint[] not null,
  primary key (table_oid, until_day)
);
comment on table pgkeep.history_table_before is 'Earlier values of each table, under the last day on which they were seen';
create index history_table_before_by_day on pgkeep.history_table_before (until_day);

create table pgkeep.history_statement (
  query_id bigint not null,
  user_oid oid not null,
  day date not null,
  toplevel boolean not null,
  calls bigint not null,
  rows bigint not null,
  exec_ms double precision not null,
  plan_ms double precision not null,
  read_ms double precision not null,
  blocks_hit bigint not null,
  blocks_read bigint not null,
  blocks_dirtied bigint not null,
  temp_blocks_written bigint not null,
  wal_bytes bigint not null,
  counted_since timestamptz,
  primary key (query_id, user_oid, day, toplevel)
);
comment on table pgkeep.history_statement is 'The statements that had taken the most time, as pg_stat_statements counted them on that day';

create table pgkeep.history_statement_text (
  query_id bigint primary key,
  query text not null
);
comment on table pgkeep.history_statement_text is 'Texts of these statements, without literals and comments';

--   pgkeep.sequence_positions(sequences oid[]) → setof (sequence_oid oid, readable boolean, last_value bigint)
--       Where each sequence stands; last_value is null before its first value, and where "pgkeep" may not read it. Takes
--       ROW EXCLUSIVE on each until the transaction ends, as nextval does: not for thousands at once.
create function pgkeep.sequence_positions(sequences oid[])
returns table (sequence_oid oid, readable boolean, last_value bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $function$
  select s.seqrelid, has_sequence_privilege(s.seqrelid, 'SELECT'),
         case when has_sequence_privilege(s.seqrelid, 'SELECT') then pg_sequence_last_value(s.seqrelid) end
    from unnest($1) as wanted (oid) join pg_sequence s on s.seqrelid = wanted.oid
$function$;

revoke all on function pgkeep.sequence_positions(oid[]) from public;
